"""Value parsing: JSON and text input to typed values, for forms and parameters."""

# ruff: noqa: TRY004  # every invalid value raises `ValueError`, as in `float`

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches
from typing import TypeGuard
from urllib.parse import urlsplit

from crawlyard.core import quantity
from crawlyard.core.quantity import FOREVER_S
from crawlyard.errors import Invalid


def text(value: object) -> str:
    """Return *value* if it is text.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, str):
        hint = "; put it in quotes" if isinstance(value, (int, float)) else ""
        raise ValueError(f"expected text, got {format_value(value)}{hint}")
    return value


def whole(value: object) -> int:
    """Return a whole number, given as a number or as text like ``20k``.

    Raises:
        ValueError: it is not a whole number.
    """
    if isinstance(value, str):
        return quantity.count(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"expected a whole number such as 500 or 20k, got {format_value(value)}")
    return _check_size(value)


def size(value: object) -> int:
    """Return bytes, given as a whole number or as text like ``500MB``.

    Raises:
        ValueError: it is not a size.
    """
    if isinstance(value, str):
        return quantity.size(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"expected a size such as 500MB or 1048576, got {format_value(value)}")
    return _check_size(value)


def span(value: object) -> timedelta:
    """Return a duration, given as a number of seconds or as text like ``1h30m``.

    Raises:
        ValueError: it is not a duration, negative, or more than a hundred years.
    """
    if isinstance(value, str):
        return quantity.duration(value)
    expected = "expected seconds, or a duration such as 90s, 2h or 1h30m"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{expected}, got {format_value(value)}")
    if not 0 <= value <= FOREVER_S:  # also rejects NaN
        raise ValueError(f"{expected}, got {value:g}")
    return timedelta(seconds=value)


def number(value: object) -> float:
    """Return a finite number, given as a number or as text.

    Raises:
        ValueError: it is not a finite number.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError  # noqa: TRY301 - raised below, with the errors of `float`
        parsed = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"expected a number, got {format_value(value)}") from None
    if not math.isfinite(parsed):
        raise ValueError(f"expected a finite number, got {format_value(value)}")
    return parsed


def boolean(value: object) -> bool:
    """Return a boolean, given as true or false or as one of these words.

    Raises:
        ValueError: it is not.
    """
    word = value.strip().lower() if isinstance(value, str) else value
    if isinstance(word, bool):
        return word
    if word in ("true", "false"):
        return word == "true"
    raise ValueError(f"expected true or false, got {format_value(value)}")


def texts(value: object) -> tuple[str, ...]:
    """Return a list of texts; a single text stands for a list of one.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, str):
        return (value,)
    if not is_list(value):
        raise ValueError(f"expected a list of texts, got {format_value(value)}")
    return tuple(text(item) for item in value)


def format_value(value: object) -> str:
    """Return *value* for a message: as in JSON, shortened if it is long."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "an object"
    if is_list(value):
        return "a list"
    if isinstance(value, int) and abs(value) > quantity.LARGEST:
        return "a number of more than 18 digits"  # `repr` fails for thousands of digits
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:99]}…"


_NEAR = 0.7
"""Least similarity of a suggestion: "depth" and "max_depth" are near, "pages" and "tags" not."""

_LONGEST_COMPARED = 100  # characters


def nearest(name: str, names: Iterable[str], prefix: str = "") -> str:
    """Return the most similar of *names*; empty if none is similar.

    Names are compared without *prefix*, which all share, and without the group that ``job.done``
    and ``job.paused`` share: a common prefix makes any two names similar.
    """
    words = list(names)
    group = name[: name.rfind(".") + 1]
    if not prefix and any(word.startswith(group) for word in words):
        prefix = group
    rest = [word.removeprefix(prefix) for word in words if word.startswith(prefix)]
    typed = name[:_LONGEST_COMPARED].removeprefix(prefix)
    return next((prefix + word for word in get_close_matches(typed, rest, 1, _NEAR)), "")


def suggestion(name: object, names: Iterable[str], prefix: str = "") -> str:
    """Return ``; did you mean …?`` for the end of a message; empty if no name is similar."""
    near = nearest(name, names, prefix) if isinstance(name, str) else ""
    return f"; did you mean {near}?" if near else ""


def unknown(path: str, name: str, names: Sequence[str], kind: str, prefix: str = "") -> Invalid:
    """Return the error about *name* at *path*, with a suggestion from *names*."""
    hint = suggestion(name, names, prefix) or f"; there are {', '.join(names) or 'none'}"
    return Invalid(path, f"there is no such {kind}{hint}")


def none_of(value: object, choices: Iterable[str]) -> str:
    """Return the message about a value that is none of *choices*."""
    words = [str(word) for word in choices]
    return (
        f"expected one of {', '.join(words)}, got {format_value(value)}{suggestion(value, words)}"
    )


def _check_size(value: int) -> int:
    if abs(value) > quantity.LARGEST:
        raise ValueError(f"expected at most {quantity.LARGEST}, got {format_value(value)}")
    return value


def is_list(value: object) -> TypeGuard[Sequence[object]]:
    """Return whether *value* is a list; text is not a list."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def strange_names(
    names: Iterable[str], allowed: list[str], kind: str
) -> Iterator[tuple[str, str, str]]:
    """Yield name, code and sentence of each of *names* that is not known."""
    for name in names:
        if name not in allowed:
            message = str(unknown(name, name, allowed, kind)).removeprefix(f"{name}: ")
            yield name, "unknown", message


def hosts_in(urls: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct hosts of *urls*; a host with a non-default port also without the port."""
    hosts: dict[str, None] = {}
    for url in urls:
        plain = _PLAIN.match(url)
        if plain is not None:  # matches nearly all URLs, in a tenth of the time
            hosts[plain[1]] = None
            continue
        try:
            parts = urlsplit(url.strip())
            host, port = (parts.hostname or "").removesuffix("."), parts.port
        except ValueError:
            continue
        hosts[host] = None
        if port is not None and port != _PORTS.get(parts.scheme.lower()):
            hosts[f"{host}:{port}"] = None
    hosts.pop("", None)
    return tuple(hosts)


_PORTS = {"http": 80, "https": 443}

_PLAIN = re.compile(r"https?://([a-z0-9.-]*[a-z0-9-])/")  # lower case, without a port
