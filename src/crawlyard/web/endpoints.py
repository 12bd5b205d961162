"""Endpoints over HTTP: arguments of requests, and responses."""

import re
import typing
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import msgspec
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from crawlyard.core.access.user import Permit
from crawlyard.core.endpoints.endpoint import (
    NOBODY,
    Endpoint,
    Header,
    Parameter,
    Slice,
    Who,
    begin_reply,
    split_words,
)
from crawlyard.core.endpoints.problem import FieldErrorOut
from crawlyard.core.faults import choices_of, faults_of, in_words, path_fault
from crawlyard.core.jobs.filter import MAX_WORD, MOST_VALUES
from crawlyard.core.parse import strange_names
from crawlyard.errors import MAX_FAULTS, Invalid, NotFound, Version
from crawlyard.services.surface import Surface
from crawlyard.web.auth import authorize, site_of
from crawlyard.web.middleware import has_encoded_slashes
from crawlyard.web.paging import next_page, position_of
from crawlyard.web.problems import Problem, pointer
from crawlyard.web.routes import OneMethod, json_answer, respond

ByHand = Callable[[Request, Endpoint, Any], Awaitable[Response]]
"""A handler with its own kind of response; its last argument is the service."""

_COMMON_PARAMETERS = frozenset({"fields"})
"""Parameters of all GET requests."""

_TAG = re.compile(r'(?:W/)?"([^"]*)"')
_VERSION = re.compile(r"v(\d{1,18})(?:\.\d+)?")

_FIRST_YEAR, _LAST_YEAR = 1970, 9900  # leaves room for a week in calendars


def routes_of(
    prefix: str, endpoints: Iterable[Endpoint], by_hand: Mapping[str, ByHand]
) -> list[OneMethod]:
    """Return the routes of endpoints; *by_hand* has special handlers by endpoint name."""
    return [
        OneMethod(
            path_of(prefix, endpoint),
            _endpoint(endpoint, by_hand.get(endpoint.name)),
            endpoint.method,
        )
        for endpoint in sorted(endpoints, key=_has_path_parameter)  # /jobs/counts is not an id
        if "same" not in endpoint.marks  # shares the route of another
    ]


def _has_path_parameter(endpoint: Endpoint) -> bool:
    return "{" in endpoint.path


def path_of(prefix: str, endpoint: Endpoint) -> str:
    """Return the full path of an endpoint; *prefix* is that of the API."""
    return endpoint.path if "root" in endpoint.marks else prefix + endpoint.path


async def surface_of(request: Request, needs: Permit | Who) -> Surface:
    """Return the surface for the sender of *request*, if it has the permit that it *needs*."""
    site = site_of(request)
    caller = await authorize(request, site, needs)
    permits = None if caller.credential.permits is None else caller.permits
    return Surface(site.yard.services, caller.actor, permits, caller)


def _endpoint(
    endpoint: Endpoint, by_hand: ByHand | None
) -> Callable[[Request], Awaitable[Response]]:
    async def handler(request: Request) -> Response:
        if endpoint.who is NOBODY:
            return await (by_hand or answer)(request, endpoint, None)
        surface = await surface_of(request, endpoint.who)
        service = getattr(surface, endpoint.noun, None)  # None: an endpoint of the server itself
        if by_hand is None:
            return await answer(request, endpoint, service)
        try:
            return await by_hand(request, endpoint, service)
        except Invalid as error:
            raise _parameter_error(error, endpoint, {}) from None

    async def handle(request: Request) -> Response:
        return await respond(request, handler, signed_in=endpoint.who is not NOBODY)

    return handle


async def answer(request: Request, endpoint: Endpoint, service: Any) -> Response:
    """Return the result of the endpoint as JSON."""
    args = await arguments(request, endpoint)
    headers: dict[str, str] = {}
    if "seq" in endpoint.marks:  # read first: the stream may repeat later events
        headers["X-Event-Seq"] = str(await site_of(request).yard.store.events.last())
    overrides = begin_reply(request.is_disconnected)
    try:
        result = await endpoint.call(service, **args)
    except Invalid as error:
        raise _parameter_error(error, endpoint, args) from None
    if isinstance(result, Slice) and result.next_cursor is not None:
        cursor, headers["Link"] = next_page(request, result.next_cursor)
        result = replace(result, next_cursor=cursor)
    if overrides.location or (endpoint.status == 201 and hasattr(result, "id")):
        headers["Location"] = overrides.location or f"/api/v1/{endpoint.noun}/{result.id}"
    version = getattr(result, "version", None)
    if isinstance(version, int):  # a worker has a version of text
        headers["ETag"] = tag_of(version, getattr(result, "beat", None))
        if (
            request.method == "GET"
            and "live" not in endpoint.marks
            and _is_current(request, headers["ETag"])
        ):
            return Response(status_code=304, headers={"ETag": headers["ETag"]})
    if result is None:
        return Response(status_code=204, headers=headers)
    status = overrides.status or (200 if overrides.unchanged else endpoint.status)
    return json_answer(request, result, endpoint.listed, status, headers)


