"""The OpenAPI document, made from the declarations of the endpoints.

Whatever the middleware, the routes or a rate limit add to every endpoint is written here once.
"""

import inspect
import typing
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec

from crawlyard.about import VERSION
from crawlyard.core.access.user import Permit
from crawlyard.core.answer import API, shortened
from crawlyard.core.endpoints.endpoint import NOBODY, Endpoint, Header, Parameter, Slice
from crawlyard.core.endpoints.idempotency import MAX_KEY
from crawlyard.core.endpoints.problem import ProblemOut
from crawlyard.core.endpoints.schema import body_of, with_default
from crawlyard.core.events.data import data_of
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.jobs.filter import MAX_WORD, MOST_VALUES
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.webhooks.webhook import GONE, WebhookMessage, message
from crawlyard.web.by_hand import ENDPOINTS, FILES
from crawlyard.web.endpoints import path_of
from crawlyard.web.problems import KINDS, MEDIA_TYPE

Document = dict[str, Any]

_EVERYWHERE = (400, 408, 413, 415, 421, 431, 500, 503)
_SCHEMAS = "#/components/schemas/"
_PROBLEM = {"$ref": f"{_SCHEMAS}{ProblemOut.__name__}"}
_MESSAGE = {"$ref": f"{_SCHEMAS}{WebhookMessage.__name__}"}

TAGS: Mapping[str, str] = {
    "auth": "Signing in and out, and who asks.",
    "users": "Who may ask, and how much of the yard each may use.",
    "tokens": "What programs show to prove who they are.",
    "jobs": "Crawls: submitted, watched, changed, moved.",
    "results": "What jobs have brought.",
    "templates": "Specs with open places, kept in versions.",
    "schedules": "Jobs that are submitted again and again.",
    "sessions": "What your crawls are logged in to sites with; each user sees their own alone.",
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

_SIGNATURE: Mapping[str, Mapping[str, str]] = {
    "webhook-id": {"description": "Id of the delivery, the same for all of its attempts."},
    "webhook-timestamp": {"description": "Time of this attempt, in seconds since 1970."},
    "webhook-signature": {
        "description": "`v1,` and a signature in base64, separated by spaces if there are several "
        "(Standard Webhooks, HMAC-SHA256)."
    },
}

_EXAMPLE_MESSAGE = msgspec.to_builtins(
    message(
        Event(
            name=EventName.COMPLETED,
            subject="01a210f8-13ce-73bf-8a3f-f06cfe4c2e98",
            owner="ada",
            at=datetime(2027, 1, 1, 8, tzinfo=UTC),
            actor="worker:crawler-1",
            data={
                "state": State.COMPLETED.value,
                "reason": StateReason.EXHAUSTED.value,
                "detail": "",
                "version": 3,
                "name": "docs",
            },
            seq=42,
        )
    )
)

_PLACES = ("path", "query", "header", "body")
_WORD = {"type": "string", "maxLength": MOST_VALUES * MAX_WORD}
_MANY = {"type": "array", "items": _WORD, "maxItems": MOST_VALUES}
_FIELDS = {
    "name": "fields",
    "in": "query",
    "required": False,
    "schema": {"type": "string", "maxLength": 4000},
    "description": "Fields of each item: `id,spec,usage.bytes`. Without it, an item has the "
    "fields that its schema requires.",
}

_HTML = {"text/html": {"schema": {"type": "string"}}}


@cache
def document() -> Document:
    """Return the OpenAPI document."""
    paths, components = _paths(ENDPOINTS)
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
        "paths": paths,
        "webhooks": {name.value: {"post": _webhook(name)} for name in EventName},
        "components": {"schemas": _tidy(components), "securitySchemes": _SCHEMES},
    }
    components[WebhookMessage.__name__]["examples"] = [_EXAMPLE_MESSAGE]
    for methods in told["paths"].values():
        for method, one in methods.items():
            for status in _EVERYWHERE:
                one["responses"].setdefault(str(status), {})
            for status, answer in one["responses"].items():
                one["responses"][status] = answer or _told(int(status))
            _complete(method, one)
    return told


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


# --- webhooks


def _webhook(name: EventName) -> dict[str, Any]:
    """Return the request that is sent to webhooks about an event."""
    content = {"type": {"const": name.value}}
    details = {"properties": {"details": data_of(name).schema()}}
    schema = {"allOf": [_MESSAGE, {"properties": content | {"data": details}}]}
    return {
        "operationId": f"webhook_{name.value.replace('.', '_')}",
        "tags": ["webhooks"],
        "summary": f"{name.summary[0].upper()}{name.summary[1:]}.",
        "parameters": [
            {
                "name": header,
                "in": "header",
                "required": True,
                "schema": {"type": "string"},
                **about,
            }
            for header, about in _SIGNATURE.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "2XX": {"description": "Delivered."},
            str(GONE): {"description": "The webhook is disabled and gets no further messages."},
            "default": {"description": "The delivery is retried."},
        },
    }


# --- endpoints


