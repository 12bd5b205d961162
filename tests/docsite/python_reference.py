"""The Python reference, from docstrings: a page for each noun, and one for the records."""

import inspect
import re
import types
import typing
from enum import Enum
from typing import Any

import msgspec

import crawlyard
from crawlyard import public_names
from crawlyard.core.endpoints.endpoint import methods_of
from crawlyard.services.surface import nouns
from tests.docsite.markdown import Pages, cell, docstring, page, table
from tests.sync_stub import Imports, signature

FOLDER = "reference/python-api"
_BY_HAND = "The names with an example of each are in [Python reference](../python.md)."


def python_pages() -> Pages:
    """Return the pages of the Python reference."""
    rows = [
        [f"[`yard.{name}`]({name}.md)", cell(_first(service))] for name, service in nouns().items()
    ]
    pages = {
        f"{FOLDER}/index.md": page(
            "# Python API",
            "All methods of the object that `crawlyard.open()` and `crawlyard.connect()` return, "
            f"and all public records, generated from the docstrings. {_BY_HAND}",
            table(["", "purpose"], rows),
            "[Records](records.md) lists the other public names.",
        ),
        f"{FOLDER}/records.md": _records(),
    }
    for name, service in nouns().items():
        methods = [_method(name, word, call) for word, call in methods_of(service).items()]
        pages[f"{FOLDER}/{name}.md"] = page(
            f"# yard.{name}", docstring(inspect.getdoc(service) or ""), *methods
        )
    return pages


def _first(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").partition("\n\n")[0]


def _method(noun: str, name: str, call: Any) -> str:
    arguments, result = signature(call, Imports())
    word = "def" if inspect.isasyncgenfunction(call) else "async def"
    lines = "".join(f"    {argument},\n" for argument in arguments)
    code = f"{word} {name}(\n{lines}) -> {result}" if arguments else f"{word} {name}() -> {result}"
    return page(
        f"## yard.{noun}.{name}", f"```python\n{code}\n```", docstring(inspect.getdoc(call) or "")
    )


def _records() -> str:
    parts = [_record(name, getattr(crawlyard, name)) for name in sorted(public_names.__all__)]
    return page(
        "# Python: records and other names", f"Import them from `crawlyard`. {_BY_HAND}", *parts
    )


def _record(name: str, thing: Any) -> str:
    described = inspect.isclass(thing) or inspect.isroutine(thing)
    text = (
        docstring(inspect.getdoc(thing) or "")
        if described
        else f"A value of type `{type(thing).__name__}`."
    )
    if inspect.isclass(thing) and issubclass(thing, Enum):
        values = [f"`{member.name}`" for member in thing]
        return page(f"## {name}", text, f"Members: {', '.join(values)}")
    if not (inspect.isclass(thing) and issubclass(thing, msgspec.Struct)):
        return page(f"## {name}", text)
    fields = msgspec.structs.fields(thing)
    rows = [
        [f"`{field.name}`", f"`{_annotation(field.type)}`", _default(field)] for field in fields
    ]
    return page(f"## {name}", text, table(["field", "type", "default"], rows))


def _annotation(hint: Any) -> str:
    """Return a type as people write it: without modules and without metadata."""
    choices = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Annotated:
        return _annotation(choices[0])
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        return " \\| ".join(map(_annotation, choices))
    if hint is types.NoneType:
        return "None"
    text = hint.__name__ if inspect.isclass(hint) and not choices else str(hint)
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", text).replace("|", "\\|")


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    if field.default is msgspec.NODEFAULT:
        return "computed"
    value = str(field.default) if isinstance(field.default, Enum) else repr(field.default)
    return f"`{value}`" if len(value) < 40 else "…"
