"""Structured data of a page: JSON-LD and Open Graph."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from turbohtml import Document

MAX_SIZE = 64 * 1024
"""Characters of JSON per page; items beyond it are left out."""

ARTICLES = ("Article", "BlogPosting")
"""Suffixes of schema.org types that are articles."""

_SCHEME = "jsonld:"
_PREFIXES = ("og:", "article:", "product:", "book:", "profile:", "music:", "video:", "twitter:")
_MAX_DEPTH = 32
_JSON_LD = "script[type='application/ld+json' i]"


def data(document: Document, meta: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the items of JSON-LD under "jsonld" and Open Graph properties under "opengraph".

    *meta* has the contents of <meta> elements by "property=…" and "name=…". Missing and invalid
    data is left out. A property with several values has a list.
    """
    size_left = MAX_SIZE
    items: list[Any] = []
    for script in document.select(_JSON_LD):
        for item in _items(script.text):
            size_left -= len(json.dumps(item))
            if size_left >= 0:
                items.append(item)
    properties: dict[str, Any] = {}
    for key, values in meta.items():
        name = key.partition("=")[2]
        if name.startswith(_PREFIXES) and not key.startswith("http-equiv="):
            size_left -= len(name) + sum(map(len, values))
            if size_left >= 0:
                properties.setdefault(name, values[0] if len(values) == 1 else list(values))
    by_source = {"jsonld": items, "opengraph": properties}
    return {name: value for name, value in by_source.items() if value}


def path_of(expression: str) -> str | None:
    """Return the path of a "jsonld:" expression, ``None`` if it is a CSS selector."""
    if not expression.startswith(_SCHEME):
        return None
    return expression.removeprefix(_SCHEME).strip().strip(".")


def values(structured: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield the values at *path* ("offers.price") in the JSON-LD of `data`, as text.

    Each item is tried from its top, and so are the nodes of its @graph. Lists are walked through;
    objects are written as JSON.
    """
    for item in structured.get("jsonld", ()):
        yield from _at(item, path.split("."))


def says_article(structured: Mapping[str, Any]) -> bool:
    """Return whether a page calls itself an article, in Open Graph or in an item of JSON-LD."""
    properties = structured.get("opengraph", {})
    if properties.get("og:type") == "article" or any(p.startswith("article:") for p in properties):
        return True
    return any(kind.endswith(ARTICLES) for kind in values(structured, "@type"))


def _items(text: str) -> Iterator[Any]:
    try:
        read = json.loads(text)
        nodes = read if isinstance(read, list) else [read]
        yield from (node for node in nodes if isinstance(node, dict) and not _is_deep(node))
    except (ValueError, RecursionError):
        return


def _is_deep(value: Any) -> bool:
    """Return whether *value* is nested too deeply for a recursive reader."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return False
    return True


def _at(value: Any, path: Sequence[str]) -> Iterator[str]:
    if isinstance(value, list):
        for element in value:
            yield from _at(element, path)
    elif not path:
        if value is not None:
            yield value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    elif isinstance(value, dict):
        if path[0] in value:
            yield from _at(value[path[0]], path[1:])
        elif "@graph" in value:
            yield from _at(value["@graph"], path)
