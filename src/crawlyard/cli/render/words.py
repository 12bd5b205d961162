"""Numbers, times and crawled text, formatted for a terminal."""

import math
import re
from datetime import datetime, timedelta

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Characters that a terminal interprets: controls, text directions, lone surrogates."""

_UNSAFE_IN_LINES = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_TO = "\u2013"  # an en dash
_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_ID_END = 8  # of a UUIDv7: its start is the time, its end is random


def printable(text: str) -> str:
    """Return *text* in one line, with characters that a terminal interprets escaped."""
    return text if text.isascii() and text.isprintable() else _UNSAFE.sub(_escape, text)


def printable_lines(text: str) -> str:
    """Return *text* as `printable` does, but keep its lines and tabs."""
    return _UNSAFE_IN_LINES.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    if char in _SHORT:
        return _SHORT[char]
    return f"\\x{ord(char):02x}" if ord(char) < 0x100 else f"\\u{ord(char):04x}"


def short(job_id: str) -> str:
    """Return the end of an id: long enough to identify a job among many."""
    return job_id[-_ID_END:]


def amount(number_of_bytes: float) -> str:
    """Return a size in three digits: ``812 B``, ``6.1 MB``, ``48 GB``."""
    value = float(number_of_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def span(seconds: float) -> str:
    """Return a duration in two units at most: ``0.8 s``, ``24 s``, ``3 min 12 s``, ``2 d 4 h``."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    rest = round(seconds)
    if rest < 60:
        return f"{rest} s"
    if rest < 3600:
        return f"{rest // 60} min {rest % 60:02} s"
    if rest < 86_400:
        return f"{rest // 3600} h {rest % 3600 // 60:02} min"
    return f"{rest // 86_400:,} d {rest % 86_400 // 3600} h"


def span_range(low_s: float, high_s: float) -> str:
    """Return a range of durations, rounded outwards: ``12-20 s``, ``2-4 min``, ``50 min-3 h``."""
    unit_s, unit = next((n, name) for n, name in _UNITS if high_s >= 2 * n - 0.5 or n == 1)
    high = f"{math.ceil(high_s / unit_s):,} {unit}"
    first, first_unit = next(
        (n, name) for n, name in _UNITS if (n <= unit_s and low_s >= n) or n == 1
    )
    low = f"{math.floor(low_s / first):,} {first_unit}"
    if low == high:
        return high
    return f"{low.removesuffix(f' {unit}')}{_TO}{high}"


def number(value: float) -> str:
    """Return a count with thousands separators."""
    return f"{value:,.0f}"


def rate(per_second: float) -> str:
    """Return a rate: ``0.4/s``, ``19.5/s``, ``1,311/s``."""
    return f"{per_second:,.0f}/s" if per_second >= 99.5 else f"{per_second:.1f}/s"


def clock(instant: datetime, now: datetime) -> str:
    """Return an instant in local time: the time of day for today, else the date as well."""
    local = instant.astimezone()
    today = now.astimezone().date() == local.date()
    return local.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M")


def ago(instant: datetime, now: datetime) -> str:
    """Return how long ago *instant* was: ``now``, ``3 min``, ``2 h``, ``5 d``."""
    passed = now - instant
    if passed < timedelta(seconds=10):
        return "now"
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        whole = int(passed.total_seconds()) // size
        if whole:
            return f"{whole} {unit}"
    return "now"