def _parameter_error(error: Invalid, endpoint: Endpoint, args: Mapping[str, Any]) -> Exception:
    """Return the error to raise: one that names a parameter if it is of the URL."""
    name = error.field.partition(".")[0]
    if all(name != each.alias for each in endpoint.at("query", "path")):
        return error
    if any(name in args.get(each.name, ()) for each in endpoint.at("rest")):
        return error  # a member of the body has the same name
    fault = FieldErrorOut(
        parameter=error.field, code="invalid", detail=error.message, position=error.position
    )
    return Problem(
        "validation_failed", f"{error.field}: {error.message}", more={"errors": (fault,)}
    )


# --- arguments of a request


async def arguments(request: Request, endpoint: Endpoint) -> dict[str, Any]:
    """Return the arguments for an endpoint.

    Raises:
        Problem: a value is not valid; it lists all faults of the request.
    """
    faults: list[FieldErrorOut] = []
    args = dict(_path(request, endpoint))
    for parameter in endpoint.at("header"):
        header = parameter.mark(Header)
        if header is not None and header.name == "If-Match":
            args[parameter.name] = _if_match(request, required=header.required)
        elif parameter.alias in request.headers:
            values = {parameter.alias: request.headers[parameter.alias]}
            args |= _convert([parameter], values, faults, query=True)
    args |= _convert(endpoint.at("query"), _query(request, endpoint, faults), faults, query=True)
    if request.method not in {"GET", "DELETE"}:
        body = await _body(request, needed=endpoint.needs_body)
        rest = endpoint.at("rest")
        members = endpoint.at("body")
        names = [member.alias for member in members]
        if rest:
            args[rest[0].name] = {n: v for n, v in body.items() if n not in names}
        else:
            faults += [_fault(*fault, query=False) for fault in strange_names(body, names, "field")]
        args |= _convert(members, body, faults, query=False)
    if faults:
        summary = "; ".join(f"{e.pointer or e.parameter}: {e.detail}" for e in faults[:3])
        raise Problem("validation_failed", summary, more={"errors": tuple(faults[:MAX_FAULTS])})
    return args


def _path(request: Request, endpoint: Endpoint) -> Iterator[tuple[str, Any]]:
    """Yield the parameters in the path. Raises `NotFound` for an impossible name."""
    for parameter in endpoint.at("path"):
        text = str(request.path_params[parameter.alias])
        if has_encoded_slashes(request):
            text = unquote(text)
        if not text.isprintable():
            raise NotFound("expected a name of printable characters")
        try:
            yield parameter.name, msgspec.convert(text, parameter.hint, strict=False)
        except msgspec.ValidationError as error:
            fault = FieldErrorOut(
                parameter=parameter.alias, code="invalid", detail=in_words(error, text)
            )
            detail = f"{parameter.alias}: {fault.detail}"
            raise Problem("validation_failed", detail, more={"errors": (fault,)}) from None


def _query(request: Request, endpoint: Endpoint, faults: list[FieldErrorOut]) -> dict[str, Any]:
    """Return the query parameters by name."""
    parameters = {parameter.alias: parameter for parameter in endpoint.at("query")}
    query = request.query_params
    common = _COMMON_PARAMETERS if request.method == "GET" else frozenset()
    strange = strange_names([n for n in query if n not in common], list(parameters), "parameter")
    faults += [_fault(*fault, query=True) for fault in strange]
    if "fields" in query and "fields" in common and "fields" not in parameters:
        faults += _unknown_fields(query["fields"], endpoint)
    values: dict[str, Any] = {}
    for name, parameter in parameters.items():
        if name not in query:
            continue
        if not parameter.many:
            values[name] = query[name]
            continue
        values[name] = words = split_words(query.getlist(name))
        wrong = ""
        if len(words) > MOST_VALUES:
            wrong = f"expected at most {MOST_VALUES} values, got {len(words)}"
        elif any(len(word) > MAX_WORD for word in words):
            wrong = f"expected at most {MAX_WORD} characters"
        if wrong:
            del values[name]
            faults.append(FieldErrorOut(parameter=name, code="invalid", detail=wrong))
    if "cursor" in values:
        values["cursor"] = position_of(request, values["cursor"])
    return values


