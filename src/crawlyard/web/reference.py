"""OpenAPI document, and a reference page made from it without scripts."""

from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from crawlyard.core.answer import API
from crawlyard.web.auth import site_of
from crawlyard.web.openapi import document
from crawlyard.web.pages import render
from crawlyard.web.routes import OneMethod

Schema: TypeAlias = Mapping[str, Any]

_CSS = files("crawlyard.web").joinpath("static", "reference.css").read_text("utf-8")

_DAY = "public, max-age=86400"
_POLICY = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'"


async def _document(request: Request) -> Response:
    public_url = site_of(request).options.public_url
    openapi = document() | ({"servers": [{"url": public_url}]} if public_url else {})
    return Response(msgspec.json.encode(openapi), media_type="application/json")


async def _page(request: Request) -> Response:
    public_url = site_of(request).options.public_url
    server = public_url or f"{request.url.scheme}://{request.url.netloc}"
    return HTMLResponse(_html(server), headers={"Content-Security-Policy": _POLICY})


@lru_cache(maxsize=4)
def _html(server: str) -> str:
    """Render the page; *server* is the URL in its example."""
    tags: dict[str, list[tuple[str, str, Schema]]] = {}
    for path, operations in document()["paths"].items():
        for method, operation in operations.items():
            tags.setdefault(operation["tags"][0], []).append((method, path, operation))
    return render(
        "reference.html",
        document=document(),
        tags=tags,
        server=server,
        kind=_kind,
        body=lambda operation: _resolve(_schema(operation.get("requestBody", {}))),
        shape=lambda response: _name(_schema(response)).replace("_", " ").strip(),
    )


async def _css(_request: Request) -> Response:
    return Response(_CSS, media_type="text/css", headers={"Cache-Control": _DAY})


ROUTES = (
    OneMethod(f"{API}/openapi.json", _document, "GET"),
    OneMethod(f"{API}/docs", _page, "GET"),
    OneMethod(f"{API}/docs.css", _css, "GET"),
)


def _schema(part: Schema) -> Schema:
    """Return the schema of a body or response in its first media type."""
    return next((content.get("schema", {}) for content in part.get("content", {}).values()), {})


def _name(schema: Schema) -> str:
    """Return the name of the schema that *schema* refers to; empty if none."""
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _kind(schema: Schema) -> str:
    """Describe the type of a value in a few words."""
    schema = _resolve(schema)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_kind, schema["anyOf"])))
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    kind = str(schema.get("format") or schema.get("type") or "any")
    least, most = schema.get("minimum"), schema.get("maximum")
    return f"{kind} {least} to {most}" if least is not None and most is not None else kind


def _resolve(schema: Schema) -> Schema:
    name = _name(schema)
    resolved: Schema = document()["components"]["schemas"][name] if name else schema
    return resolved
