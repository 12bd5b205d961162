"""`--fields`: selection of JSON fields by their paths."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from crawlyard.core.answer import as_dict
from crawlyard.errors import Invalid
from crawlyard.export.jsonl import dumps

_PATH = re.compile(r"\w+(?:\.[\w-]+)*")


class Fields(Struct, frozen=True):
    """Paths of fields, such as ``state`` and ``progress.done``, in output order."""

    paths: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> "Fields":
        """Return the fields in a list such as ``id,state,progress.done``.

        Raises:
            ValueError: a name is not valid.
        """
        names = [name.strip() for name in text.split(",")]
        wrong = [name for name in names if not _PATH.fullmatch(name)]
        if wrong:
            raise ValueError(f"expected names such as id,state,progress.done, got {wrong[0]!r}")
        return cls(tuple(dict.fromkeys(names)))

    def check(self, item: "Struct") -> None:
        """Check that each path exists in records like *item*.

        Raises:
            Invalid: a path does not exist; the message lists the names that do.
        """
        for path in self.paths:
            _check(item, path, path.split("."))

    def only(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return these fields of *record*, nested as before; a path includes all below it."""
        names: dict[str, Any] = {}
        for path in self.paths:
            if any(path.startswith(f"{whole}.") for whole in self.paths):
                continue
            place = names
            for name in path.split("."):
                place = place.setdefault(name, {})
        return {name: _only(record.get(name), inner) for name, inner in names.items()}

    def values(self, record: Mapping[str, Any]) -> list[object]:
        """Return the value of each field of *record*; objects and lists as JSON."""
        return [_word(_at(record, path.split("."))) for path in self.paths]


def _check(value: object, path: str, names: Sequence[str]) -> None:
    if not names:
        return
    fields = getattr(type(value), "__struct_fields__", None)  # of a shape
    if fields is not None:
        if names[0] not in fields:
            message = f"expected some of {', '.join(fields)}, got {names[0]!r}"
            raise Invalid("--fields", message if path == names[0] else f"{message} in {path!r}")
        _check(getattr(value, names[0]), path, names[1:])
    elif isinstance(value, Mapping):
        _check(value.get(names[0]), path, names[1:])
    elif isinstance(value, list | tuple) and value:
        _check(value[0], path, names)
    elif value is not None and not isinstance(value, list | tuple):
        raise Invalid("--fields", f"expected a name, got {path!r}: a plain value has no fields")


def _only(value: Any, names: Mapping[str, Any]) -> Any:
    if isinstance(value, list) and names:
        return [_only(item, names) for item in value]
    if isinstance(value, dict) and names:
        return {name: _only(value.get(name), inner) for name, inner in names.items()}
    return value


def _at(value: Any, names: Sequence[str]) -> Any:
    if not names:
        return value
    if isinstance(value, list):
        return [_at(item, names) for item in value]
    return _at(value.get(names[0]), names[1:]) if isinstance(value, dict) else None


def _word(value: object) -> object:
    return dumps(value) if isinstance(value, dict | list) else value


def pairs(fields: Fields, item: "Struct") -> Iterator[tuple[str, object]]:
    """Yield the names and values of these fields of one record.

    Raises:
        Invalid: it has no such field.
    """
    fields.check(item)
    return zip(fields.paths, fields.values(as_dict(item)), strict=True)
