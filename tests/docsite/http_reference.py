"""The HTTP reference, from the OpenAPI document: a page for each tag, and one for the records."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from tests.docsite.markdown import Pages, cell, page, prose, table
from tests.openapi import operations

FOLDER = "reference/http"
_MOST_VALUES = 12  # of an enumeration in one table cell

Schema = Mapping[str, Any]


def http_pages(document: Schema) -> Pages:
    """Return the pages of the HTTP reference."""
    by_tag = defaultdict[str, list[tuple[str, str, Schema]]](list)
    for path, method, operation in operations(document):
        by_tag[operation["tags"][0]].append((path, method, operation))
    pages = {f"{FOLDER}/index.md": _index(document, by_tag)}
    for tag in document["tags"]:
        parts = [_operation(*entry) for entry in by_tag[tag["name"]]]
        text = page(f"# HTTP: {tag['name']}", tag["description"], *parts)
        pages[f"{FOLDER}/{tag['name']}.md"] = text
    pages[f"{FOLDER}/records.md"] = _records(document["components"]["schemas"])
    pages[f"{FOLDER}/openapi.json"] = json.dumps(document, indent=1)
    return pages


def _index(document: Schema, by_tag: Mapping[str, list[Any]]) -> str:
    rows = [
        [
            f"[{tag['name']}]({tag['name']}.md)",
            cell(tag["description"]),
            f"{len(by_tag[tag['name']])}",
        ]
        for tag in document["tags"]
    ]
    return page(
        "# HTTP API",
        f"All routes of version {document['info']['version']}, generated from the [OpenAPI "
        "document](openapi.json). A server serves the same reference at `/api/v1/docs`. "
        "[Use the HTTP API](../../howto/http-api.md) shows the common requests with `curl`.",
        prose(document["info"]["description"]),
        table(["routes", "purpose", "number"], rows),
        "Objects in requests and responses are described in [Records](records.md).",
    )


def _operation(path: str, method: str, operation: Schema) -> str:
    parameters = [
        [
            f"`{parameter['name']}`",
            parameter["in"] + (", required" if parameter.get("required") else ""),
            _type(parameter["schema"]),
            cell(parameter.get("description", "")),
        ]
        for parameter in operation.get("parameters", ())
    ]
    body = operation.get("requestBody", {}).get("content", {})
    permits = {
        name for each in operation.get("security", ()) for names in each.values() for name in names
    }
    facts = [
        f"- Operation: `{operation['operationId']}`",
        *([f"- Scope: {', '.join(f'`{name}`' for name in sorted(permits))}"] if permits else []),
        *(f"- Body: `{kind}`, {_type(content['schema'])}" for kind, content in body.items()),
        *_responses(operation["responses"]),
    ]
    return page(
        f"## `{method.upper()} {path}`",
        prose(operation["summary"]),
        prose(operation.get("description", "")),
        "\n".join(facts),
        table(["parameter", "in", "type", "description"], parameters),
    )


def _responses(responses: Schema) -> Iterator[str]:
    for status, response in responses.items():
        if status < "400":
            content = response.get("content", {})
            shapes = [
                f"`{kind}`, {_type(shape.get('schema', {}))}" for kind, shape in content.items()
            ]
            yield f"- {status}: {'; '.join(shapes) or cell(response['description'])}"
    problems = [status for status in responses if status >= "400"]
    if problems:
        yield f"- Errors: {', '.join(problems)}, each a [problem](records.md#problemout)"


def _records(schemas: Mapping[str, Schema]) -> str:
    return page(
        "# HTTP: records",
        "The objects of requests and responses, by name. Bodies of requests end in `Ask`.",
        *(_record(name, schema) for name, schema in sorted(schemas.items())),
    )


def _record(name: str, schema: Schema) -> str:
    needed = schema.get("required", ())
    fields = [
        [
            f"`{field}`{' (required)' if field in needed and name.endswith('Ask') else ''}",
            _type(shape),
            cell(shape.get("description", "")),
        ]
        for field, shape in schema.get("properties", {}).items()
    ]
    description = prose(schema.get("description", "").partition("\n\nRaises:")[0])
    values = "" if fields else f"Type: {_type(schema)}"
    return page(f"## {name}", description, table(["field", "type", "description"], fields), values)


def _type(schema: Schema) -> str:  # noqa: PLR0911 - a case for each kind of schema
    if (ref := schema.get("$ref")) is not None:
        name = ref.rpartition("/")[2]
        return f"[{name}](records.md#{name.lower()})"
    if "enum" in schema:
        values = [f"`{value}`" for value in schema["enum"]]
        more = ["…"] if len(values) > _MOST_VALUES else []
        return ", ".join(values[:_MOST_VALUES] + more)
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(map(_type, choices)))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"map of {_type(schema['additionalProperties'])}"
    if "const" in schema:
        return f"`{schema['const']}`"
    return str(kind if isinstance(kind, str) else " or ".join(kind))
