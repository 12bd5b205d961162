"""The OpenAPI document: what routes say of themselves, and what is true of all of them.

Whatever the gate, the routes or a rate add to every route is written here once, so
that no route can forget it.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from crawlyard.about import VERSION
from crawlyard.core.answers.base import API
from crawlyard.core.answers.problems import ProblemOut
from crawlyard.web import plain
from crawlyard.web.by_hand import ENDPOINTS, FILES
from crawlyard.web.errors.problems import KINDS, MEDIA_TYPE
from crawlyard.web.openapi import described
from crawlyard.web.routes import MAX_KEY, OneMethod

Document = dict[str, Any]

_EVERYWHERE = (400, 408, 413, 415, 421, 431, 500, 503)
_SCHEMAS = "#/components/schemas/"
_PROBLEM = {"$ref": f"{_SCHEMAS}{ProblemOut.__name__}"}

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
done once (signing in ignores the key). Things with an `ETag` change under `If-Match`. Answers
carry `X-Request-Id`.
"""

_SCHEMES: Mapping[str, Mapping[str, str]] = {
    "token": {"type": "http", "scheme": "bearer", "description": "A token: `cyt_…`"},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-crawlyard",
        "description": "The session of a browser, had by `POST /auth/login`",
    },
}

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


@cache
def document() -> Document:
    """Return the OpenAPI document."""
    beside, shapes = plain.described()
    paths, components = described(API, ENDPOINTS, FILES)
    [_], own = msgspec.json.schema_components([ProblemOut], ref_template=_SCHEMAS + "{name}")
    told: Document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Crawlyard",
            "summary": "Jobs, templates, schedules and results of an instance",
            "version": VERSION,
            "description": _ABOUT,
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": said} for name, said in TAGS.items()],
        "paths": paths | beside,
        "components": {
            "schemas": _tidy(own) | _tidy(components) | _tidy(shapes),
            "securitySchemes": _SCHEMES,
        },
    }
    for methods in told["paths"].values():
        for method, one in methods.items():
            for status in _EVERYWHERE:
                one["responses"].setdefault(str(status), {})
            for status, answer in one["responses"].items():
                one["responses"][status] = answer or _told(int(status))
            _complete(method, one)
    return told


def document_route(prefix: str) -> OneMethod:
    """Return the route of the document."""

    async def answer(_request: Request) -> Response:
        return Response(msgspec.json.encode(document()), media_type="application/json")

    return OneMethod(f"{prefix}/openapi.json", answer, "GET")


def _tidy(schema: Any) -> Any:
    """Return *schema* in the words that client generators understand, changed in place.

    An object without properties has any, an array has items of some kind, and a tuple has none
    beside its own.
    """
    if isinstance(schema, dict):
        if schema.get("items") is False:
            del schema["items"]
        if schema.get("type") == "object" and "properties" not in schema:
            schema.setdefault("additionalProperties", True)
        if schema.get("type") == "array" and "prefixItems" not in schema:
            schema.setdefault("items", {})
        for one in schema.values():
            _tidy(one)
    elif isinstance(schema, list):
        for one in schema:
            _tidy(one)
    return schema


def _complete(method: str, operation: dict[str, Any]) -> None:
    said = operation.pop("description", "")
    first, _, rest = said.partition("\n\n")
    operation["summary"] = " ".join(first.split())
    if rest:
        operation["description"] = rest.strip()
    responses = operation["responses"]
    if "202" in responses:
        responses.setdefault("200", responses["202"] | {"description": "It was so already."})
    operation["responses"] = dict(sorted(responses.items()))
    if headers := list(_headers(method, operation)):
        operation["parameters"] = [*operation.get("parameters", ()), *headers]


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
