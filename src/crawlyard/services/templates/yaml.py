"""YAML limited to what JSON can express: a linear-time reader, and a writer."""

import math
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import yaml

from crawlyard.errors import Invalid

MOST_VALUES = 500_000
"""Maximum values in a file: five times the start URLs of the largest spec; read in a second."""

_DEEPEST = 20  # levels of nesting in a file; a template has seven
_DIGITS = 40  # characters of an integer; no field takes as many

# libyaml takes a tenth of the time, but not every build of PyYAML has it
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Writes JSON values, and enum members as text."""


_Dumper.add_multi_representer(StrEnum, lambda to, word: to.represent_str(str(word)))

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {
    spelled: value
    for word, value in (
        *((word, True) for word in ("true", "yes", "on")),
        *((word, False) for word in ("false", "no", "off")),
    )
    for spelled in (word, word.capitalize(), word.upper())
}
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"(?:[-+]?[0-9][0-9_]*\.[0-9_]*|[-+]?\.[0-9][0-9_]*)(?:[eE][-+][0-9]{1,20})?")


def parse_yaml(content: str, source: str) -> object:
    """Return the JSON value that YAML describes; *source* names it in messages.

    Plain scalars are null, true and false (and yes, no, on, off), decimal numbers or
    text: a date is text, as in JSON, and so is ``.nan``. Field names are text.

    Raises:
        Invalid: it is not YAML, or has an alias, a tag, a duplicate key, a field name that
            is not text, or too many levels or values; the field has line and column.
    """
    try:
        # not closed: the reader holds nothing but text
        return _Reader(yaml.parse(content, Loader=_LOADER)).document()
    except yaml.MarkedYAMLError as error:
        mark, problem = error.problem_mark, ", ".join(filter(None, (error.context, error.problem)))
        place = f"{source}, line {mark.line + 1}, column {mark.column + 1}" if mark else source
        raise Invalid(place, f"invalid YAML: {problem}") from None
    except yaml.YAMLError as error:
        raise Invalid(source, f"invalid YAML: {' '.join(str(error).split())}") from None


def dump_yaml(data: object) -> str:
    """Return YAML that `parse_yaml` turns back into *data*."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100))


class _Reader:
    """Builds values from the events of a YAML parser.

    PyYAML's own constructor is not used: it builds more than JSON has, and some of it
    slowly. A base-60 integer takes time quadratic in its length.
    """

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._remaining = MOST_VALUES
        self._levels = 0

    def document(self) -> object:
        next(self._events)  # stream start
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        value = self._value(next(self._events))
        next(self._events)  # document end
        if not isinstance(after := next(self._events), yaml.StreamEndEvent):
            raise _fault("there is a second document", after)
        return value

    def _value(self, event: Any) -> object:
        self._remaining -= 1
        if self._remaining < 0:
            raise _fault(f"there are more than {MOST_VALUES:,} values", event)
        if isinstance(event, yaml.AliasEvent):
            # nested aliases make a small file expand until memory is full
            raise _fault("there is an alias, which is not taken", event)
        if event.tag is not None:
            raise _fault("there is a tag, which is not taken", event)
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event)
        self._levels += 1
        if self._levels > _DEEPEST:
            raise _fault(f"there are more than {_DEEPEST} levels", event)
        value = self._list() if isinstance(event, yaml.SequenceStartEvent) else self._object()
        self._levels -= 1
        return value

    def _list(self) -> list[object]:
        items = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event))
        return items

    def _object(self) -> dict[str, object]:
        members: dict[str, object] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.tag is not None:
                raise _fault("expected text as the name of a field", event)
            if event.value in members:
                raise _fault(f"duplicate key {event.value!r}", event)
            members[event.value] = self._value(next(self._events))
        return members


def _scalar(event: Any) -> object:
    word: str = event.value
    if not event.implicit[0]:  # quoted, or a block scalar
        return word
    if word in _NULLS:
        return None
    if word in _BOOLEANS:
        return _BOOLEANS[word]
    if _WHOLE.fullmatch(word):
        if len(word) > _DIGITS:
            raise _fault(f"a whole number has more than {_DIGITS} digits", event)
        return int(word.replace("_", ""))
    if _FLOAT.fullmatch(word):
        number = float(word.replace("_", ""))
        if not math.isfinite(number):
            raise _fault("a number is too large", event)
        return number
    return word


def _fault(problem: str, event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
