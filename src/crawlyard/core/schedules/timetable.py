"""Timetables: cron expressions, intervals and single times, in a time zone."""

import difflib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum, auto
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError
from msgspec import Struct

from crawlyard.core.quantity import duration, duration_text
from crawlyard.core.schedules.cron import Cron, parse_cron
from crawlyard.errors import Invalid

FIRST_YEAR, LAST_YEAR = 1970, 9998  # one year less than datetime has: a zone shifts a time

SHORTEST = timedelta(seconds=10)
"""The shortest interval of a schedule: each tick leaves a row and may start a crawl."""

HORIZON = timedelta(days=366 * 50)
"""How far ahead to look for a run: 29 February on a given weekday can take 40 years."""

_CLOCKS_BACK = timedelta(hours=3)  # no zone sets its clocks back further; Debian's cron agrees
_SECOND = timedelta(seconds=1)
_MICROSECOND = timedelta(microseconds=1)
_START = datetime(
    2025, 1, 1, tzinfo=UTC
)  # to find out whether it ever runs, with the zones as they are now
_OF_THE_MACHINE = "localtime"  # the system's name for its own zone, which differs between machines
_EVERY = re.compile(r"\s*every\b\s*(.*?)\s*", re.IGNORECASE)
_AT = re.compile(r"\s*at\b\s*(.*?)\s*", re.IGNORECASE)
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?",
    re.IGNORECASE,
)


def check_instant(field: str, instant: datetime) -> None:
    """Check a time that will be used in calculations.

    Raises:
        Invalid: it has no UTC offset, or is out of range.
    """
    if instant.tzinfo is None:
        raise Invalid(field, f"expected an instant with its offset from UTC, got {instant}")
    if not FIRST_YEAR <= instant.year <= LAST_YEAR:
        expected = f"expected an instant of the years {FIRST_YEAR} to {LAST_YEAR}"
        raise Invalid(field, f"{expected}, got {instant.isoformat()}")


class TimetableKind(StrEnum):
    """Notations of due times."""

    CRON = auto()  # wall-clock times
    EVERY = auto()  # an interval, unaffected by clock changes
    AT = auto()  # one instant


class Timetable(Protocol):
    """The times at which a schedule is due."""

    @property
    def kind(self) -> TimetableKind:
        """Notation in which it is written."""
        ...

    @property
    def text(self) -> str:
        """Readable description with its zone."""
        ...

    def after(self, instant: datetime) -> datetime | None:
        """Return the first time strictly after *instant*, in UTC; ``None`` if there is none."""
        ...

    def remark(self, instant: datetime) -> str:
        """Return how a clock change affects the run at *instant*; usually empty."""
        ...


def instants(
    table: Timetable, since: datetime, *, starts_at: datetime | None, ends_at: datetime | None
) -> Iterator[datetime]:
    """Yield the times of *table* after *since*, from *starts_at* up to and including *ends_at*."""
    at = table.after(since if starts_at is None else max(since, starts_at - _MICROSECOND))
    while at is not None and (ends_at is None or at <= ends_at):
        yield at
        at = table.after(at)


def timetable(when: str, zone: str, anchor: datetime) -> Timetable:
    """Return the timetable of *when* in the IANA time zone *zone*.

    *when* is a cron expression or its short name (`core.schedules.cron.parse_cron`), ``every 6h``
    (multiples from *anchor*, whole seconds, at least `SHORTEST`), or ``at 2027-01-01T08:00`` (in
    the zone, unless it has an offset of its own).

    Raises:
        Invalid: ``when`` or ``zone`` is invalid; the message says what is wrong, where, and
            what is allowed.
    """
    place = zone_of(zone)
    if match := _EVERY.fullmatch(when):
        length = _length(match[1], match.start(1))
        return _Every(length=length, anchor=anchor.replace(microsecond=0), zone=place)
    if match := _AT.fullmatch(when):
        return _At(local=_parse_time(match[1], match.start(1)), zone=place)
    return _crontab(when, place)


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo:
    """Return the IANA time zone *name*.

    Raises:
        Invalid: there is no zone of that name; the message suggests the closest one.
    """
    try:
        if name != _OF_THE_MACHINE:
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: "Europe" is a directory
        pass
    zones = {zone.casefold(): zone for zone in available_timezones() - {_OF_THE_MACHINE}}
    sought = name.casefold().replace(" ", "_")
    near = difflib.get_close_matches(sought, zones, n=1) or [
        low for low in sorted(zones) if low.rpartition("/")[2] == sought
    ]
    hint = f"did you mean {zones[near[0]]}?" if near else "an example is Europe/Berlin"
    raise Invalid("zone", f"unknown time zone {name!r}; {hint}")


