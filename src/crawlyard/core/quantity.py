"""Durations, sizes and counts: parsing and formatting, as people write them.

Parsers raise `ValueError` with a sentence that names what was expected and what was given; callers
put the field name before it.
"""

import re
from datetime import timedelta

_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(?:([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w))")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_LONGEST = timedelta(days=3650)  # longer than any crawl; keeps times in range

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)(b?)", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SIZES = (
    *((f"{letter}iB", 1024**power) for letter, power in (("T", 4), ("G", 3), ("M", 2), ("K", 1))),
    *((f"{letter}B", 1000**power) for letter, power in (("T", 4), ("G", 3), ("M", 2), ("k", 1))),
)
LARGEST = 2**63 - 1  # maximum of a database column

FOREVER_S = 36_500 * 86_400
"""As a retention: a hundred years."""

_DIGITS = 60  # more than any accepted number has

_COUNT = re.compile(r"([0-9]+(?:[_,][0-9]{3})*)(k|m)?", re.IGNORECASE)


def duration(text: str) -> timedelta:
    """Return the duration of ``90s``, ``2h``, ``1h30m``, ``500ms`` or a bare number of seconds."""
    word = text.strip().lower()
    expected = f"expected a duration such as 90s, 2h, 7d or 1h30m, got {_quote(text)}"
    if _NUMBER.fullmatch(word):
        seconds = float(word)
    else:
        parts = _DURATION.findall(word)
        if not parts or "".join(n + unit for n, unit in parts) != word:
            raise ValueError(expected)
        sizes = [_UNITS_S[unit] for _, unit in parts]
        if sizes != sorted(set(sizes), reverse=True):
            # 1m1h is more likely a typo than an hour and a minute
            raise ValueError(f"{expected}; the larger unit goes first, each once")
        seconds = sum(float(n) * _UNITS_S[unit] for n, unit in parts)
    if seconds > _LONGEST.total_seconds():
        raise ValueError(f"expected at most {_LONGEST.days}d, got {_quote(text)}")
    return timedelta(seconds=seconds)


def size(text: str) -> int:
    """Return the number of bytes of ``500MB``, ``1GiB``, ``10k`` or a bare number.

    k, M, G and T are powers of 1000; Ki, Mi, Gi and Ti are powers of 1024.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[3] and not match[2]):
        raise ValueError(f"expected a size such as 500MB, 1GiB or 10k, got {_quote(text)}")
    if len(match[1]) > _DIGITS:
        raise ValueError(f"expected at most {LARGEST} bytes, got {_quote(text)}")
    base = 1024 if match[3] else 1000
    factor = base ** _POWERS[match[2].lower()]
    # whole numbers stay exact: a float has only 53 bits
    whole = int(match[1]) * factor if "." not in match[1] else int(float(match[1]) * factor)
    if whole > LARGEST:
        raise ValueError(f"expected at most {LARGEST} bytes, got {_quote(text)}")
    return whole


def count(text: str) -> int:
    """Return the whole number of ``500``, ``20_000``, ``20,000``, ``20k`` or ``1m``."""
    match = _COUNT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected a whole number such as 500 or 20k, got {_quote(text)}")
    if len(match[1]) > _DIGITS:
        raise ValueError(f"expected at most {LARGEST}, got {_quote(text)}")
    factor = {"": 1, "k": 1000, "m": 1_000_000}[(match[2] or "").lower()]
    number = int(re.sub("[_,]", "", match[1])) * factor
    if number > LARGEST:
        raise ValueError(f"expected at most {LARGEST}, got {_quote(text)}")
    return number


def count_noun(number: int, singular: str, many: str = "") -> str:
    """Return *number* with its noun: ``1 page``, ``2,000 pages``.

    *many* is the plural if it is not *singular* with an "s"; either may be followed by a verb.
    """
    return f"{number:,} {singular if number == 1 else many or f'{singular}s'}"


def _quote(text: str) -> str:
    """Return *text* quoted for a message, shortened if it is long."""
    return repr(text if len(text) <= 100 else f"{text[:99]}…")


def seconds(length: timedelta) -> float:
    """Return *length* in seconds, to the microsecond; an int if it is a whole number."""
    exact = length.total_seconds()
    return int(exact) if exact.is_integer() else exact


def duration_text(length: timedelta) -> str:
    """Return *length* as a user would write it: ``1h30m``, ``500ms``, ``0s``."""
    rest = round(length.total_seconds() * 1000)
    words = []
    for unit, unit_ms in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        number, rest = divmod(rest, unit_ms)
        if number:
            words.append(f"{number}{unit}")
    if rest:
        words.append(f"{rest}ms")
    return "".join(words) or "0s"


def size_text(amount: int) -> str:
    """Return *amount* bytes as a user would write it, if that is exact: ``8MiB``, ``500MB``."""
    for unit, unit_size in _SIZES:
        if amount and amount % unit_size == 0:
            return f"{amount // unit_size}{unit}"
    return str(amount)
