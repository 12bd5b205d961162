"""The OpenAPI document: what routes say of themselves, and what is true of all of them.

Whatever the gate, the route class or a rate adds to every route is written here once, so
that no route can forget it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.routing import APIRoute

from crawlyard.core.answers.base import API as PREFIX
from crawlyard.core.answers.problems import ProblemOut
from crawlyard.web.by_hand import ENDPOINTS, FILES
from crawlyard.web.errors.problems import KINDS, MEDIA_TYPE
from crawlyard.web.openapi import described
from crawlyard.web.routes import MAX_KEY, Route

Responses = dict[int | str, dict[str, Any]]
Document = dict[str, Any]

_EVERYWHERE = (400, 408, 413, 415, 421, 431, 500, 503)
_SCHEMAS = "#/components/schemas/"
_PROBLEM = {"$ref": f"{_SCHEMAS}{ProblemOut.__name__}"}
_OF_FASTAPI = ("HTTPValidationError", "ValidationError")  # no answer looks like that

NOT_MODIFIED: Responses = {304: {"description": "It is as `If-None-Match` says."}}
"""The answer of a route that heeds If-None-Match."""

TAGS: Mapping[str, str] = {
    "auth": "Signing in and out, and who asks.",
    "users": "Who may ask, and how much of the yard each may use.",
    "tokens": "What programs show to prove who they are.",
    "jobs": "Crawls: submitted, watched, changed, moved.",
    "results": "What jobs have brought.",
    "templates": "Specs with open places, kept in versions.",
    "schedules": "Jobs that are submitted again and again.",
    "webhooks": "Messages to endpoints of yours, and what became of them.",
    "workers": "The processes that run jobs.",
    "hosts": "What is done to each host that is asked.",
    "events": "What has happened, as a list and as a stream.",
    "settings": "What holds for the whole yard.",
    "operations": "Work that goes on after its request is answered.",
    "views": "Filters that were given a name.",
    "stats": "Figures for a dashboard.",
    "meta": "What the server says of itself.",
    "monitoring": "Whether it lives, and its figures for Prometheus.",
    "problems": "What each type of problem means.",
}

_ABOUT = """\
Send `Authorization: Bearer cyt_…` with each request, or sign in for a session cookie.