# --- cron: matched in local time without a zone, then converted to UTC


@lru_cache(maxsize=4096)
def _crontab(when: str, zone: ZoneInfo) -> "_Crontab":
    """Return the timetable of a cron expression.

    Raises:
        Invalid: it cannot be parsed, or never runs.
    """
    cron = parse_cron(when)
    table = _Crontab(cron=cron, pattern=str(cron), zone=zone)
    try:
        first = table.after(_START)
    except CronSimError:
        first = None
    if first is None:
        raise Invalid(
            "when",
            f"{when!r} never comes: its months have no such day of month or weekday, "
            "or the clocks skip it each time",
        )
    return table


class _Crontab(Struct, frozen=True, kw_only=True):
    """Wall-clock times that follow clock changes as Debian's cron does.

    Fixed times (`Cron.fixed`): one that the clocks skip runs right after the gap, once for all that
    are skipped; one that occurs twice runs the first time. All others run whenever the clock shows
    a matching time.

    cronsim is only used to match times without a zone. With a zone, it steps over a change of 30
    minutes (Lord Howe) by whole hours, and from a start in a repeated hour it returns times before
    that start.
    """

    cron: Cron
    pattern: str  # *cron* in the syntax of cronsim
    zone: ZoneInfo

    @property
    def kind(self) -> TimetableKind:
        return TimetableKind.CRON

    @property
    def text(self) -> str:
        cron = CronSim(self.pattern, _START)
        every_day = cron.days >= set(range(1, 32)) or cron.weekdays >= set(range(7))
        if every_day and not cron.day_and:
            # explain() omits a day field that covers every day, even if one match is enough
            cron.parts[3] = cron.parts[5] = "*"
        if times := _steps_in_words(self.cron):
            cron.parts[1] = cron.parts[2] = "0"
            days = cron.explain().removeprefix("At 00:00").replace(" every day", "", 1)
            return f"{times}{days} ({self.zone.key})"
        return f"{cron.explain()} ({self.zone.key})"

    def after(self, instant: datetime) -> datetime | None:
        try:
            return self._next_fixed(instant) if self.cron.fixed else self._wild(instant)
        except OverflowError:  # datetime ends with the year 9999
            return None

    def _next_fixed(self, instant: datetime) -> datetime | None:
        # a later local time never runs earlier here: the first one after *instant* is the next
        for match in self._matches(_local(instant, self.zone)):
            run_at = _once(match, self.zone)
            if run_at > instant:
                return run_at
        return None

    def _wild(self, instant: datetime) -> datetime | None:
        local = _local(instant, self.zone)
        # if the clocks go back soon, the times they repeat from here on match once more
        back = max(timedelta(0), local + _CLOCKS_BACK - _local(instant + _CLOCKS_BACK, self.zone))
        best: datetime | None = None
        for match in self._matches(local - back):
            passes = _passes(match, self.zone)
            if best is not None and passes and passes[0] > best:
                break
            best = min((p for p in (best, *passes) if p is not None and p > instant), default=None)
            if best is not None and not back:
                break
        return best

    def _matches(self, local: datetime) -> Iterator[datetime]:
        """Yield matching local times after *local*, in order, up to the horizon."""
        end = local + HORIZON
        for match in CronSim(self.pattern, local):
            if match > end:
                return
            yield match

    def remark(self, instant: datetime) -> str:
        local = _local(instant, self.zone)
        twice = _passes(local, self.zone)
        if len(twice) > 1:
            return _repeated_hour_note(local, first=instant == twice[0])
        unchanged = _local(instant - _SECOND, self.zone) + _SECOND
        if self.cron.fixed and unchanged < local:
            nominal = next(self._matches(unchanged - _SECOND), local)
            if nominal < local:
                return _skipped_hour_note(nominal)
        return ""


def _steps_in_words(cron: Cron) -> str:
    """Return "Every 2 hours from 08:30 to 18:30" if the hours are one such step, else "".

    explain() says "At minute 30 past every second hour from 8 through 18".
    """
    if len(cron.minutes) > 1 or len(cron.hours) > 1:
        return ""
    [minute], [hour] = cron.minutes, cron.hours
    last = hour.last - (hour.last - hour.first) % hour.step
    if minute.first != minute.last or hour.step == 1 or last == hour.first:
        return ""
    at = f":{minute.first:02}"
    return f"Every {hour.step} hours from {hour.first:02}{at} to {last:02}{at}"


