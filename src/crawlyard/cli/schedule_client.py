"""What the command line asks of a yard about schedules, wherever that is."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from crawlyard.core.form import Form
from crawlyard.core.user import Actor
from crawlyard.services.schedule_records import ScheduleDraft
from crawlyard.store.base import ScheduleQuery
from crawlyard.web.wire.schedules import (
    BackfillOut,
    CalendarOut,
    ScheduleOut,
    TickOut,
    coming,
)
from crawlyard.web.wire.timetables import ComingOut
from crawlyard.yard import Yard


class ScheduleReader(Protocol):
    """Finds schedules. What does not exist for the user is `NotFound`.

    A *ref* is an id, the name of one of the user's own, or OWNER/NAME.
    """

    async def get(self, ref: str) -> ScheduleOut:
        """Return one schedule."""
        ...

    async def find(self, query: ScheduleQuery, limit: int) -> list[ScheduleOut]:
        """Return the schedules that *query* asks for, by (name, id), at most *limit*."""
        ...

    async def next_runs(self, ref: str, count: int) -> list[ComingOut]:
        """Return the next instants at which it will be due, at most *count*."""
        ...

    async def runs(self, ref: str, before: datetime | None, limit: int) -> list[TickOut]:
        """Return what became of the instants before one, the latest first, at most *limit*."""
        ...

    async def calendar(self, since: datetime, until: datetime) -> CalendarOut:
        """Return when all schedules are due from *since* up to and without *until*."""
        ...


class ScheduleChanger(Protocol):
    """Makes and changes schedules, and returns them as they then are.

    Each may raise `NotFound`, `Forbidden`, `Invalid`, and `Conflict` where a name is
    taken or somebody else was faster.
    """

    async def create(self, draft: ScheduleDraft) -> ScheduleOut:
        """Remember a new schedule."""
        ...

    async def update(
        self,
        ref: str,
        changes: Mapping[str, object],
        params: Mapping[str, object],
        overrides: Form,
    ) -> ScheduleOut:
        """Change fields of a schedule; *params* and *overrides* are set beside what it has."""
        ...

    async def toggle(self, ref: str, *, enabled: bool, reason: str = "") -> ScheduleOut:
        """Pause or resume it."""
        ...

    async def run_now(self, ref: str) -> str:
        """Submit a job of it at once; return its id. `IllegalMove`: another has not ended."""
        ...

    async def backfill(
        self, ref: str, since: datetime, until: datetime, *, dry_run: bool
    ) -> BackfillOut:
        """Make up for the instants of a range that did not run, or say which they are."""
        ...

    async def delete(self, ref: str) -> None:
        """Delete it with its ledger; its jobs stay."""
        ...


class ScheduleClient(ScheduleReader, ScheduleChanger, Protocol):
    """All of them; each method is one call of the services, or one endpoint of the API."""


class LocalSchedules:
    """Calls the services of a yard that is open in this process."""

    def __init__(self, yard: Yard, actor: Actor) -> None:
        self._scheduler = yard.scheduler
        self._clock = yard.clock
        self._actor = actor

    async def get(self, ref: str) -> ScheduleOut:
        """Return one schedule."""
        return ScheduleOut.of(await self._scheduler.get(self._actor, await self._id(ref)))

    async def find(self, query: ScheduleQuery, limit: int) -> list[ScheduleOut]:
        """Return the schedules that *query* asks for, by (name, id), at most *limit*."""
        found = await self._scheduler.list(self._actor, query, limit)
        return [ScheduleOut.of(schedule) for schedule in found]

    async def next_runs(self, ref: str, count: int) -> list[ComingOut]:
        """Return the next instants at which it will be due, at most *count*."""
        schedule = await self._scheduler.get(self._actor, await self._id(ref))
        instants = await self._scheduler.next_runs(self._actor, schedule.id, count)
        return [coming(schedule, at, self._clock.wall()) for at in instants]

    async def runs(self, ref: str, before: datetime | None, limit: int) -> list[TickOut]:
        """Return what became of the instants before one, the latest first, at most *limit*."""
        found = await self._scheduler.runs(self._actor, await self._id(ref), before, limit)
        return [TickOut.of(tick) for tick in found]

    async def calendar(self, since: datetime, until: datetime) -> CalendarOut:
        """Return when all schedules are due from *since* up to and without *until*."""
        return CalendarOut.of(await self._scheduler.calendar(self._actor, since, until))

    async def create(self, draft: ScheduleDraft) -> ScheduleOut:
        """Remember a new schedule."""
        return ScheduleOut.of(await self._scheduler.create(self._actor, draft))

    async def update(
        self,
        ref: str,
        changes: Mapping[str, object],
        params: Mapping[str, object],
        overrides: Form,
    ) -> ScheduleOut:
        """Change fields of a schedule; *params* and *overrides* are set beside what it has."""
        schedule_id = await self._id(ref)
        changed = await self._scheduler.update(
            self._actor, schedule_id, changes, params=params, overrides=overrides
        )
        return ScheduleOut.of(changed)

    async def toggle(self, ref: str, *, enabled: bool, reason: str = "") -> ScheduleOut:
        """Pause or resume it."""
        schedule_id = await self._id(ref)
        toggled = await self._scheduler.toggle(
            self._actor, schedule_id, enabled=enabled, reason=reason
        )
        return ScheduleOut.of(toggled)

    async def run_now(self, ref: str) -> str:
        """Submit a job of it at once; return its id."""
        return (await self._scheduler.run_now(self._actor, await self._id(ref))).id

    async def backfill(
        self, ref: str, since: datetime, until: datetime, *, dry_run: bool
    ) -> BackfillOut:
        """Make up for the instants of a range that did not run, or say which they are."""
        schedule_id = await self._id(ref)
        done = await self._scheduler.backfill(
            self._actor, schedule_id, since, until, dry_run=dry_run
        )
        return BackfillOut.of(done)

    async def delete(self, ref: str) -> None:
        """Delete it with its ledger; its jobs stay."""
        await self._scheduler.delete(self._actor, await self._id(ref))

    async def _id(self, ref: str) -> str:
        return await self._scheduler.resolve(self._actor, ref)
