"""The shapes of what a schedule will do: its next runs, and the warnings of a time table."""

from datetime import datetime

from crawlyard.core.answers.base import Wire
from crawlyard.core.answers.schedules.timetables import ComingOut, TimetableOut
from crawlyard.core.schedules.forecast import Forecast
from crawlyard.core.schedules.timetable import Timetable, zone_of


class TimetableWarningOut(Wire, frozen=True, kw_only=True):
    """One thing to know before a time table is kept: *code* is for programs."""

    code: str  # never, too_often, clock_change, wide_jitter
    detail: str
    at: datetime | None  # the run that it is about


class TimetablePreviewOut(TimetableOut, frozen=True, kw_only=True):
    """What a time table means, its next runs, and what is to be known of them."""

    warnings: tuple[TimetableWarningOut, ...]

    @classmethod
    def looked(
        cls, table: Timetable, when: str, zone: str, found: Forecast, now: datetime
    ) -> "TimetablePreviewOut":
        """Return the shape of what was *found* of *table* at *now*."""
        place = zone_of(zone)
        return cls(
            when=when,
            zone=place.key,
            kind=table.kind,
            text=table.text,
            next=[ComingOut.of(table, place, at, now) for at in found.instants],
            warnings=tuple(
                TimetableWarningOut(code=w.concern, detail=w.detail, at=w.at)
                for w in found.warnings
            ),
        )
