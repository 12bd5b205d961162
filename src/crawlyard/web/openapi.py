"""OpenAPI document, made from the declarations of the endpoints.

It adds what middleware, routes and rate limits add to every endpoint.
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
from crawlyard.core.answer import API, shorten_shape
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
    "auth": "Sign in and out, and read your own account.",
    "users": "User accounts, roles and quotas.",
    "tokens": "API tokens.",
    "audit": "What users did, from which address and when: for admins.",
    "shares": "Links that show a job to people without an account.",
    "triggers": "Addresses that other programs call to start a schedule or a template.",
    "jobs": "Submit, watch, edit and control crawls.",
    "groups": "Jobs that were submitted together.",
    "results": "Pages and exports of jobs.",
    "templates": "Versioned specs with parameters.",
    "schedules": "Recurring jobs.",
    "sessions": "Logins of your crawls to sites; each user sees only their own.",
    "webhooks": "Signed messages to your endpoints, and their deliveries.",
    "notifications": "Messages to people: Slack, Discord, ntfy, Microsoft Teams, mail.",
    "workers": "The processes that run jobs.",
    "hosts": "Rate limits and state of crawled hosts.",
    "events": "Activity, as a list and as a stream.",
    "settings": "Settings of the server.",
    "operations": "Bulk operations in the background.",
    "views": "Saved filters.",
    "stats": "Figures for a dashboard.",
    "meta": "Features and limits of the server.",
    "monitoring": "Health checks and Prometheus metrics.",
    "problems": "Meaning of each type of problem.",
}

_ABOUT = """\
Send `Authorization: Bearer cyt_…` with each request, or sign in for a session cookie.

