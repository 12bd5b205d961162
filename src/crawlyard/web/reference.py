"""The reference of the API: its OpenAPI document, and a page made of that which loads nothing."""

from collections.abc import Iterator, Mapping
from html import escape
from importlib.resources import files
from typing import Any, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from crawlyard.core.answers.base import API
from crawlyard.web.auth import site_of
from crawlyard.web.openapi import document
from crawlyard.web.routes import OneMethod

Schema: TypeAlias = Mapping[str, Any]

_CSS = files("crawlyard.web").joinpath("static", "reference.css").read_text("utf-8")

_DAY = "public, max-age=86400"
_POLICY = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'"
_NOTHING: Schema = {}
_METHODS = ("get", "post", "put", "patch", "delete")
_EXAMPLE = """curl -H "Authorization: Bearer $CRAWLYARD_TOKEN" \\
  -H 'Content-Type: application/json' \\
  -d '{"urls": ["https://docs.example.org/"], "limits": {"pages": 500}}' \\
  {server}/api/v1/jobs"""


async def _document(request: Request) -> Response:
    public_url = site_of(request).options.public_url
    shown = document() | ({"servers": [{"url": public_url}]} if public_url else {})
    return Response(msgspec.json.encode(shown), media_type="application/json")


async def _page(request: Request) -> Response:
    public_url = site_of(request).options.public_url
    server = public_url or f"{request.url.scheme}://{request.url.netloc}"
    page = page_of(document(), server=server)
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})


async def _css(_request: Request) -> Response:
    return Response(_CSS, media_type="text/css", headers={"Cache-Control": _DAY})


ROUTES = (
    OneMethod(f"{API}/openapi.json", _document, "GET"),
    OneMethod(f"{API}/docs", _page, "GET"),
    OneMethod(f"{API}/docs.css", _css, "GET"),
)


def page_of(document: Schema, *, server: str) -> str:
    """Return the page of an OpenAPI document; *server* is its URL, for the example."""
    tags = _by_tag(document)
    links = "".join(f'<li><a href="#{_slug(tag)}">{escape(tag)}</a></li>' for tag in tags)
    parts = "".join(_section(document, tag, found) for tag, found in tags.items())
    title = escape(f"{document['info']['title']} API {document['info']['version']}")
    example = escape(_EXAMPLE.replace("{server}", server))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{title}</title><link rel="stylesheet" href="docs.css"></head>\n<body>'
        f'<nav aria-label="Things"><ul>{links}</ul></nav>\n<main><h1>{title}</h1>'
        f"<p>{escape(document['info'].get('summary', ''))}. "
        'The same as <a href="openapi.json">OpenAPI</a>. Every error is a '
        '<a href="/problems/validation-failed">problem</a>; lists come in pages, by '
        "<code>next_cursor</code>; a POST with an <code>Idempotency-Key</code> may be repeated.</p>"
        f"<pre><code>{example}</code></pre>{parts}</main></body></html>\n"
    )


def _by_tag(document: Schema) -> dict[str, list[tuple[str, str, Schema]]]:
    tags: dict[str, list[tuple[str, str, Schema]]] = {}
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                tag = (item[method].get("tags") or ["other"])[0]
                tags.setdefault(tag, []).append((method, path, item[method]))
    return tags


def _section(document: Schema, tag: str, found: list[tuple[str, str, Schema]]) -> str:
    each = "".join(_operation(document, *one) for one in found)
    return f'<h2 id="{_slug(tag)}">{escape(tag)}</h2>{each}'


def _operation(document: Schema, method: str, path: str, operation: Schema) -> str:
    first, rest = operation.get("summary", ""), str(operation.get("description", "")).strip()
    more = f"<p>{escape(rest)}</p>" if rest else ""
    return (
        f'<details id="{escape(operation["operationId"])}"><summary><b class="{method}">'
        f"{method.upper()}</b><code>{escape(path)}</code><span>{escape(first)}</span></summary><div>"
        f"{more}{_parameters(document, operation)}{_body(document, operation)}"
        f"{_answers(operation)}</div></details>"
    )


def _parameters(document: Schema, operation: Schema) -> str:
    rows = [
        _row(one["name"], one.get("schema", {}), one.get("description", ""), document)
        for one in operation.get("parameters", ())
        if one["in"] in {"path", "query"}
    ]
    return _table("Parameters", rows)


def _body(document: Schema, operation: Schema) -> str:
    content: Schema = operation.get("requestBody", {}).get("content", {})
    schema = _resolved(document, _first(content).get("schema", {}))
    return _table("Body", list(_fields(document, schema)))


def _answers(operation: Schema) -> str:
    rows = []
    for status, answer in operation.get("responses", {}).items():
        content: Schema = answer.get("content", {})
        schema = _first(content).get("schema", {})
        name = _named(schema) if status < "400" else ""
        shown = f" <code>{escape(name)}</code>" if name else ""
        told = escape(answer.get("description", "")).replace("`", "")
        rows.append(f"<tr><td><code>{status}</code></td><td>{told}{shown}</td></tr>")
    return _table("Answers", rows)


def _first(content: Schema) -> Schema:
    """Return what is said of the first media type, nothing where there is none."""
    return next(iter(content.values()), _NOTHING)


def _fields(document: Schema, schema: Schema) -> Iterator[str]:
    required = set(schema.get("required", ()))
    for name, field in schema.get("properties", {}).items():
        mark = " (required)" if name in required else ""
        yield _row(f"{name}", field, f"{field.get('description', '')}{mark}", document)


def _row(name: str, schema: Schema, text: str, document: Schema) -> str:
    kind = escape(_kind(document, schema))
    return (
        f"<tr><td><code>{escape(name)}</code></td><td>{kind}</td>"
        f"<td>{escape(text).replace('`', '')}</td></tr>"
    )


def _table(title: str, rows: list[str]) -> str:
    return f"<h3>{title}</h3><table>{''.join(rows)}</table>" if rows else ""


def _kind(document: Schema, schema: Schema) -> str:
    """Return what a value may be, in a few words."""
    schema = _resolved(document, schema)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(document, one) for one in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_kind(document, schema.get('items', {}))}"
    kind = str(schema.get("format") or schema.get("type") or "any")
    least, most = schema.get("minimum"), schema.get("maximum")
    bounds = f" {least} to {most}" if least is not None and most is not None else ""
    return kind + bounds


def _named(schema: Schema) -> str:
    """Return the name of an answer's shape."""
    return str(schema.get("$ref", "")).rpartition("/")[2].replace("_", " ").strip()


def _resolved(document: Schema, schema: Schema) -> Schema:
    ref = str(schema.get("$ref", ""))
    if not ref:
        return schema
    found: Any = document
    for part in ref.removeprefix("#/").split("/"):
        found = found[part]
    resolved: Schema = found
    return resolved


def _slug(tag: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in tag.lower())