def _unknown_fields(fields: str, endpoint: Endpoint) -> Iterator[FieldErrorOut]:
    """Yield the faults of ``?fields=a,b.c``; for a list they are fields of its items."""
    answer = endpoint.returns
    record = typing.get_args(answer)[0] if typing.get_origin(answer) is Slice else answer
    if endpoint.yields is not None or record in (bytes, str, None):
        return
    for path in filter(None, (word.strip() for word in fields.split(","))):
        if detail := path_fault(path, record):
            yield FieldErrorOut(parameter="fields", code="unknown", detail=detail)


async def _body(request: Request, *, needed: bool) -> dict[str, Any]:
    """Return the members of a body; none if there is no body.

    Raises:
        Problem: not a JSON object, or missing though *needed*.
    """
    raw = await request.body()
    if not raw and needed:
        fault = FieldErrorOut(pointer="", code="missing", detail="expected an object, got nothing")
        raise Problem("validation_failed", fault.detail, more={"errors": (fault,)})
    if not raw:
        return {}
    try:
        body = msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise Problem("malformed", f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        fault = FieldErrorOut(pointer="", code="invalid", detail="expected an object")
        raise Problem("validation_failed", "expected an object", more={"errors": (fault,)})
    return body


def _convert(
    parameters: Iterable[Parameter],
    values: Mapping[str, Any],
    faults: list[FieldErrorOut],
    *,
    query: bool,
) -> dict[str, Any]:
    """Convert *values* to the types of their parameters; errors are added to *faults*."""
    converted: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.alias not in values:
            if parameter.required:
                faults.append(
                    _fault(parameter.alias, "missing", "expected a value, got none", query=query)
                )
            continue
        value = values[parameter.alias]
        terms = next(filter(typing.is_typeddict, choices_of(parameter.hint)), None)
        if terms is not None and isinstance(value, Mapping):
            for name, code, detail in strange_names(value, [*terms.__annotations__], "field"):
                faults.append(_fault(f"{parameter.alias}.{name}", code, detail, query=query))
        try:
            # otherwise a number would be seconds since 1970
            strict = not query or datetime in _plain_types(parameter.hint)
            converted[parameter.name] = _check_year(
                msgspec.convert(value, parameter.hint, strict=strict)
            )
        except msgspec.ValidationError as error:
            for path, code, detail in faults_of(value, parameter.hint, error):
                name = f"{parameter.alias}.{path}" if path else parameter.alias
                faults.append(_fault(name, code, detail, query=query))
        except Invalid as error:
            faults += [
                _fault(fault.field, "invalid", str(fault), query=query) for fault in error.faults
            ]
    return converted


def _check_year(value: Any) -> Any:
    """Return *value*; refuse instants out of range of calendars and databases."""
    if isinstance(value, datetime) and not _FIRST_YEAR <= value.year <= _LAST_YEAR:
        raise msgspec.ValidationError(f"Expected a year from {_FIRST_YEAR} to {_LAST_YEAR}")
    return value


def _plain_types(hint: Any) -> set[Any]:
    """Return the types of a union, without annotations."""
    if typing.get_origin(hint) is typing.Annotated:
        return _plain_types(typing.get_args(hint)[0])
    choices = choices_of(hint)
    return (
        set(choices)
        if choices == (hint,)
        else {b for choice in choices for b in _plain_types(choice)}
    )


def _fault(name: str, code: str, detail: str, *, query: bool) -> FieldErrorOut:
    if query:
        return FieldErrorOut(parameter=name, code=code, detail=detail)
    return FieldErrorOut(pointer=pointer(name), code=code, detail=detail)


# --- versions as entity tags
# Source: RFC 9110, sections 8.8.3 (ETag), 13.1.1 (If-Match) and 13.1.2 (If-None-Match).


def tag_of(version: int, beat: int | None = None) -> str:
    """Return an entity tag such as ``"v17"``; *beat* counts changes without a new version."""
    return f'"v{version}"' if beat is None else f'"v{version}.{beat}"'


def _is_current(request: Request, tag: str) -> bool:
    """Return whether the client already has the version of *tag*."""
    header = request.headers.get("if-none-match")
    return header is not None and (
        header.strip() == "*" or _opaque_tag(tag) in _TAG.findall(header)
    )


def _if_match(request: Request, *, required: bool = False) -> Version:
    """Return the versions that If-Match allows; ``None``: any.

    An unknown tag is -1, which no resource has.

    Raises:
        Problem: If-Match is missing though *required*.
    """
    header = request.headers.get("if-match")
    if header is None and required:
        detail = 'send If-Match with the ETag that you read, or "*" for any version'
        raise Problem("precondition_required", detail)
    if header is None or header.strip() == "*":
        return None
    matches = (_VERSION.fullmatch(word) for word in _TAG.findall(header))
    versions = {int(match[1]) for match in matches if match is not None}
    return versions.pop() if len(versions) == 1 else tuple(versions) or -1


def _opaque_tag(tag: str) -> str:
    return tag.strip('"')