Every error is `application/problem+json` (RFC 9457); its `code` is for programs. Lists come
in pages: `next_cursor` of one is `cursor` of the next. `fields=a,b.c` on a GET of JSON leaves
the other fields out. A POST may be sent again with its `Idempotency-Key` within a day: it is
done once. Things with an `ETag` change under `If-Match`. Answers carry `X-Request-Id`.
"""

_HEADERS: Mapping[str, Mapping[str, Any]] = {
    "If-Match": {
        "description": "The `ETag` of what you saw; `*`: whatever it is by now.",
        "schema": {"type": "string"},
    },
    "If-None-Match": {
        "description": "The `ETag` of what you have: 304 if it is still that.",
        "schema": {"type": "string"},
    },
    "Idempotency-Key": {
        "description": "Your name for this request, which is then done once.",
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
    },
}


def problems(*statuses: int) -> Responses:
    """Return the answers of a route that are problems, for its document.

    What every route may answer (400, 408, 413, 415, 421, 431, 500, 503) is added.
    """
    return {status: _told(status) for status in sorted({*statuses, *_EVERYWHERE})}


def operation_id(route: APIRoute) -> str:
    """Return what clients that are made of the document call a route: ``jobs_pause``."""
    kind = str(route.tags[-1]) if route.tags else "yard"
    return f"{kind}_{route.name.strip('_')}"


def document(app: FastAPI, routes: Sequence[tuple[str, Route]]) -> Callable[[], Document]:
    """Return what makes the document of *app*, once; *routes* has their paths."""
    made_by_routes = app.openapi
    made: list[Document] = []

    def openapi() -> Document:
        if not made:
            made.append(_completed(made_by_routes(), routes))
        return made[0]

    return openapi


def _completed(told: Document, routes: Sequence[tuple[str, Route]]) -> Document:
    told["info"]["description"] = _ABOUT
    told["tags"] = [{"name": name, "description": said} for name, said in TAGS.items()]
    schemas = told["components"]["schemas"]
    for name in _OF_FASTAPI:
        schemas.pop(name, None)
    _describe_records(told, schemas, routes)
    paths, components = described(PREFIX, ENDPOINTS, FILES)
    schemas |= _tidy(components)
    for path, methods in paths.items():
        told["paths"].setdefault(path, {}).update(methods)
        for one in methods.values():
            for status in _EVERYWHERE:
                one["responses"].setdefault(str(status), {})
            for status, answer in one["responses"].items():
                one["responses"][status] = answer or _told(int(status))
    for method, operation in _operations(told):
        _complete(method, operation)
    return told


def _describe_records(
    told: Document, schemas: dict[str, Any], routes: Sequence[tuple[str, Route]]
) -> None:
    """Add the schemas of what routes answer."""
    kinds = [k for _, route in routes for each in route.records.values() for k in each]
    found, components = msgspec.json.schema_components(
        [ProblemOut, *kinds], ref_template=_SCHEMAS + "{name}"
    )
    schemas |= _tidy(components)
    rest = iter(found[1:])
    for path, route in routes:
        for status, each in route.records.items():
            schemas_of = [next(rest) for _ in each]
            schema = {"anyOf": schemas_of} if len(each) > 1 else schemas_of[0]
            for method in route.methods or ():
                told["paths"][path][method.lower()]["responses"][status].setdefault("content", {})[
                    "application/json"
                ] = {"schema": schema}


def _tidy(schema: Any) -> Any:
    """Say in JSON Schema what generators of clients read: a tuple has no items beside its own."""
    if isinstance(schema, dict):
        if schema.get("items") is False:
            del schema["items"]
        for one in schema.values():
            _tidy(one)
    elif isinstance(schema, list):
        for one in schema:
            _tidy(one)
    return schema


def _operations(told: Document) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in told["paths"].values():
        yield from path.items()


def _complete(method: str, operation: dict[str, Any]) -> None:
    said = operation.pop("description", "")
    first, _, rest = said.partition("\n\n")
    operation["summary"] = " ".join(first.split())
    if rest:
        operation["description"] = rest.strip()
    responses = operation["responses"]
    for status in _beyond(method, operation):
        responses.setdefault(str(status), _told(status))
    if "202" in responses:
        responses.setdefault("200", responses["202"] | {"description": "It was so already."})
    if "HTTPValidationError" in str(responses.get("422")):
        responses["422"] = _told(422)
    operation["responses"] = dict(sorted(responses.items()))
    if headers := list(_headers(method, operation)):
        operation["parameters"] = [*operation.get("parameters", ()), *headers]


def _beyond(method: str, operation: Mapping[str, Any]) -> set[int]:
    """Return the statuses that an operation has as one of its kind."""
    found: set[int] = set()
    if operation.get("security"):
        found |= {401, 429}  # a rate
        if method != "get":
            found.add(403)  # a page of another site asks
    if method == "post":
        found |= {409, 422}  # an Idempotency-Key that is under way, or was another request's
    return found


def _headers(method: str, operation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    responses = operation["responses"]
    if "412" in responses:
        yield _header("If-Match", required="428" in responses)
    if "304" in responses:
        yield _header("If-None-Match")
    if method == "post" and operation.get("security"):
        yield _header("Idempotency-Key")


def _header(name: str, *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": required, **_HEADERS[name]}


def _told(status: int) -> dict[str, Any]:
    codes = [code for code, kind in KINDS.items() if kind.status == status]
    titles = "; ".join(f"`{code}`: {KINDS[code].title}" for code in codes)
    return {"description": titles, "content": {MEDIA_TYPE: {"schema": _PROBLEM}}}
