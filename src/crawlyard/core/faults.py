"""Faults of input: what is wrong with a value, in words, and which part of a body has it."""

import re
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import fields as struct_fields

from crawlyard.core.parse import none_of, strange_names
from crawlyard.errors import Invalid

_NO_OTHER: Mapping[str, str] = {}


def faults_of(
    value: Any, hint: Any, error: msgspec.ValidationError
) -> Iterator[tuple[str, str, str]]:
    """Yield path, code and sentence of everything that is wrong with *value*."""
    if words := _words_in(hint):
        yield "", "invalid", none_of(value, words)[:500]
        return
    kind = _record_in(hint)
    if kind is None or not isinstance(value, Mapping):
        said, _, path = str(error).partition(" - at `$")
        yield _dotted(path), "invalid", in_words(error, value)
        return
    known = {field.encode_name: field for field in struct_fields(kind)}
    yield from strange_names(value, list(known), "field")
    hints = typing.get_type_hints(kind, include_extras=True)
    for name, field in known.items():
        if name not in value:
            if field.required:
                yield name, "missing", "expected a value, got none"
            continue
        try:
            msgspec.convert(value[name], hints[field.name])
        except msgspec.ValidationError as inner:
            for path, code, said in faults_of(value[name], hints[field.name], inner):
                yield (f"{name}.{path}" if path else name), code, said


def _words_in(hint: Any) -> list[str]:
    """Return the words of a closed list, none if a value may be something else than one."""
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
    """Return the record that a value must be, ``None`` if it need not be one."""
    records = (k for k in choices_of(hint) if isinstance(k, type) and issubclass(k, Struct))
    return next(records, None)


def choices_of(hint: Any) -> tuple[Any, ...]:
    """Return the types among which *hint* leaves a choice."""
    if typing.get_origin(hint) is typing.Annotated:
        return choices_of(typing.get_args(hint)[0])
    unions = (typing.Union, types.UnionType)
    return typing.get_args(hint) if typing.get_origin(hint) in unions else (hint,)


def _dotted(path: str) -> str:
    return path.rstrip("`").strip(".").replace("[", ".").replace("]", "").replace("...", "")


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


def in_words(error: msgspec.ValidationError, value: object) -> str:
    """Return what is wrong in our words."""
    said, _, path = str(error).partition(" - at `$")
    if said.startswith("Invalid RFC3339"):
        said = "Expected `datetime`"
    said = _KIND.sub(_kinds_in_words, said)
    said = said.replace(" of length <= ", " of at most ").replace(" of length >= ", " of at least ")
    said = said.replace(" <= ", " of at most ").replace(" >= ", " of at least ")
    said = said[:1].lower() + said[1:].replace("`", "")
    shown = (
        "" if path or "got" in said or isinstance(value, dict | list | Enum) else f", got {value!r}"
    )
    return (said + shown)[:500]


def check_all(*checks: Callable[[], object]) -> None:
    """Run all *checks*, and raise their faults as one error.

    Raises:
        Invalid: a check failed; `Invalid.faults` has what each of them raised.
    """
    errors: list[Invalid] = []
    for check in checks:
        try:
            check()
        except Invalid as error:
            errors.append(error)
    if errors:
        raise Invalid.of(errors) from None


# --- which part of a body


@contextmanager
def blaming(
    own: Collection[str], inside: str, renamed: Mapping[str, str] = _NO_OTHER
) -> Iterator[None]:
    """Let `Invalid` name the members of a body.

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
            return fault if field == fault.field else Invalid(field, fault.message, fault.position)

        raise error.mapped(rename) from None