# --- intervals and single times


class _Every(Struct, frozen=True, kw_only=True):
    """Multiples of a duration, the first one at the anchor itself."""

    length: timedelta
    anchor: datetime
    zone: ZoneInfo

    @property
    def kind(self) -> TimetableKind:
        return TimetableKind.EVERY

    @property
    def text(self) -> str:
        start = _clock_text(self.anchor, self.zone)
        return f"Every {duration_text(self.length)}, counted from {start}"

    def after(self, instant: datetime) -> datetime | None:
        if instant < self.anchor:
            return self.anchor.astimezone(UTC)
        try:
            passed = (instant - self.anchor) // self.length
            return self.anchor.astimezone(UTC) + (passed + 1) * self.length
        except OverflowError:  # datetime ends with the year 9999
            return None

    def remark(self, instant: datetime) -> str:  # noqa: ARG002 - no clock changes it
        return ""


class _At(Struct, frozen=True, kw_only=True):
    """One time. Clock changes affect it as they affect fixed times of a cron expression."""

    local: datetime  # without a zone, or with an offset of its own
    zone: ZoneInfo

    @property
    def kind(self) -> TimetableKind:
        return TimetableKind.AT

    @property
    def text(self) -> str:
        return f"Once, at {_clock_text(self._at, self.zone)}"

    @property
    def _at(self) -> datetime:
        if self.local.tzinfo is not None:
            return self.local.astimezone(UTC)
        return _once(self.local, self.zone)

    def after(self, instant: datetime) -> datetime | None:
        return self._at if self._at > instant else None

    def remark(self, instant: datetime) -> str:
        if self.local.tzinfo is not None or instant != self._at:
            return ""
        passes = _passes(self.local, self.zone)
        if not passes:
            return _skipped_hour_note(self.local)
        return _repeated_hour_note(self.local, first=True) if len(passes) > 1 else ""


def _parse_time(text: str, at: int) -> datetime:
    """Return the time that *text*, at position *at* of an expression, names."""
    expected = (
        f"expected 'at 2027-01-01T08:00', perhaps with an offset such as Z or +02:00, got {text!r}"
    )
    if not _INSTANT.fullmatch(text):
        raise Invalid("when", f"{expected}, at position {at}")
    try:
        written = datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise Invalid("when", f"{text!r} is not a valid time: {error}, at position {at}") from None
    if not FIRST_YEAR <= written.year <= LAST_YEAR:
        years = f"{FIRST_YEAR} to {LAST_YEAR}"
        raise Invalid("when", f"{text!r} is out of the years {years}, at position {at}")
    return written


def _length(text: str, at: int) -> timedelta:
    """Return the duration that *text*, at position *at* of an expression, names."""
    try:
        length = duration(text)
    except ValueError as error:
        raise Invalid("when", f"{error}, at position {at}") from None
    if length < SHORTEST:
        least = duration_text(SHORTEST)
        raise Invalid("when", f"expected at least {least}, got {text!r}, at position {at}")
    return length


# --- wall-clock time


def _local(instant: datetime, zone: tzinfo) -> datetime:
    """Return what the wall clock shows at *instant*, without a zone."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def _passes(local: datetime, zone: tzinfo) -> list[datetime]:
    """Return the times at which the wall clock shows *local*, in order: none, one or two."""
    either = {local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return sorted(instant for instant in either if _local(instant, zone) == local)


def _once(local: datetime, zone: tzinfo) -> datetime:
    """Return when a fixed time runs: the first time it occurs, or right after it was skipped."""
    passes = _passes(local, zone)
    if passes:
        return passes[0]
    # In a gap, fold 1 uses the offset after it, fold 0 the one before it (PEP 495):
    # the change lies between the two results.
    low, high = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (1, 0))
    while high - low > _SECOND:
        middle = low + timedelta(seconds=(high - low) // _SECOND // 2)
        if _local(middle, zone) < local:
            low = middle
        else:
            high = middle
    return high


# --- words


def _repeated_hour_note(local: datetime, *, first: bool) -> str:
    return f"the {'first' if first else 'second'} {local:%H:%M} of two: the clocks go back"


def _skipped_hour_note(local: datetime) -> str:
    return f"in place of {local:%H:%M}: the clocks go forward"


def _clock_text(instant: datetime, zone: ZoneInfo) -> str:
    local = instant.astimezone(zone)
    time = f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"
    return f"{local:%Y-%m-%d} {time} {local.tzname()} ({zone.key})"
