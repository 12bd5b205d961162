"""Input faults: error messages for invalid values, and the part of a body they are in."""

import re
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import fields as struct_fields

from crawlyard.core.parse import format_value, is_list, none_of, strange_names, suggestion
from crawlyard.errors import Invalid

_NO_OTHER: Mapping[str, str] = {}


def faults_of(
    value: Any, hint: Any, error: msgspec.ValidationError
) -> Iterator[tuple[str, str, str]]:
    """Yield path, code and message of each fault of *value*.

    The message quotes the value, unless *hint* marks it as secret.
    """
    if words := _words_in(hint):
        yield "", "invalid", none_of(value, words)
        return
    kind = _record_in(hint)
    if kind is None or not isinstance(value, Mapping):
        path = str(error).partition(" - at `$")[2].rstrip("`")
        yield _format_path(path), "invalid", in_words(error, value, secret=_is_secret(hint))
        return
    fields = {field.encode_name: field for field in struct_fields(kind)}
    yield from strange_names(value, list(fields), "field")
    hints = typing.get_type_hints(kind, include_extras=True)
    for name, field in fields.items():
        if name not in value:
            if field.required:
                yield name, "missing", "expected a value, got none"
            continue
        try:
            msgspec.convert(value[name], hints[field.name])
        except msgspec.ValidationError as inner:
            for path, code, message in faults_of(value[name], hints[field.name], inner):
                yield (f"{name}.{path}" if path else name), code, message


def _words_in(hint: Any) -> list[str]:
    """Return the words of a closed list; empty if a value may be something else."""
    words: list[str] = []
    for choice in choices_of(hint):
        if typing.get_origin(choice) is typing.Literal:
            words += map(str, typing.get_args(choice))
        elif isinstance(choice, type) and issubclass(choice, Enum):
            words += [str(each.value) for each in choice]
        elif choice is not types.NoneType:
            return []
    return words


def _record_in(hint: Any) -> type[Struct] | None:
    """Return the record type that a value must have; ``None`` if it need not be a record."""
    records = (k for k in choices_of(hint) if isinstance(k, type) and issubclass(k, Struct))
    return next(records, None)


def choices_of(hint: Any) -> tuple[Any, ...]:
    """Return the alternatives of a union type."""
    if typing.get_origin(hint) is typing.Annotated:
        return choices_of(typing.get_args(hint)[0])
    unions = (typing.Union, types.UnionType)
    return typing.get_args(hint) if typing.get_origin(hint) in unions else (hint,)


def _is_secret(hint: Any) -> bool:
    """Return whether *hint* has the mark of `SECRET`."""
    metas = (meta for choice in (hint, *choices_of(hint)) for meta in _metas_of(choice))
    return any((meta.extra or {}).get("secret") for meta in metas)


def _metas_of(hint: Any) -> list[msgspec.Meta]:
    return [meta for meta in getattr(hint, "__metadata__", ()) if isinstance(meta, msgspec.Meta)]


def _format_path(path: str) -> str:
    return path.strip(".").replace("[", ".").replace("]", "").replace("...", "")


_STEP = re.compile(r"\[(\d+)\]|\.([^.\[\]]+)")


def _at(value: Any, path: str) -> Any:
    """Return the part of *value* at a path of msgspec, such as ``.a[0].b``.

    Raises:
        LookupError: the path does not name one place; ``[...]`` is any value of an object.
    """
    steps = list(_STEP.finditer(path))
    if "".join(step[0] for step in steps) != path:
        raise LookupError(path)
    for step in steps:
        value = value[int(step[1])] if step[1] else value[step[2]]
    return value


_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "datetime": "an instant such as 2027-01-01T08:00:00Z",
}
_KIND = re.compile(r"`([a-z]+(?: \| [a-z]+)*)`")


def _kinds_in_words(kinds: re.Match[str]) -> str:
    return " or ".join(_KINDS.get(word, word) for word in kinds[1].split(" | "))


def path_fault(path: str, hint: Any) -> str:
    """Return the error in the path of a field, such as ``spec.name``, of an answer.

    Empty if there is none, or only the answer itself can show it. *hint* is the answer's type.
    """
    records = [hint]
    for name in path.split("."):
        records = [inner for record in records for inner in _members_of(record)]
        kinds = [kind for kind in records if isinstance(kind, type) and issubclass(kind, Struct)]
        if len(kinds) < len(records) and any(map(_is_open, records)):
            return ""
        members = {field.encode_name: kind for kind in kinds for field in struct_fields(kind)}
        members |= {tag: kind for kind in kinds if (tag := kind.__struct_config__.tag_field)}
        if name not in members:
            message = f"there is no field {name[:100]!r} in {path[:100]!r}"
            listed = suggestion(name, members) or f"; there are {', '.join(members) or 'none'}"
            return message + listed
        hints = [typing.get_type_hints(kind, include_extras=True) for kind in kinds]
        records = [each[name] for each in hints if name in each]
    return ""


def _members_of(hint: Any) -> list[Any]:
    """Return the types of the parts of *hint*: its alternatives, and items of a list."""
    members: list[Any] = []
    for choice in choices_of(hint):
        if typing.get_origin(choice) is typing.Annotated:
            members += _members_of(choice)
        elif typing.get_origin(choice) in (list, tuple, frozenset, Sequence):
            members += _members_of(typing.get_args(choice)[0])
        elif choice is not types.NoneType:
            members.append(choice)
    return members


def _is_open(hint: Any) -> bool:
    """Return whether *hint* allows any member name."""
    return hint is Any or hint is object or typing.get_origin(hint) in (dict, Mapping)


def in_words(error: msgspec.ValidationError, value: object, *, secret: bool = False) -> str:
    """Return our wording of *error*, with the offending part of *value* unless it is *secret*."""
    message, _, path = str(error).partition(" - at `$")
    if message.startswith("Invalid RFC3339"):
        message = "Expected `datetime`"
    message = _KIND.sub(_kinds_in_words, message)
    message = message.replace(" of length <= ", " of at most ").replace(
        " of length >= ", " of at least "
    )
    message = message.replace(" <= ", " of at most ").replace(" >= ", " of at least ")
    message = message[:1].lower() + message[1:].replace("`", "")
    try:
        actual = _at(value, path.rstrip("`"))
    except (LookupError, TypeError):
        return message[:500]
    if secret or isinstance(actual, Mapping) or is_list(actual):
        return message[:500]
    return f"{message.partition(', got ')[0]}, got {format_value(actual)}"[:500]


# --- parts of a body


@contextmanager
def blaming(
    own: Collection[str], inside: str, renamed: Mapping[str, str] = _NO_OTHER
) -> Iterator[None]:
    """Translate the fields of `Invalid` to members of the request body.

    A field that begins with one of *own* keeps its name, or gets that in *renamed*; all others
    are in the member *inside*: ``limits.pages`` is ``overrides.limits.pages``.
    """
    try:
        yield
    except Invalid as error:

        def rename(fault: Invalid) -> Invalid:
            head, dot, rest = fault.field.partition(".")
            if head in renamed:
                field = f"{renamed[head]}{dot}{rest}"
            else:
                field = fault.field if head in own else f"{inside}.{fault.field}"
            return type(fault)(field, fault.message, fault.position)  # a `NotPublic` remains one

        raise error.map(rename) from None
