"""Schedules: made, changed, paused, and what became of their instants."""

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime

from crawlyard.client.asynchronous.calls import Calls
from crawlyard.client.transport import if_match, part, without_none
from crawlyard.core.answers.deletions import ScheduleDeletionOut
from crawlyard.core.answers.jobs.jobs import JobOut
from crawlyard.core.answers.schedules.schedule_looks import TimetablePreviewOut
from crawlyard.core.answers.schedules.schedules import (
    AheadOut,
    BackfillOut,
    CalendarOut,
    ScheduleOut,
    TickOut,
)

_SCHEDULES = "schedules"


class Schedules:
    """Makes, finds, changes and runs schedules.

    A *ref* is an id, a name of one's own, or OWNER/NAME. A change is made to *version*
    alone, if one is given; else to whichever there is.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(
        self,
        *,
        paused: bool | None = None,
        template: str | None = None,
        owner: str | None = None,
        q: str = "",
        limit: int | None = None,
    ) -> AsyncGenerator[ScheduleOut]:
        """Yield schedules by name."""
        asked = {"paused": paused, "template": template, "owner": owner, "q": q or None}
        return self._calls.every(ScheduleOut, _SCHEDULES, asked, limit)

    async def get(self, ref: str) -> ScheduleOut:
        """Return a schedule."""
        return await self._calls.one(ScheduleOut, "GET", _path(ref))

    async def create(self, schedule: Mapping[str, object]) -> ScheduleOut:
        """Make a schedule of its ``name``, ``when``, ``template``, ``params`` and so on."""
        return await self._calls.one(ScheduleOut, "POST", _SCHEDULES, body=schedule)

    async def edit(
        self, ref: str, changes: Mapping[str, object], *, version: int | None = None
    ) -> ScheduleOut:
        """Change a schedule: what is absent stays, null is the default or none."""
        return await self._calls.one(
            ScheduleOut,
            "PATCH",
            _path(ref),
            body=changes,
            headers=if_match(version, required=True),
        )

    async def delete(self, ref: str, *, version: int | None = None) -> None:
        """Delete a schedule with its ledger; its jobs stay."""
        headers = if_match(version, required=True)
        await self._calls.send("DELETE", _path(ref), headers=headers)

    async def deletable(self, ref: str, *, version: int | None = None) -> ScheduleDeletionOut:
        """Return what deleting a schedule would delete."""
        return await self._calls.one(
            ScheduleDeletionOut, "GET", f"{_path(ref)}/deletion", headers=if_match(version)
        )

    async def pause(self, ref: str, reason: str = "", *, version: int | None = None) -> ScheduleOut:
        """Hold a schedule: its instants are skipped until it is resumed."""
        return await self._calls.one(
            ScheduleOut,
            "POST",
            f"{_path(ref)}/pause",
            body={"reason": reason},
            headers=if_match(version),
        )

    async def resume(self, ref: str, *, version: int | None = None) -> ScheduleOut:
        """Let a paused schedule go on with its next instant."""
        return await self._calls.one(
            ScheduleOut, "POST", f"{_path(ref)}/resume", headers=if_match(version)
        )

    async def run(self, ref: str, *, version: int | None = None) -> JobOut:
        """Submit a job of a schedule now."""
        return await self._calls.one(JobOut, "POST", f"{_path(ref)}/run", headers=if_match(version))

    async def backfill(
        self,
        ref: str,
        since: datetime,
        until: datetime | None = None,
        *,
        dry_run: bool = True,
        version: int | None = None,
    ) -> BackfillOut:
        """Make up for the instants of a range that did not run; by default only say which."""
        end = None if until is None else until.isoformat()
        body = without_none({"from": since.isoformat(), "to": end, "dry_run": dry_run})
        path = f"{_path(ref)}/backfill"
        return await self._calls.one(
            BackfillOut, "POST", path, body=body, headers=if_match(version)
        )

    def runs(self, ref: str, *, limit: int | None = None) -> AsyncGenerator[TickOut]:
        """Yield what became of the instants at which a schedule was due, the latest first."""
        return self._calls.every(TickOut, f"{_path(ref)}/runs", limit=limit)

    async def next(self, ref: str, count: int = 5) -> AheadOut:
        """Return the next instants at which a schedule is due."""
        return await self._calls.one(AheadOut, "GET", f"{_path(ref)}/next", params={"count": count})

    async def preview(
        self, when: str, *, zone: str = "UTC", count: int = 5, jitter_s: float = 0
    ) -> TimetablePreviewOut:
        """Return what a time table means, its next runs, and what to think of."""
        body = {"when": when, "zone": zone, "count": count, "jitter_s": jitter_s}
        return await self._calls.one(
            TimetablePreviewOut, "POST", f"{_SCHEDULES}/preview", body=body
        )

    async def calendar(
        self, since: datetime | None = None, until: datetime | None = None
    ) -> CalendarOut:
        """Return when all schedules are due in a range: from now for a week, if not said."""
        asked = {"from": since, "to": until}
        return await self._calls.one(CalendarOut, "GET", f"{_SCHEDULES}/calendar", params=asked)


def _path(ref: str) -> str:
    return f"{_SCHEDULES}/{part(ref)}"
