"""Forecast of a timetable: its next runs, and warnings to see before saving it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum, auto
from itertools import pairwise

from msgspec import Struct

from crawlyard.core.quantity import duration_text
from crawlyard.core.schedules.timetable import Timetable

OFTEN = timedelta(minutes=5)
"""Runs closer together than this get a warning: most crawls take longer."""

_LOOKED_AT = 50  # minimum number of runs to check for warnings
_MICROSECOND = timedelta(microseconds=1)


class Concern(StrEnum):
    """What a warning is about."""

    NEVER = auto()  # no run is to come
    TOO_OFTEN = auto()  # two runs are closer than `OFTEN`
    CLOCK_CHANGE = auto()  # a clock change moves, skips or doubles a run
    WIDE_JITTER = auto()  # the jitter is longer than the time between two runs


class Warned(Struct, frozen=True, kw_only=True):
    """A warning, and the run it is about, if any."""

    concern: Concern
    detail: str
    at: datetime | None = None


class Forecast(Struct, frozen=True, kw_only=True):
    """The next runs in order, and warnings about them."""

    instants: tuple[datetime, ...]
    warnings: tuple[Warned, ...]


class ForecastBounds(Struct, frozen=True, kw_only=True):
    """What limits or shifts the runs of a schedule besides its timetable."""

    starts_at: datetime | None = None
    ends_at: datetime | None = None
    jitter: timedelta = timedelta(0)


def forecast_of(table: Timetable, now: datetime, count: int, bounds: ForecastBounds) -> Forecast:
    """Return at most *count* runs of *table* after *now*, with warnings.

    Warnings are based on the next `_LOOKED_AT` runs; those about clock changes, on the *count*
    runs.
    """
    coming = _coming(table, now, max(count, _LOOKED_AT), bounds)
    shown = tuple(coming[:count])
    warnings: list[Warned] = []
    if not coming:
        warnings.append(Warned(concern=Concern.NEVER, detail="no run is to come"))
    gap = min((later - earlier for earlier, later in pairwise(coming)), default=None)
    if gap is not None and gap < OFTEN:
        said = f"runs come every {duration_text(gap)}; what has not ended by then overlaps"
        warnings.append(Warned(concern=Concern.TOO_OFTEN, detail=said))
    if gap is not None and bounds.jitter > gap:
        said = f"the jitter is longer than the {duration_text(gap)} between two runs: it is cut"
        warnings.append(Warned(concern=Concern.WIDE_JITTER, detail=said))
    for at in shown:
        remark = table.remark(at)
        if remark:
            warnings.append(Warned(concern=Concern.CLOCK_CHANGE, detail=remark, at=at))
    return Forecast(instants=shown, warnings=tuple(warnings))


def _coming(
    table: Timetable, now: datetime, most: int, bounds: ForecastBounds
) -> Sequence[datetime]:
    at = now if bounds.starts_at is None else max(now, bounds.starts_at - _MICROSECOND)
    found: list[datetime] = []
    while len(found) < most:
        following = table.after(at)
        if following is None or (bounds.ends_at is not None and following > bounds.ends_at):
            break
        found.append(following)
        at = following
    return found
