"""Endpoints over HTTP: what a request asks, and how the result is answered."""

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
    replying,
    split_words,
)
from crawlyard.core.endpoints.problem import FieldErrorOut
from crawlyard.core.faults import choices_of, faults_of, in_words, path_fault
from crawlyard.core.jobs.filter import MAX_WORD, MOST_VALUES
from crawlyard.core.parse import strange_names
from crawlyard.errors import MAX_FAULTS, Invalid, NotFound, Version
from crawlyard.services.surface import Surface
from crawlyard.web.auth import admitted, site_of
from crawlyard.web.middleware import was_undivided
from crawlyard.web.paging import next_page, position_of
from crawlyard.web.problems import Problem, pointer
from crawlyard.web.routes import OneMethod, answered, json_answer

ByHand = Callable[[Request, Endpoint, Any], Awaitable[Response]]
"""Answers a request in its own way, with the service that is asked."""

_ALWAYS = frozenset({"fields"})
"""Parameters that every GET takes."""

_TAG = re.compile(r'(?:W/)?"([^"]*)"')
_VERSION = re.compile(r"v(\d{1,18})(?:\.\d+)?")

_FIRST_YEAR, _LAST_YEAR = 1970, 9900  # a calendar from there on has room for a week


def routes_of(
    prefix: str, endpoints: Iterable[Endpoint], by_hand: Mapping[str, ByHand]
) -> list[OneMethod]:
    """Return the routes of endpoints; *by_hand* answers some of them, by their names."""
    return [
        OneMethod(path_of(prefix, one), _endpoint(one, by_hand.get(one.name)), one.method)
        for one in sorted(endpoints, key=lambda one: "{" in one.path)  # /jobs/counts is no id
        if "same" not in one.marks  # its route is that of another
    ]


def path_of(prefix: str, one: Endpoint) -> str:
    """Return the whole path of an endpoint of the API below *prefix*."""
    return one.path if "root" in one.marks else prefix + one.path


async def surface_of(request: Request, needs: Permit | Who) -> Surface:
    """Return the surface for the sender of *request*, if it has the permit that it *needs*."""
    site = site_of(request)
    caller = await admitted(request, site, needs)
    permits = None if caller.credential.permits is None else caller.permits
    return Surface(site.yard.services, caller.actor, permits, caller)


def _endpoint(one: Endpoint, by_hand: ByHand | None) -> Callable[[Request], Awaitable[Response]]:
    async def handler(request: Request) -> Response:
        if one.who is NOBODY:
            return await (by_hand or answer)(request, one, None)
        surface = await surface_of(request, one.who)
        service = getattr(surface, one.noun, None)  # some endpoints are of the server alone
        if by_hand is None:
            return await answer(request, one, service)
        try:
            return await by_hand(request, one, service)
        except Invalid as error:
            raise _blamed(error, one, {}) from None

    async def endpoint(request: Request) -> Response:
        return await answered(request, handler, signed_in=one.who is not NOBODY)

    return endpoint


async def answer(request: Request, one: Endpoint, service: Any) -> Response:
    """Return the answer to a request: the result of the endpoint, as JSON."""
    given = await arguments(request, one)
    headers: dict[str, str] = {}
    if "seq" in one.marks:  # read first: what happens meanwhile comes in the stream again
        headers["X-Event-Seq"] = str(await site_of(request).yard.store.events.last())
    said = replying(request.is_disconnected)
    try:
        result = await one.call(service, **given)
    except Invalid as error:
        raise _blamed(error, one, given) from None
    if isinstance(result, Slice) and result.next_cursor is not None:
        cursor, headers["Link"] = next_page(request, result.next_cursor)
        result = replace(result, next_cursor=cursor)
    if said.location or (one.status == 201 and hasattr(result, "id")):
        headers["Location"] = said.location or f"/api/v1/{one.noun}/{result.id}"
    version = getattr(result, "version", None)
    if isinstance(version, int):  # that of a worker is a text
        headers["ETag"] = tag_of(version, getattr(result, "beat", None))
        if (
            request.method == "GET"
            and "live" not in one.marks
            and _is_known(request, headers["ETag"])
        ):
            return Response(status_code=304, headers={"ETag": headers["ETag"]})
    if result is None:
        return Response(status_code=204, headers=headers)
    status = said.status or (200 if said.unchanged else one.status)
    return json_answer(request, result, one.listed, status, headers)


