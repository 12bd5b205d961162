"""What clients rely on in the OpenAPI document; ``python -m tests.openapi`` writes it down anew."""

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
    """Return path, method and operation of each that there is."""
    for path, told in document["paths"].items():
        yield from ((path, method, told[method]) for method in METHODS if method in told)


def contract(document: Document) -> Contract:
    """Return what must not change: a dict for each operation, by method and path."""
    return {
        f"{method.upper()} {path}": {
            "id": told["operationId"],
            "parameters": sorted(
                f"{one['in']} {one['name']}{'*' if one.get('required') else ''}"
                for one in told.get("parameters", ())
            ),
            "body": _body(document, told),
            "statuses": sorted(told["responses"]),
            "answer": _answer(document, told),
        }
        for path, method, told in operations(document)
    }


def broken(old: Contract, new: Contract) -> list[str]:
    """Return what a client of *old* would stumble over in *new*: sentences."""
    found = [f"{name} is gone" for name in old if name not in new]
    for name, before in old.items():
        if (after := new.get(name)) is None:
            continue
        if before["id"] != after["id"]:
            found.append(f"{name} is called {after['id']}, was {before['id']}")
        for kind in ("parameters", "body", "answer", "statuses"):
            found += [f"{name}: {text}" for text in _lost(kind, before[kind], after[kind])]
    return found


def _lost(kind: str, before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    names = {word.rstrip("*") for word in after}
    known = {word.rstrip("*") for word in before}
    if kind == "statuses":  # another error is no break, another success is
        names, known = ({w for w in words if w < "400"} for words in (names, known))
    yield from (f"{kind} lost {word}" for word in sorted(known - names))
    if kind in {"parameters", "body"}:
        needed = [word for word in after if word.endswith("*") and word not in before]
        yield from (f"{kind} must have {word.rstrip('*')} now" for word in needed)


def _body(document: Document, told: Mapping[str, Any]) -> list[str]:
    content = told.get("requestBody", {}).get("content", {})
    return sorted(set(_fields(document, content["application/json"]["schema"]))) if content else []


def _answer(document: Document, told: Mapping[str, Any]) -> list[str]:
    found: set[str] = set()
    for status, answer in told["responses"].items():
        schema = answer.get("content", {}).get("application/json", {}).get("schema")
        if status < "400" and schema is not None:
            found |= {word.rstrip("*") for word in _fields(document, schema)}
    return sorted(found)


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
    found: Mapping[str, Any] = place
    return found


async def document_now() -> Document:
    """Return the document as the code makes it."""
    rig = await a_rig(open_in_memory())
    answer = await rig.get("openapi.json", by=None)
    told: Document = answer.json()
    return told


def text_of(agreed: Contract) -> str:
    """Return the text of the file."""
    return json.dumps(agreed, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    SNAPSHOT.write_text(text_of(contract(asyncio.run(document_now()))), encoding="utf-8")
