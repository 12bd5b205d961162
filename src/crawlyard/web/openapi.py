"""The OpenAPI document of endpoints, made from their declarations."""

import inspect
import typing
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from crawlyard.core.access.user import Permit
from crawlyard.core.endpoint import NOBODY, Endpoint, Header, Parameter
from crawlyard.core.endpoint_schema import body_of, with_default
from crawlyard.core.jobs.filter import MAX_WORD, MOST_VALUES
from crawlyard.web.endpoints import path_of

SCHEMAS = "#/components/schemas/"
_PLACES = ("path", "query", "header", "body")
_WORD = {"type": "string", "maxLength": MOST_VALUES * MAX_WORD}
_MANY = {"type": "array", "items": _WORD, "maxItems": MOST_VALUES}


def described(
    prefix: str, endpoints: Iterable[Endpoint], files: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the paths of endpoints, and the schemas that they refer to.

    *files* has the content of answers that are no JSON, by the names of their endpoints.
    """
    every = list(endpoints)
    kinds = [one.returns for one in every if one.name not in files and one.yields is None]
    hints = [p.hint for one in every for p in one.at(*_PLACES)]
    found, components = msgspec.json.schema_components(
        [*(k for k in kinds if k is not type(None) and k is not None), *hints],
        ref_template=SCHEMAS + "{name}",
    )
    schemas = iter(found)
    answers: dict[str, Any] = {}
    for one in every:
        if one.name not in files and one.yields is None and one.returns not in (None, type(None)):
            answers[one.name] = {"application/json": {"schema": next(schemas)}}
    of_hints = {id(p): next(schemas) for one in every for p in one.at(*_PLACES)}
    paths: dict[str, Any] = {}
    for one in every:
        content = files.get(one.name) or answers.get(one.name)
        if one.method not in {"GET", "DELETE"} and one.at("body", "rest"):
            components[_ask(one)] = body_of(one, of_hints)
        told = _described(one, of_hints, content)
        place = paths.setdefault(path_of(prefix, one), {})
        if "same" in one.marks:
            _add(place[one.method.lower()], told)
        else:
            place[one.method.lower()] = told
    return paths, components


def _described(one: Endpoint, schemas: Mapping[int, Any], content: Any) -> dict[str, Any]:
    said = inspect.getdoc(one.call) or ""
    answer: dict[str, Any] = {"description": "Done" if content is None else "As asked"}
    if content is not None:
        answer["content"] = content
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
    if "202" in one.marks:
        told["responses"]["202"] = answer | {"description": "An operation does it."}
    if one.method == "GET" and _is_versioned(one.returns) and "live" not in one.marks:
        told["responses"]["304"] = {"description": "It is as `If-None-Match` says."}
    if one.method not in {"GET", "DELETE"} and one.at("body", "rest"):
        required = one.needs_body or any(p.required for p in one.at("body"))
        # PATCH takes application/merge-patch+json too: with both, openapi-python-client 0.29
        # writes modules that cannot be imported
        schema = {"$ref": SCHEMAS + _ask(one)}
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
    found = {401, 422, 429} if one.who is NOBODY else {401, 403, 422, 429}
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
    text = {"schema": {"type": "string"}}
    told["responses"]["200"]["content"] |= {"text/plain": text, "text/html": text}
