"""Schedules of a yard that is asked over HTTP."""

from collections.abc import Collection, Mapping
from contextlib import aclosing
from datetime import datetime, timedelta

from msgspec.structs import replace

from crawlyard.client import AsyncClient
from crawlyard.core.answers.schedules.schedules import (
    AheadOut,
    BackfillOut,
    CalendarOut,
    ScheduleOut,
    TickOut,
)
from crawlyard.core.jobs.spec_json import Form
from crawlyard.core.merge_patch import patch_between
from crawlyard.core.schedules.records import ScheduleDraft
from crawlyard.services.schedules.edits import Edit
from crawlyard.store.queries import ScheduleQuery


class HttpSchedules:
    """Asks the schedules of a server; each method is a request or two."""

    def __init__(self, client: AsyncClient) -> None:
        self._schedules = client.schedules

    async def get(self, ref: str) -> ScheduleOut:
        """Return one schedule."""
        return await self._schedules.get(ref)

    async def find(self, query: ScheduleQuery, limit: int) -> list[ScheduleOut]:
        """Return the schedules that *query* asks for, by (name, id), at most *limit*."""
        found = self._schedules.list(
            paused=query.paused,
            template=query.template_id,
            owner=query.owner,
            q=query.text,
            limit=limit,
        )
        return [schedule async for schedule in found]

    async def next_runs(self, ref: str, count: int) -> AheadOut:
        """Return the instants from now on at which it will be due, at most *count*."""
        ahead = await self._schedules.next(ref, max(count, 1))
        return ahead if count else replace(ahead, next=())

    async def runs(self, ref: str, before: datetime | None, limit: int) -> list[TickOut]:
        """Return what became of the instants before one, the latest first, at most *limit*."""
        found: list[TickOut] = []
        async with aclosing(self._schedules.runs(ref)) as ticks:
            async for tick in ticks:
                if before is None or tick.due_at < before:
                    found.append(tick)
                if len(found) == limit:
                    break
        return found

    async def calendar(self, since: datetime | None, until: datetime | None) -> CalendarOut:
        """Return when all schedules are due from *since* up to and without *until*.

        By default from now on, and for a week.
        """
        return await self._schedules.calendar(since, until)

    async def create(self, draft: ScheduleDraft) -> ScheduleOut:
        """Remember a new schedule."""
        return await self._schedules.create(
            _body({name: getattr(draft, name) for name in draft.__struct_fields__})
        )

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
        beside = {"params": params, "overrides": overrides}
        if unset:
            edit = Edit(changes={}, params=params, overrides=overrides, unset=unset)
            beside = _patches(await self._schedules.get(ref), edit)
        given = {name: value for name, value in beside.items() if value}
        return await self._schedules.edit(ref, _body(changes) | given)

    async def toggle(self, ref: str, *, enabled: bool, reason: str = "") -> ScheduleOut:
        """Pause or resume it."""
        if enabled:
            return await self._schedules.resume(ref)
        return await self._schedules.pause(ref, reason)

    async def run_now(self, ref: str) -> str:
        """Submit a job of it at once; return its id."""
        return (await self._schedules.run(ref)).id

    async def backfill(
        self, ref: str, since: datetime, until: datetime | None, *, dry_run: bool
    ) -> BackfillOut:
        """Make up for the instants of a range that did not run, or say which they are.

        Without *until*: up to now.
        """
        return await self._schedules.backfill(ref, since, until, dry_run=dry_run)

    async def delete(self, ref: str) -> None:
        """Delete it with its ledger; its jobs stay."""
        await self._schedules.delete(ref)


def _patches(schedule: ScheduleOut, edit: Edit) -> dict[str, Mapping[str, object]]:
    """Return the patches that make of params and overrides of a schedule what an edit makes.

    Raises:
        Invalid: what is to be taken away is not there.
    """
    params, overrides = edit.objects(schedule.params, schedule.overrides)
    return {
        "params": patch_between(schedule.params, params),
        "overrides": patch_between(schedule.overrides, overrides),
    }


def _body(values: Mapping[str, object]) -> dict[str, object]:
    """Return fields of a schedule as the API writes them."""
    body: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, timedelta):
            body[f"{name}_s"] = value.total_seconds()
        else:
            body[name] = value.isoformat() if isinstance(value, datetime) else value
    return body
