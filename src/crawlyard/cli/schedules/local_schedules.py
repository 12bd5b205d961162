"""Schedules of a yard that is open in this process."""

from collections.abc import Collection, Mapping
from datetime import datetime

from crawlyard.core.access.user import Actor
from crawlyard.core.answers.schedules.schedules import (
    AheadOut,
    BackfillOut,
    CalendarOut,
    ScheduleOut,
    TickOut,
)
from crawlyard.core.jobs.spec_json import Form
from crawlyard.core.schedules.records import ScheduleDraft
from crawlyard.core.schedules.schedule import CrawlSchedule
from crawlyard.store.queries import ScheduleQuery
from crawlyard.yard import Yard


class LocalSchedules:
    """Calls the services of a yard that is open in this process."""

    def __init__(self, yard: Yard, actor: Actor) -> None:
        self._scheduler = yard.scheduler
        self._clock = yard.clock
        self._actor = actor

    async def get(self, ref: str) -> ScheduleOut:
        """Return one schedule."""
        return await self._out(await self._scheduler.get(self._actor, await self._id(ref)))

    async def find(self, query: ScheduleQuery, limit: int) -> list[ScheduleOut]:
        """Return the schedules that *query* asks for, by (name, id), at most *limit*."""
        found = await self._scheduler.list(self._actor, query, limit)
        secret = await self._scheduler.secret_params(found)
        return [ScheduleOut.of(schedule, secret[schedule.id]) for schedule in found]

    async def next_runs(self, ref: str, count: int) -> AheadOut:
        """Return the instants from now on at which it will be due, at most *count*."""
        schedule = await self._scheduler.get(self._actor, await self._id(ref))
        instants = await self._scheduler.next_runs(self._actor, schedule.id, count)
        overdue_at = self._scheduler.overdue(schedule)
        return AheadOut.of(schedule, overdue_at, instants, self._clock.wall())

    async def runs(self, ref: str, before: datetime | None, limit: int) -> list[TickOut]:
        """Return what became of the instants before one, the latest first, at most *limit*."""
        found = await self._scheduler.runs(self._actor, await self._id(ref), before, limit)
        return [TickOut.of(tick) for tick in found]

    async def calendar(self, since: datetime | None, until: datetime | None) -> CalendarOut:
        """Return when all schedules are due from *since* up to and without *until*.

        By default from now on, and for a week.
        """
        return CalendarOut.of(await self._scheduler.calendar(self._actor, since, until))

    async def create(self, draft: ScheduleDraft) -> ScheduleOut:
        """Remember a new schedule."""
        return await self._out(await self._scheduler.create(self._actor, draft))

    async def update(
        self,
        ref: str,
        changes: Mapping[str, object],
        params: Mapping[str, object],
        overrides: Form,
        unset: Collection[str] = (),
    ) -> ScheduleOut:
        """Change fields of a schedule; *params* and *overrides* are set beside what it has.

        *unset*: paths of what is to be taken away.
        """
        schedule_id = await self._id(ref)
        changed = await self._scheduler.update(
            self._actor,
            schedule_id,
            changes,
            params=params,
            overrides=overrides,
            unset=unset,
        )
        return await self._out(changed)

    async def toggle(self, ref: str, *, enabled: bool, reason: str = "") -> ScheduleOut:
        """Pause or resume it."""
        schedule_id = await self._id(ref)
        toggled = await self._scheduler.toggle(
            self._actor, schedule_id, enabled=enabled, reason=reason
        )
        return await self._out(toggled)

    async def run_now(self, ref: str) -> str:
        """Submit a job of it at once; return its id."""
        return (await self._scheduler.run_now(self._actor, await self._id(ref))).id

    async def backfill(
        self, ref: str, since: datetime, until: datetime | None, *, dry_run: bool
    ) -> BackfillOut:
        """Make up for the instants of a range that did not run, or say which they are.

        Without *until*: up to now.
        """
        schedule_id = await self._id(ref)
        done = await self._scheduler.backfill(
            self._actor, schedule_id, since, until, dry_run=dry_run
        )
        return BackfillOut.of(done)

    async def delete(self, ref: str) -> None:
        """Delete it with its ledger; its jobs stay."""
        await self._scheduler.delete(self._actor, await self._id(ref))

    async def _out(self, schedule: CrawlSchedule) -> ScheduleOut:
        secret = await self._scheduler.secret_params([schedule])
        return ScheduleOut.of(schedule, secret[schedule.id])

    async def _id(self, ref: str) -> str:
        return await self._scheduler.resolve(self._actor, ref)
