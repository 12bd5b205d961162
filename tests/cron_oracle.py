"""Cron the slow way: check every minute of the wall clock, one after the other.

It uses neither our own code nor a cron library: a walk over real minutes, with the highest
local time so far to know what the clocks repeat and what they skip.
"""

import calendar
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
_LONG_AGO = timedelta(hours=4)  # a walk begins earlier, to know what has been seen
_NAMES = {
    name: str(number)
    for names, first in (
        ("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC", 1),
        ("SUN MON TUE WED THU FRI SAT", 0),
    )
    for number, name in enumerate(names.split(), first)
}
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def runs(expression: str, zone: str, since: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the instants after *since* and up to *until* at which *expression* runs."""
    place, fields = ZoneInfo(zone), expression.upper().split()
    follows_clock = fields[0].startswith("*") or fields[1].startswith("*")
    now = (since - _LONG_AGO).astimezone(UTC).replace(second=0, microsecond=0)
    highest = _wall(now, place)
    while now + MINUTE <= until:
        now += MINUTE
        local_time = _wall(now, place)
        if follows_clock:
            due = matches(fields, local_time)
        else:
            # each minute between the highest so far and this one, seen or skipped, is checked
            passed = int((local_time - highest) / MINUTE)
            due = any(matches(fields, highest + n * MINUTE) for n in range(1, passed + 1))
        highest = max(highest, local_time)
        if due and now > since:
            yield now


def matches(fields: list[str], local_time: datetime) -> bool:
    """Tell whether a local time is one of an expression's."""
    by_date = _holds(fields[2], 2, local_time.day) or _special_date(fields[2], local_time)
    weekday = (local_time.weekday() + 1) % 7
    by_weekday = (
        _holds(fields[4], 4, weekday)
        or (weekday == 0 and _holds(fields[4], 4, 7))
        or _special_weekday(fields[4], local_time, weekday)
    )
    starred = fields[2].startswith(("*", "?")) or fields[4].startswith(("*", "?"))
    return (
        _holds(fields[0], 0, local_time.minute)
        and _holds(fields[1], 1, local_time.hour)
        and _holds(fields[3], 3, local_time.month)
        and ((by_date and by_weekday) if starred else (by_date or by_weekday))
    )


def _holds(field: str, index: int, value: int) -> bool:
    low, high = _RANGES[index]
    for item in field.split(","):
        base, _, by = item.partition("/")
        first, dash, last = base.partition("-")
        first, last = _NAMES.get(first, first), _NAMES.get(last, last)
        if base in {"*", "?"}:
            least, most = low, high
        elif not first.isdigit():
            continue
        else:
            least = int(first)
            most = int(last) if dash else high if by else least
        if least <= value <= most and (value - least) % int(by or 1) == 0:
            return True
    return False


def _special_date(field: str, local_time: datetime) -> bool:
    last = calendar.monthrange(local_time.year, local_time.month)[1]
    working = max(d for d in range(1, last + 1) if local_time.replace(day=d).weekday() < 5)
    items = field.split(",")
    return ("L" in items and local_time.day == last) or (
        "LW" in items and local_time.day == working
    )


def _special_weekday(field: str, local_time: datetime, weekday: int) -> bool:
    last = calendar.monthrange(local_time.year, local_time.month)[1]
    for item in field.split(","):
        name, which, nth = item.partition("#")
        if not which and item.endswith("L"):
            name = item[:-1]
        number = int(_NAMES.get(name, name)) % 7 if _NAMES.get(name, name).isdigit() else -1
        if number != weekday:
            continue
        if which and (local_time.day - 1) // 7 + 1 == int(nth):
            return True
        if not which and item.endswith("L") and local_time.day + 7 > last:
            return True
    return False


def _wall(instant: datetime, place: ZoneInfo) -> datetime:
    return instant.astimezone(place).replace(tzinfo=None, fold=0)
