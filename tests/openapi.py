"""The OpenAPI contract with clients; ``python -m tests.openapi`` writes it to a file."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from crawlyard.store.db.in_memory import open_in_memory
from tests.web.rig import a_rig

SNAPSHOT = Path(__file__).parent / "web" / "openapi.json"

METHODS = ("get", "post", "put", "patch", "delete")
_DEEPEST = 6  # levels of fields; deeper ones are values of users

Document = Mapping[str, Any]
Contract = dict[str, dict[str, Any]]


def operations(document: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, method and definition of each operation."""
    for path, methods in document["paths"].items():
        yield from ((path, method, methods[method]) for method in METHODS if method in methods)


def contract(document: Document) -> Contract:
    """Return what must not change: a dict for each operation, by method and path."""
    return {
        f"{method.upper()} {path}": {
            "id": operation["operationId"],
            "parameters": sorted(
                f"{parameter['in']} {parameter['name']}{'*' if parameter.get('required') else ''}"
                for parameter in operation.get("parameters", ())
            ),
            "body": _body(document, operation),
            "statuses": sorted(operation["responses"]),
            "answer": _answer(document, operation),
        }
        for path, method, operation in operations(document)
    }


def broken(old: Contract, new: Contract) -> list[str]:
    """Return what a client of *old* would stumble over in *new*: sentences."""
    losses = [f"{name} is gone" for name in old if name not in new]
    for name, before in old.items():
        if (after := new.get(name)) is None:
            continue
        if before["id"] != after["id"]:
            losses.append(f"{name} is called {after['id']}, was {before['id']}")
        for kind in ("parameters", "body", "answer", "statuses"):
            losses += [f"{name}: {text}" for text in _lost(kind, before[kind], after[kind])]
    return losses


def _lost(kind: str, before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    names = {word.rstrip("*") for word in after}
    old_names = {word.rstrip("*") for word in before}
    if kind == "statuses":  # another error is no break, another success is
        names, old_names = ({w for w in words if w < "400"} for words in (names, old_names))
    yield from (f"{kind} lost {word}" for word in sorted(old_names - names))
    if kind in {"parameters", "body"}:
        needed = [word for word in after if word.endswith("*") and word not in before]
        yield from (f"{kind} must have {word.rstrip('*')} now" for word in needed)


def _body(document: Document, operation: Mapping[str, Any]) -> list[str]:
    content = operation.get("requestBody", {}).get("content", {})
    return sorted(set(_fields(document, content["application/json"]["schema"]))) if content else []


def _answer(document: Document, operation: Mapping[str, Any]) -> list[str]:
    names: set[str] = set()
    for status, answer in operation["responses"].items():
        schema = answer.get("content", {}).get("application/json", {}).get("schema")
        if status < "400" and schema is not None:
            names |= {word.rstrip("*") for word in _fields(document, schema)}
    return sorted(names)


def _fields(document: Document, schema: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    """Return the paths of all fields; ``*`` behind one that must be there."""
    if depth > _DEEPEST:
        return
    if (ref := schema.get("$ref")) is not None:
        yield from _fields(document, referred(document, ref), depth)
    for choice in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        yield from _fields(document, choice, depth)
    if "items" in schema:
        yield from (f"[].{name}" for name in _fields(document, schema["items"], depth + 1))
    needed = schema.get("required", ())
    for name, inner in schema.get("properties", {}).items():
        yield f"{name}{'*' if name in needed else ''}"
        below = _fields(document, inner, depth + 1)
        yield from (f"{name}.{word}".replace(".[]", "[]") for word in below)


def referred(document: Document, ref: str) -> Mapping[str, Any]:
    """Return what a ``$ref`` within the document means."""
    place: Any = document
    for part in ref.removeprefix("#/").split("/"):
        place = place[part]
    node: Mapping[str, Any] = place
    return node


async def document_now() -> Document:
    """Return the document as the code makes it."""
    rig = await a_rig(open_in_memory())
    answer = await rig.get("openapi.json", by=None)
    document: Document = answer.json()
    return document


def text_of(agreed: Contract) -> str:
    return json.dumps(agreed, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    SNAPSHOT.write_text(text_of(contract(asyncio.run(document_now()))), encoding="utf-8")