def _blamed(error: Invalid, one: Endpoint, given: Mapping[str, Any]) -> Exception:
    """Return the error to raise: a parameter of the URL is named as one."""
    name = error.field.partition(".")[0]
    if all(name != each.alias for each in one.at("query", "path")):
        return error
    if any(name in given.get(each.name, ()) for each in one.at("rest")):
        return error  # a member of the body has that name too
    fault = FieldErrorOut(
        parameter=error.field, code="invalid", detail=error.message, position=error.position
    )
    return Problem(
        "validation_failed", f"{error.field}: {error.message}", more={"errors": (fault,)}
    )


# --- what a request asks


async def arguments(request: Request, endpoint: Endpoint) -> dict[str, Any]:
    """Return the arguments for an endpoint.

    Raises:
        Problem: a value is not what is expected; all faults of the request are named.
    """
    faults: list[FieldErrorOut] = []
    given = dict(_path(request, endpoint))
    for one in endpoint.at("header"):
        header = one.mark(Header)
        if header is not None and header.name == "If-Match":
            given[one.name] = _expected(request, required=header.required)
        elif one.alias in request.headers:
            values = {one.alias: request.headers[one.alias]}
            given |= _converted([one], values, faults, query=True)
    given |= _converted(endpoint.at("query"), _query(request, endpoint, faults), faults, query=True)
    if request.method not in {"GET", "DELETE"}:
        body = await _body(request, needed=endpoint.needs_body)
        rest = endpoint.at("rest")
        known = endpoint.at("body")
        names = [one.alias for one in known]
        if rest:
            given[rest[0].name] = {n: v for n, v in body.items() if n not in names}
        else:
            faults += [_fault(*fault, query=False) for fault in strange_names(body, names, "field")]
        given |= _converted(known, body, faults, query=False)
    if faults:
        said = "; ".join(f"{e.pointer or e.parameter}: {e.detail}" for e in faults[:3])
        raise Problem("validation_failed", said, more={"errors": tuple(faults[:MAX_FAULTS])})
    return given


def _path(request: Request, endpoint: Endpoint) -> Iterator[tuple[str, Any]]:
    """Return the parts of the path. Raises `NotFound` if nothing can be called so."""
    for one in endpoint.at("path"):
        text = str(request.path_params[one.alias])
        if was_undivided(request):
            text = unquote(text)
        if not text.isprintable():
            raise NotFound("nothing has a name that cannot be printed")
        try:
            yield one.name, msgspec.convert(text, one.hint, strict=False)
        except msgspec.ValidationError as error:
            fault = FieldErrorOut(parameter=one.alias, code="invalid", detail=in_words(error, text))
            detail = f"{one.alias}: {fault.detail}"
            raise Problem("validation_failed", detail, more={"errors": (fault,)}) from None


def _query(request: Request, endpoint: Endpoint, faults: list[FieldErrorOut]) -> dict[str, Any]:
    """Return the values in a URL by the names of their parameters."""
    known = {one.alias: one for one in endpoint.at("query")}
    asked = request.query_params
    beside = _ALWAYS if request.method == "GET" else frozenset()
    strange = strange_names([n for n in asked if n not in beside], list(known), "parameter")
    faults += [_fault(*fault, query=True) for fault in strange]
    if "fields" in asked and "fields" in beside and "fields" not in known:
        faults += _unknown_fields(asked["fields"], endpoint)
    values: dict[str, Any] = {}
    for name, one in known.items():
        if name not in asked:
            continue
        if not one.many:
            values[name] = asked[name]
            continue
        values[name] = words = split_words(asked.getlist(name))
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


def _unknown_fields(asked: str, endpoint: Endpoint) -> Iterator[FieldErrorOut]:
    """Yield what is wrong with ``?fields=a,b.c``; of a list it names fields of the items."""
    answer = endpoint.returns
    record = typing.get_args(answer)[0] if typing.get_origin(answer) is Slice else answer
    if endpoint.yields is not None or record in (bytes, str, None):
        return
    for path in filter(None, (word.strip() for word in asked.split(","))):
        if said := path_fault(path, record):
            yield FieldErrorOut(parameter="fields", code="unknown", detail=said)


