"""JSON Schemas of request bodies: parameters, specs, templates, settings."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_origin

import msgspec
from msgspec import UNSET

from crawlyard.core.access.answers import SECTION_EXAMPLES
from crawlyard.core.endpoints.endpoint import Endpoint, Parameter, Rest
from crawlyard.core.fields import Field
from crawlyard.core.jobs.spec import (
    MAX_PATTERN,
    MAX_PATTERNS,
    MAX_SEEDS,
    MAX_URL,
)
from crawlyard.core.jobs.spec_json import EDITABLE, FIELDS, FormField
from crawlyard.core.templates.template import MAX_DESCRIPTION, MAX_NAME, MAX_PARAMETERS
from crawlyard.core.webhooks.webhook import MAX_WEBHOOKS

_BY_UNIT: Mapping[str | None, list[str]] = {
    "s": ["number", "string"],
    "bytes": ["integer", "string"],
    "": ["integer", "string"],
}
_PLAIN: Mapping[Any, list[str]] = {
    bool: ["boolean"],
    int: ["integer", "string"],
    float: ["number"],
    str: ["string"],
}
_TEXT = {"type": "string", "maxLength": MAX_URL}
_PAIR = {"type": "array", "items": _TEXT, "minItems": 2, "maxItems": 2}
_PAIRS = {
    "anyOf": [
        {"type": "object", "additionalProperties": _TEXT},
        {"type": "array", "items": _PAIR, "maxItems": MAX_PATTERNS},
    ]
}


def _texts(most: int) -> dict[str, Any]:
    return {"type": "array", "items": _TEXT, "maxItems": most}


_HOOK = {
    "type": "object",
    "additionalProperties": False,
    "required": ["url"],
    "properties": {"url": _TEXT, "events": _texts(100), "secret": _TEXT},
}
_SPECIAL: Mapping[str, dict[str, Any]] = {
    "webhooks": {
        "type": "array",
        "items": {"anyOf": [_TEXT, _HOOK]},
        "maxItems": MAX_WEBHOOKS,
    },
    "spread": {"type": ["integer", "string"]},
}


def form_schema() -> dict[str, Any]:
    """Return the JSON Schema of a spec in its JSON form."""
    return _object({path: _schema(field) for path, field in FIELDS.items()})


def job_schema() -> dict[str, Any]:
    """Return the same with an example."""
    return form_schema() | {
        "examples": [{"urls": ["https://docs.example.org/"], "limits": {"pages": 500}}]
    }


def change_schema() -> dict[str, Any]:
    """Return the JSON Schema of a change of a job: the fields that can change, or null."""
    groups = {path.partition(".")[0] for path in FIELDS if path in EDITABLE} | {"limits"}
    form = form_schema()["properties"]
    own = {name: _or_null(form[name]) for name in form if name in groups}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": own,
        "examples": [{"priority": "high", "limits": {"pages": 20_000}}],
    }


def section_schema() -> dict[str, Any]:
    """Return the JSON Schema of a section of the settings: each has fields of its own."""
    return {
        "type": "object",
        "additionalProperties": True,
        "examples": [*SECTION_EXAMPLES.values()],
    }


def _object(fields: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for path, schema in fields.items():
        group, _, name = path.rpartition(".")
        place = properties
        if group:
            inner = properties.setdefault(
                group, {"type": "object", "additionalProperties": False, "properties": {}}
            )
            place = inner["properties"]
        place[name] = schema
        if also := FIELDS[path].also:
            place[also.rpartition(".")[2]] = schema
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _schema(of: FormField) -> dict[str, Any]:
    field, about = of.field, of.field.about
    schema = {"description": f"{about.summary}: {of.accepts}."} | _type(of.path, field)
    if about.null:
        schema = _or_null(schema)
    if about.panel is not None:
        schema["x-panel"] = str(about.panel)
    if field.unit:
        schema["x-unit"] = field.unit
    if about.editable:
        schema["x-editable"] = True
    return schema


def _type(path: str, field: Field) -> dict[str, Any]:
    if path in _SPECIAL:
        return dict(_SPECIAL[path])
    if field.choices is not None:
        words = {"enum": [str(word) for word in field.choices]}
        many = {"type": "array", "items": words, "maxItems": len(words["enum"])}
        return many if field.many else words
    if get_origin(field.kind) is tuple:
        return dict(_PAIRS)
    if field.many:
        return {"anyOf": [_texts(MAX_SEEDS), _TEXT]}
    kinds = [*(_BY_UNIT.get(field.unit) or _PLAIN[field.kind])]
    bounds = {"minimum": field.about.least, "maximum": field.about.most}
    keywords = {name: bound for name, bound in bounds.items() if bound is not None}
    if field.about.above is not None:
        keywords["exclusiveMinimum"] = field.about.above
    if kinds == ["string"]:
        keywords["maxLength"] = field.about.longest or MAX_PATTERN
    return {"type": kinds if len(kinds) > 1 else kinds[0], **keywords}


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    nullable = dict(schema)
    if "enum" in nullable:
        nullable["enum"] = [*nullable["enum"], None]
    elif "anyOf" in nullable:
        nullable["anyOf"] = [*nullable["anyOf"], {"type": "null"}]
    else:
        kinds = nullable["type"] if isinstance(nullable["type"], list) else [nullable["type"]]
        nullable["type"] = [*kinds, *(["null"] if "null" not in kinds else [])]
    return nullable


# --- templates

_OBJECT: Mapping[str, Any] = {"type": "object"}
_PARAMETERS = {
    "description": "Parameters by name; or a list of objects with a name.",
    "anyOf": [
        {"type": "object", "additionalProperties": _OBJECT},
        {"type": "array", "items": _OBJECT, "maxItems": MAX_PARAMETERS},
        {"type": "null"},
    ],
    "examples": [{"start_url": {"type": "url", "required": True}}],
}
_OF_TEMPLATES: Mapping[str, Any] = {
    "name": {"type": "string", "minLength": 1, "maxLength": MAX_NAME, "examples": ["docs"]},
    "description": {"type": "string", "maxLength": MAX_DESCRIPTION},
    "parameters": _PARAMETERS,
    "spec": {
        "type": "object",
        "description": "As the body of a job; any text may use placeholders like {{start_url}}.",
        "examples": [{"urls": ["{{start_url}}"], "limits": {"pages": 200}}],
    },
}


def template_schema() -> dict[str, Any]:
    """Return the JSON Schema of a template, as its author writes it."""
    example = {"name": "docs", "spec": {"urls": ["https://docs.example.org/"]}}
    return _of_template(example) | {"required": ["name"]}


def template_change_schema() -> dict[str, Any]:
    """Return the JSON Schema of a merge patch for a template, with an example."""
    return _of_template({"spec": {"limits": {"pages": 500, "bytes": None}}})


def checked_template_schema() -> dict[str, Any]:
    """Return the JSON Schema of a template to check, which may be a file as well."""
    return _of_template(*template_schema()["examples"])


def _of_template(example: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": dict(_OF_TEMPLATES),
        "examples": [example],
    }


# --- bodies

FORMS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "job": job_schema,
    "change": change_schema,
    "template": template_schema,
    "template change": template_change_schema,
    "checked template": checked_template_schema,
    "section": section_schema,
    "trigger": lambda: {"additionalProperties": True},
}
"""JSON Schemas of bodies that a `Rest` parameter takes, by its form."""

_EMPTY = inspect.Parameter.empty


def body_schema(endpoint: Endpoint) -> dict[str, Any]:
    """Return the JSON Schema of the body of an endpoint, by itself."""
    own = endpoint.at("body")
    members, components = msgspec.json.schema_components(
        [p.hint for p in own], ref_template="#/$defs/{name}"
    )
    schema = body_of(endpoint, {id(p): s for p, s in zip(own, members, strict=True)})
    return schema | ({"$defs": components} if components else {})


def body_of(endpoint: Endpoint, schemas: Mapping[int, Any]) -> dict[str, Any]:
    """Return the schema of a body; *schemas* are those of its members, by their ids."""
    own = {p.alias: with_default(p, schemas[id(p)]) for p in endpoint.at("body")}
    schema: dict[str, Any] = {"type": "object", "additionalProperties": False}
    for each in endpoint.at("rest"):
        mark = each.mark(Rest)
        schema |= FORMS[mark.form]() if mark is not None else {}
    schema["properties"] = own | schema.get("properties", {})
    if endpoint.example is not None:
        schema["examples"] = [endpoint.example]
    if needed := [p.alias for p in endpoint.at("body") if p.required]:
        schema["required"] = needed
    return schema


def with_default(parameter: Parameter, schema: Any) -> dict[str, Any]:
    """Return *schema* with the default of *parameter*, unless it is empty or a reference."""
    with_default_value = dict(schema)
    if (
        parameter.default is not _EMPTY
        and parameter.default not in (None, (), UNSET)
        and "$ref" not in with_default_value
    ):
        with_default_value["default"] = msgspec.to_builtins(parameter.default)
    return with_default_value
