"""JSON Schemas of the bodies that endpoints take."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from crawlyard.core.endpoint import Endpoint, Parameter, Rest
from crawlyard.core.spec_schema import (
    change_schema,
    checked_template_schema,
    job_schema,
    section_schema,
    template_change_schema,
    template_schema,
)

FORMS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "job": job_schema,
    "change": change_schema,
    "template": template_schema,
    "template change": template_change_schema,
    "checked template": checked_template_schema,
    "section": section_schema,
}
"""The JSON Schemas of bodies that take what no parameter takes."""

_EMPTY = inspect.Parameter.empty


def body_schema(one: Endpoint) -> dict[str, Any]:
    """Return the JSON Schema of the body of an endpoint, by itself."""
    own = one.at("body")
    found, components = msgspec.json.schema_components(
        [p.hint for p in own], ref_template="#/$defs/{name}"
    )
    schema = body_of(one, {id(p): s for p, s in zip(own, found, strict=True)})
    return schema | ({"$defs": components} if components else {})


def body_of(one: Endpoint, schemas: Mapping[int, Any]) -> dict[str, Any]:
    """Return the schema of a body; *schemas* are those of its members, by their ids."""
    own = {p.alias: with_default(p, schemas[id(p)]) for p in one.at("body")}
    schema: dict[str, Any] = {"type": "object", "additionalProperties": False}
    for each in one.at("rest"):
        mark = each.mark(Rest)
        schema |= FORMS[mark.form]() if mark is not None else {}
    schema["properties"] = own | schema.get("properties", {})
    if one.example is not None:
        schema["examples"] = [one.example]
    if needed := [p.alias for p in one.at("body") if p.required]:
        schema["required"] = needed
    return schema


def with_default(one: Parameter, schema: Any) -> dict[str, Any]:
    """Return the schema of a parameter with its default."""
    told = dict(schema)
    if one.default is not _EMPTY and one.default not in (None, (), UNSET) and "$ref" not in told:
        told["default"] = msgspec.to_builtins(one.default)
    return told
