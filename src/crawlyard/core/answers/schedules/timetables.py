"""When a timetable is due, as the API and the command line write it."""

from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

from crawlyard.core.answers.base import Wire, seconds
from crawlyard.core.schedules.timetable import Timetable


class ComingOut(Wire, frozen=True, kw_only=True):
    """One instant at which something is due."""

    at: datetime
    local: str  # RFC 3339 with the offset of the zone at that instant
    zone: str  # how the zone is called then: CET, CEST
    in_s: float
    remark: str  # what a clock change does to it, mostly nothing

    @classmethod
    def of(cls, table: Timetable, zone: ZoneInfo, at: datetime, now: datetime) -> "ComingOut":
        """Return the shape of an instant of *table*, seen at *now*."""
        local = at.astimezone(zone)
        return cls(
            at=at,
            local=local.isoformat(timespec="seconds"),
            zone=local.tzname() or "",
            in_s=seconds(at - now),
            remark=table.remark(at),
        )


class TimetableOut(Wire, frozen=True, kw_only=True):
    """What a timetable means, and the next instants at which it is due."""

    object: Literal["timetable"] = "timetable"
    when: str
    zone: str
    kind: str
    text: str
    next: list[ComingOut]

    @staticmethod
    def of(
        table: Timetable, when: str, zone: ZoneInfo, now: datetime, count: int
    ) -> "TimetableOut":
        """Return what *table* means at *now*, with at most *count* instants after that."""
        coming: list[ComingOut] = []
        at = table.after(now) if count else None
        while at is not None:
            coming.append(ComingOut.of(table, zone, at, now))
            at = table.after(at) if len(coming) < count else None
        return TimetableOut(when=when, zone=zone.key, kind=table.kind, text=table.text, next=coming)