async def _body(request: Request, *, needed: bool) -> dict[str, Any]:
    """Return the members of a body; none if there is no body.

    Raises:
        Problem: it is no JSON object, or is missing though *needed*.
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
        raise Problem("malformed", f"the body is no JSON: {error}") from None
    if not isinstance(body, dict):
        fault = FieldErrorOut(pointer="", code="invalid", detail="expected an object")
        raise Problem("validation_failed", "expected an object", more={"errors": (fault,)})
    return body


def _converted(
    parameters: Iterable[Parameter],
    values: Mapping[str, Any],
    faults: list[FieldErrorOut],
    *,
    query: bool,
) -> dict[str, Any]:
    """Return *values* as the types of their parameters; what is wrong is added to *faults*."""
    given: dict[str, Any] = {}
    for one in parameters:
        if one.alias not in values:
            if one.required:
                faults.append(
                    _fault(one.alias, "missing", "expected a value, got none", query=query)
                )
            continue
        value = values[one.alias]
        terms = next(filter(typing.is_typeddict, choices_of(one.hint)), None)
        if terms is not None and isinstance(value, Mapping):
            for name, code, said in strange_names(value, [*terms.__annotations__], "field"):
                faults.append(_fault(f"{one.alias}.{name}", code, said, query=query))
        try:
            # else a number would be an instant, that many seconds after 1970
            strict = not query or datetime in _bare(one.hint)
            given[one.name] = _checked(msgspec.convert(value, one.hint, strict=strict))
        except msgspec.ValidationError as error:
            for path, code, said in faults_of(value, one.hint, error):
                name = f"{one.alias}.{path}" if path else one.alias
                faults.append(_fault(name, code, said, query=query))
        except Invalid as error:
            faults += [
                _fault(fault.field, "invalid", str(fault), query=query) for fault in error.faults
            ]
    return given


def _checked(value: Any) -> Any:
    """Return a value; an instant that calendars and databases have no room for is refused."""
    if isinstance(value, datetime) and not _FIRST_YEAR <= value.year <= _LAST_YEAR:
        raise msgspec.ValidationError(f"Expected a year from {_FIRST_YEAR} to {_LAST_YEAR}")
    return value


def _bare(hint: Any) -> set[Any]:
    """Return the types among which *hint* leaves a choice, without what is noted of them."""
    if typing.get_origin(hint) is typing.Annotated:
        return _bare(typing.get_args(hint)[0])
    choices = choices_of(hint)
    return set(choices) if choices == (hint,) else {b for one in choices for b in _bare(one)}


def _fault(name: str, code: str, said: str, *, query: bool) -> FieldErrorOut:
    if query:
        return FieldErrorOut(parameter=name, code=code, detail=said)
    return FieldErrorOut(pointer=pointer(name), code=code, detail=said)


# --- versions as entity tags
# Source: RFC 9110, sections 8.8.3 (ETag), 13.1.1 (If-Match) and 13.1.2 (If-None-Match).


def tag_of(version: int, beat: int | None = None) -> str:
    """Return the tag of a thing: ``"v17"``; *beat* rises with what changes beside its version."""
    return f'"v{version}"' if beat is None else f'"v{version}.{beat}"'


def _is_known(request: Request, tag: str) -> bool:
    """Return whether the client has the version of *tag* already."""
    asked = request.headers.get("if-none-match")
    return asked is not None and (asked.strip() == "*" or _opaque(tag) in _TAG.findall(asked))


def _expected(request: Request, *, required: bool = False) -> Version:
    """Return the versions that a change may be made to; ``None``: to any.

    A tag that is of no version is -1: nothing has it.

    Raises:
        Problem: If-Match is missing though *required*.
    """
    asked = request.headers.get("if-match")
    if asked is None and required:
        detail = 'send If-Match with the ETag of what you saw, or "*" to change it anyway'
        raise Problem("precondition_required", detail)
    if asked is None or asked.strip() == "*":
        return None
    found = (_VERSION.fullmatch(word) for word in _TAG.findall(asked))
    versions = {int(one[1]) for one in found if one is not None}
    return versions.pop() if len(versions) == 1 else tuple(versions) or -1


def _opaque(tag: str) -> str:
    return tag.strip('"')
