"""Raw names of enum values and Python notation, which no text for people may contain."""

import importlib
import pkgutil
import re
from enum import StrEnum

from crawlyard import core
from crawlyard.core.events.event import EventName
from crawlyard.core.words import ERRORS, REASONS, TICK_REASONS, WAITS

_PYTHON = re.compile(
    r"""[{\[(]'\w[^']*'[:,\])]"""  # {'id': …}, ['a'], ('a', 1)
    r"""|<[\w.]+ object at|<\w+\.\w+: '|\bdatetime\.datetime\(|frozenset\(|\bError\(['"]"""
    r"""|(?<![\w'"])(?:None|True|False)(?=[,;:)}\]]|$)"""
)


def underscored() -> frozenset[str]:
    """Return the values of our enums with an underscore; names of events stand as they are."""
    for module in pkgutil.walk_packages(core.__path__, "crawlyard.core."):
        importlib.import_module(module.name)
    enums = [enum for enum in _below(StrEnum) if enum is not EventName]
    return frozenset(value for enum in enums for value in enum if "_" in value)


def _below(parent: type[StrEnum]) -> list[type[StrEnum]]:
    children = [c for c in parent.__subclasses__() if c.__module__.startswith("crawlyard.")]
    return [*children, *(below for child in children for below in _below(child))]


def _pattern() -> re.Pattern[str]:
    names = underscored()
    # "waiting slot" is a name as well, where the table has other words for it
    differ = {
        value.replace("_", " ")
        for table in (REASONS, WAITS, ERRORS, TICK_REASONS)
        for value, words in table.items()
        if "_" in value and value.replace("_", " ") not in words
    }
    differ -= {"worker tags"}  # the label of a field
    differ -= {name.rpartition(".")[2].replace("_", " ") for name in EventName}
    each = "|".join(sorted(map(re.escape, names | differ), key=len, reverse=True))
    return re.compile(rf"(?<![\w.])(?:{each})(?![\w])", re.IGNORECASE)


_NAMES = _pattern()


def names_in(text: str) -> list[str]:
    """Return the lines of *text* that have such a name or notation, each with the match."""
    return [
        f"{match[0]} in “{line.strip()}”"
        for line in text.splitlines()
        for match in (_NAMES.search(line) or _PYTHON.search(line),)
        if match
    ]