def _paths(endpoints: Sequence[Endpoint]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the paths of endpoints, and the schemas that they refer to."""
    kinds = {
        one.name: _answer_of(one)
        for one in endpoints
        if one.name not in FILES and one.yields is None and one.returns not in (None, type(None))
    }
    asked = [each for one in endpoints for each in one.at(*_PLACES)]
    found, components = msgspec.json.schema_components(
        [*kinds.values(), *(each.hint for each in asked), ProblemOut, WebhookMessage],
        ref_template=_SCHEMAS + "{name}",
    )
    answers = {
        name: {"application/json": {"schema": schema}}
        for name, schema in zip(kinds, found, strict=False)
    }
    of_hints = {id(each): schema for each, schema in zip(asked, found[len(kinds) :], strict=False)}
    paths: dict[str, Any] = {}
    for one in endpoints:
        content = FILES.get(one.name) or answers.get(one.name)
        if one.method not in {"GET", "DELETE"} and one.at("body", "rest"):
            components[_ask(one)] = body_of(one, of_hints)
        told = _described(one, of_hints, content)
        place = paths.setdefault(path_of(API, one), {})
        if "same" in one.marks:
            _add(place[one.method.lower()], told)
        else:
            place[one.method.lower()] = told
    return paths, components


def _answer_of(one: Endpoint) -> Any:
    """Return the type of an answer over HTTP."""
    if not one.listed:
        return one.returns
    name = one.item.__name__.removesuffix("Out") + "ItemOut"
    return Slice[shortened(one.item, one.listed, name)]  # type: ignore[misc]  # made at run time


def _described(one: Endpoint, schemas: Mapping[int, Any], content: Any) -> dict[str, Any]:
    said = inspect.getdoc(one.call) or ""
    answer: dict[str, Any] = {"description": "Done" if content is None else "As asked"}
    if content is not None:
        answer["content"] = content | (_HTML if "html" in one.marks else {})
    told: dict[str, Any] = {
        "operationId": one.name,
        "tags": [one.group],
        "description": said.partition("\n\nRaises:")[0],
        "parameters": [
            _parameter(p, schemas[id(p)])
            for p in one.at("path", "query", "header")
            if p.alias != "If-Match"  # all that may answer 412 take it
        ],
        "security": _security(one),
        "responses": {str(one.status): answer} | {str(s): {} for s in _problems(one)},
    }
    if one.listed:
        told["parameters"].append(_FIELDS)
    if "200" in one.marks:
        there = "Nothing was made: there is a job with the same `unique_key`."
        told["responses"]["200"] = answer | {"description": there}
    if "202" in one.marks:
        told["responses"]["202"] = answer | {"description": "An operation does it."}
    if one.method == "GET" and _is_versioned(one.returns) and "live" not in one.marks:
        told["responses"]["304"] = {"description": "It is as `If-None-Match` says."}
    if one.method not in {"GET", "DELETE"} and one.at("body", "rest"):
        required = one.needs_body or any(p.required for p in one.at("body"))
        # PATCH takes application/merge-patch+json too: with both, openapi-python-client 0.29
        # writes modules that cannot be imported
        schema = {"$ref": _SCHEMAS + _ask(one)}
        told["requestBody"] = {
            "required": required,
            "content": {"application/json": {"schema": schema}},
        }
    return told


def _ask(one: Endpoint) -> str:
    """Return the name of the schema of a body: ``JobsPauseAsk``."""
    return "".join(word.capitalize() for word in one.name.split("_")) + "Ask"


def _parameter(one: Parameter, schema: Any) -> dict[str, Any]:
    shown = dict(_MANY) if one.many else with_default(one, schema)
    if one.place == "path" and shown.get("type") == "string":
        shown.setdefault("maxLength", 200)
    told = {
        "name": one.alias,
        "in": one.place,
        "required": one.place == "path" or one.required,
        "schema": shown,
    }
    inner: dict[str, Any] = next((s for s in schema.get("anyOf", ()) if "description" in s), {})
    description = shown.pop("description", None) or (schema | inner).get("description")
    return told | ({"description": description} if description else {})


def _security(one: Endpoint) -> list[dict[str, Any]]:
    if one.who is NOBODY:
        return []
    scopes = [str(one.who)] if isinstance(one.who, Permit) else []
    return [{"token": scopes}, {"session": scopes}]


def _problems(one: Endpoint) -> set[int]:
    """Return the problems that an endpoint may be answered with, beside those of all."""
    found = set() if one.who is NOBODY else {401, 403, 429}
    if one.parameters or one.who is not NOBODY:
        found.add(422)
    if one.at("path") or one.at("rest"):
        found.add(404)
    if one.method != "GET" or str(one.who).endswith(":write"):
        found.add(409)
    for each in one.at("header"):
        mark = each.mark(Header)
        if mark is not None and mark.name == "If-Match":
            found |= {412, 428} if mark.required else {412}
    if "file" in one.marks:
        found.add(406)
    return found | {int(mark) for mark in one.marks if mark.isdecimal() and mark >= "400"}


def _is_versioned(kind: Any) -> bool:
    """Return whether answers of a kind have an entity tag."""
    if hasattr(kind, "beat"):
        return True
    named = "version" in getattr(kind, "__struct_fields__", ())
    return named and typing.get_type_hints(kind)["version"] is int


def _add(told: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add the parameters of an endpoint on the same route, which are optional there."""
    known = {one["name"] for one in told["parameters"]}
    told["parameters"] += [
        one | {"required": False} for one in more["parameters"] if one["name"] not in known
    ]
    told["responses"]["200"]["content"] |= {"text/plain": _HTML["text/html"], **_HTML}