Every error is `application/problem+json` (RFC 9457); its `code` is for programs. Lists come
in pages: `next_cursor` of one is `cursor` of the next. `fields=a,b.c` on a GET of JSON leaves
the other fields out. A POST can be repeated with its `Idempotency-Key` within a day: it is
carried out once (sign-in ignores the key). Resources with an `ETag` are changed with `If-Match`.
Responses have an `X-Request-Id`.
"""

_SCHEMES: Mapping[str, Mapping[str, str]] = {
    "token": {"type": "http", "scheme": "bearer", "description": "A token: `cyt_…`"},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-crawlyard",
        "description": "The session of a browser, from `POST /auth/login`",
    },
}

_HEADERS: Mapping[str, Mapping[str, Any]] = {
    "If-Match": {
        "description": "The `ETag` that you read; `*` for any version.",
        "schema": {"type": "string"},
    },
    "If-None-Match": {
        "description": "The `ETag` that you have: 304 if it is unchanged.",
        "schema": {"type": "string"},
    },
    "Idempotency-Key": {
        "description": "Your key for this request, which is then carried out once.",
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
    openapi: Document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Crawlyard",
            "summary": "Jobs, templates, schedules and results of an instance",
            "version": VERSION,
            "description": _ABOUT,
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": paths,
        "webhooks": {name.value: {"post": _webhook(name)} for name in EventName},
        "components": {"schemas": _tidy(components), "securitySchemes": _SCHEMES},
    }
    components[WebhookMessage.__name__]["examples"] = [_EXAMPLE_MESSAGE]
    for methods in openapi["paths"].values():
        for method, operation in methods.items():
            for status in _EVERYWHERE:
                operation["responses"].setdefault(str(status), {})
            for status, answer in operation["responses"].items():
                operation["responses"][status] = answer or _problem_response(int(status))
            _complete(method, operation)
    return openapi


def _tidy(schema: Any) -> Any:
    """Adapt *schema* in place for client generators.

    An object without properties allows any, an array has a schema of items, and a tuple has no
    items beyond its own.
    """
    if isinstance(schema, dict):
        if schema.get("items") is False:
            del schema["items"]
        if schema.get("type") == "object" and "properties" not in schema:
            schema.setdefault("additionalProperties", True)
        if schema.get("type") == "array" and "prefixItems" not in schema:
            schema.setdefault("items", {})
        for member in schema.values():
            _tidy(member)
    elif isinstance(schema, list):
        for member in schema:
            _tidy(member)
    return schema


def _complete(method: str, operation: dict[str, Any]) -> None:
    docstring = operation.pop("description", "")
    first, _, rest = docstring.partition("\n\n")
    operation["summary"] = " ".join(first.split())
    if rest:
        operation["description"] = rest.strip()
    responses = operation["responses"]
    if "202" in responses:
        responses.setdefault("200", responses["202"] | {"description": "No change was needed."})
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


def _problem_response(status: int) -> dict[str, Any]:
    codes = [code for code, kind in KINDS.items() if kind.status == status]
    titles = "; ".join(f"`{code}`: {KINDS[code].title}" for code in codes)
    return {"description": titles, "content": {MEDIA_TYPE: {"schema": _PROBLEM}}}


# --- webhooks


def _webhook(name: EventName) -> dict[str, Any]:
    """Return the request to webhooks for an event."""
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
    """Return the paths of endpoints, and the schemas they refer to."""
    kinds = {
        endpoint.name: _answer_type(endpoint)
        for endpoint in endpoints
        if endpoint.name not in FILES
        and endpoint.yields is None
        and endpoint.returns not in (None, type(None))
    }
    parameters = [each for endpoint in endpoints for each in endpoint.at(*_PLACES)]
    schemas, components = msgspec.json.schema_components(
        [*kinds.values(), *(each.hint for each in parameters), ProblemOut, WebhookMessage],
        ref_template=_SCHEMAS + "{name}",
    )
    answers = {
        name: {"application/json": {"schema": schema}}
        for name, schema in zip(kinds, schemas, strict=False)
    }
    of_hints = {
        id(each): schema for each, schema in zip(parameters, schemas[len(kinds) :], strict=False)
    }
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        content = FILES.get(endpoint.name) or answers.get(endpoint.name)
        if endpoint.method not in {"GET", "DELETE"} and endpoint.at("body", "rest"):
            components[_body_name(endpoint)] = body_of(endpoint, of_hints)
        operation = _operation(endpoint, of_hints, content)
        place = paths.setdefault(path_of(API, endpoint), {})
        if "same" in endpoint.marks:
            _add(place[endpoint.method.lower()], operation)
        else:
            place[endpoint.method.lower()] = operation
    return paths, components


def _answer_type(endpoint: Endpoint) -> Any:
    if not endpoint.listed:
        return endpoint.returns
    name = endpoint.item.__name__.removesuffix("Out") + "ItemOut"
    return Slice[shorten_shape(endpoint.item, endpoint.listed, name)]  # type: ignore[misc]  # made at run time


def _operation(endpoint: Endpoint, schemas: Mapping[int, Any], content: Any) -> dict[str, Any]:
    docstring = inspect.getdoc(endpoint.call) or ""
    answer: dict[str, Any] = {"description": "Done" if content is None else "Success"}
    if content is not None:
        answer["content"] = content | (_HTML if "html" in endpoint.marks else {})
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "tags": [endpoint.group],
        "description": docstring.partition("\n\nRaises:")[0],
        "parameters": [
            _parameter(p, schemas[id(p)])
            for p in endpoint.at("path", "query", "header")
            if p.alias != "If-Match"  # in all operations with a 412
        ],
        "security": _security(endpoint),
        "responses": {str(endpoint.status): answer} | {str(s): {} for s in _problems(endpoint)},
    }
    if endpoint.listed:
        operation["parameters"].append(_FIELDS)
    if "200" in endpoint.marks:
        unchanged = "No job was created: one with the same `unique_key` exists."
        operation["responses"]["200"] = answer | {"description": unchanged}
    if "202" in endpoint.marks:
        operation["responses"]["202"] = answer | {
            "description": "An operation carries it out in the background."
        }
    if (
        endpoint.method == "GET"
        and _is_versioned(endpoint.returns)
        and "live" not in endpoint.marks
    ):
        operation["responses"]["304"] = {"description": "Unchanged since `If-None-Match`."}
    if endpoint.method not in {"GET", "DELETE"} and endpoint.at("body", "rest"):
        required = endpoint.needs_body or any(p.required for p in endpoint.at("body"))
        # PATCH takes application/merge-patch+json too: with both, openapi-python-client 0.29
        # writes modules that cannot be imported
        schema = {"$ref": _SCHEMAS + _body_name(endpoint)}
        operation["requestBody"] = {
            "required": required,
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _body_name(endpoint: Endpoint) -> str:
    """Return the name of the schema of a body: ``JobsPauseAsk``."""
    return "".join(word.capitalize() for word in endpoint.name.split("_")) + "Ask"


def _parameter(parameter: Parameter, schema: Any) -> dict[str, Any]:
    value_schema = dict(_MANY) if parameter.many else with_default(parameter, schema)
    if parameter.place == "path" and value_schema.get("type") == "string":
        value_schema.setdefault("maxLength", 200)
    described = {
        "name": parameter.alias,
        "in": parameter.place,
        "required": parameter.place == "path" or parameter.required,
        "schema": value_schema,
    }
    inner: dict[str, Any] = next((s for s in schema.get("anyOf", ()) if "description" in s), {})
    description = value_schema.pop("description", None) or (schema | inner).get("description")
    return described | ({"description": description} if description else {})


def _security(endpoint: Endpoint) -> list[dict[str, Any]]:
    if endpoint.who is NOBODY:
        return []
    scopes = [str(endpoint.who)] if isinstance(endpoint.who, Permit) else []
    return [{"token": scopes}, {"session": scopes}]


def _problems(endpoint: Endpoint) -> set[int]:
    """Return the statuses of errors of an endpoint, besides those of all endpoints."""
    statuses = set() if endpoint.who is NOBODY else {401, 403, 429}
    if endpoint.parameters or endpoint.who is not NOBODY:
        statuses.add(422)
    if endpoint.at("path") or endpoint.at("rest"):
        statuses.add(404)
    if endpoint.method != "GET" or str(endpoint.who).endswith(":write"):
        statuses.add(409)
    for each in endpoint.at("header"):
        mark = each.mark(Header)
        if mark is not None and mark.name == "If-Match":
            statuses |= {412, 428} if mark.required else {412}
    if "file" in endpoint.marks:
        statuses.add(406)
    return statuses | {int(mark) for mark in endpoint.marks if mark.isdecimal() and mark >= "400"}


def _is_versioned(kind: Any) -> bool:
    """Return whether responses of a type have an entity tag."""
    if hasattr(kind, "beat"):
        return True
    named = "version" in getattr(kind, "__struct_fields__", ())
    return named and typing.get_type_hints(kind)["version"] is int


def _add(operation: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Merge an endpoint on the same route; its parameters become optional."""
    names = {parameter["name"] for parameter in operation["parameters"]}
    operation["parameters"] += [
        parameter | {"required": False}
        for parameter in more["parameters"]
        if parameter["name"] not in names
    ]
    operation["responses"]["200"]["content"] |= {"text/plain": _HTML["text/html"], **_HTML}
