"""Parsers of option values: pairs, headers, lines, durations, sizes and counts.

Parsers raise `ValueError` with a sentence about the expected and the actual value; the
caller puts the option or field before it.
"""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from msgspec import Struct

from crawlyard.core.endpoints.endpoint import LARGEST_PART
from crawlyard.core.jobs.spec import Spread, SpreadOver
from crawlyard.core.jobs.spec_json import ENDLESS
from crawlyard.core.quantity import FOREVER_S, count, duration, duration_text, size, size_text

__all__ = [
    "NONE",
    "NO_PAIR",
    "Ceiling",
    "Pair",
    "ceiling",
    "count",
    "duration",
    "duration_text",
    "header",
    "line",
    "none_or",
    "or_none",
    "pair",
    "port",
    "queue_limit",
    "retention",
    "run_count",
    "size",
    "size_text",
    "spread",
    "webhook",
]

N = TypeVar("N", int, float)
V = TypeVar("V", int, float, str)

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade"})
"""Headers that the client itself must write: other values would break or smuggle requests."""

MAX_PORT = 65_535  # 16 bits, RFC 9293 section 3.1
_PAIR_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


def run_count(word: str) -> int:
    """Return a number of runs: one or more.

    Raises:
        ValueError: it is not.
    """
    number = count(word)
    if not number:
        raise ValueError("expected 1 or more, got 0")
    return number


def chunk_size(word: str) -> int:
    """Return the maximum words of a chunk: from 50 to 100,000.

    Raises:
        ValueError: it is not in the range.
    """
    number = count(word)
    if not 50 <= number <= 100_000:
        raise ValueError(f"expected 50 to 100,000 words, got {number:,}")
    return number


def queue_limit(word: str) -> int:
    """Return the maximum length of a queue list: from 1 to 200.

    Raises:
        ValueError: it is not in the range.
    """
    number = count(word)
    if not 1 <= number <= LARGEST_PART:
        raise ValueError(f"expected 1 to {LARGEST_PART}, got {word!r}")
    return number


class Pair(NamedTuple):
    """A name and its value."""

    name: str
    value: str


NONE = "none"
"""Word that removes a value of a template or a job."""

NO_PAIR = Pair(NONE, "")


class Ceiling(Struct, frozen=True):
    """An optional limit; ``None``: no limit."""

    value: float | str | None


def ceiling(parser: Callable[[str], V]) -> Callable[[str], Ceiling]:
    """Return a reader that accepts what *parser* does, or "none"."""

    def read(text: str) -> Ceiling:
        if text.strip().lower() == NONE:
            return Ceiling(None)
        return Ceiling(_read(parser, text, NONE))

    return read


def _read(parser: Callable[[str], V], text: str, word: str) -> V:
    """Return the result of *parser*; its error also mentions the accepted *word*."""
    try:
        return parser(text)
    except ValueError as error:
        raise ValueError(f"{error}; or {word!r}") from None


def or_none(parser: Callable[[str], Pair]) -> Callable[[str], Pair]:
    """Return a reader of pairs that accepts what *parser* does, or "none" as `NO_PAIR`."""
    return lambda text: NO_PAIR if text.strip().lower() == NONE else parser(text)


def none_or(parser: Callable[[str], object]) -> Callable[[str], object]:
    """Return a reader that accepts what *parser* does, or "none" as `NONE`."""
    return lambda text: NONE if text.strip().lower() == NONE else parser(text)


def pair(text: str) -> Pair:
    """Return the name and the selector of ``name=CSS`` or ``name=CSS@attribute``."""
    name, equals, selector = (part.strip() for part in text.partition("="))
    if not equals or not selector:
        raise ValueError(f"expected name=CSS such as price=.price or link=a@href, got {text!r}")
    if not _PAIR_NAME.fullmatch(name):
        raise ValueError(
            f"expected a name of letters, digits, '_', '.' and '-' before the '=', got {name!r}"
        )
    return Pair(name, selector)


def header(text: str) -> Pair:
    """Return the name and the value of ``Name: value``.

    Source: RFC 9110, sections 5.1 and 5.5.
    """
    name, colon, value = text.partition(":")
    name, value = name.strip(" \t"), value.strip(" \t")
    if not colon or not _HEADER_NAME.fullmatch(name):
        raise ValueError(f"expected 'Name: value', got {text!r}")
    if not _HEADER_VALUE.fullmatch(value):
        raise ValueError(f"expected a value of one line without control characters, got {value!r}")
    if name.lower() in _OURS:
        raise ValueError(f"{name} is set by the crawler and cannot be changed")
    if name.lower() == "user-agent":
        raise ValueError("use --user-agent instead: robots.txt depends on it")
    return Pair(name, value)


def port(text: str) -> int:
    """Return the port in *text*; 0 stands for any free port."""
    word = text.strip()
    if not re.fullmatch("[0-9]{1,5}", word) or int(word) > MAX_PORT:
        raise ValueError(f"expected a port from 0 to {MAX_PORT}, got {text!r}")
    return int(word)


def span_s(text: str) -> float:
    """Return a duration in seconds."""
    return duration(text).total_seconds()


def retention(text: str) -> float:
    """Return a retention in seconds, `FOREVER_S` for ``forever``."""
    if text.strip().lower() == ENDLESS:
        return FOREVER_S
    return _read(span_s, text, ENDLESS)


def line(text: str) -> str:
    """Return *text* if it is one nonempty line without control characters."""
    if not text.strip() or not _HEADER_VALUE.fullmatch(text):
        raise ValueError(f"expected one line of text, got {text!r}")
    return text.strip()


def webhook(text: str) -> str | dict[str, Any]:
    """Return a URL, or a webhook from its JSON object.

    Raises:
        ValueError: it is neither.
    """
    if not text.lstrip().startswith("{"):
        return line(text)
    try:
        members: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise ValueError(f"expected a URL or a JSON object, got {text!r}: {error}") from None
    return members


def spread(text: str) -> SpreadOver:
    """Return the number of workers to spread a job over.

    Raises:
        ValueError: it is neither a number nor ``auto``.
    """
    if text.strip().lower() == Spread.AUTO:
        return Spread.AUTO
    return _read(count, text, Spread.AUTO.value)
