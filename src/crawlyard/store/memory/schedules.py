"""`ScheduleStore` and `TickStore` over dictionaries."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.core.event import Event
from crawlyard.core.job import Job
from crawlyard.core.lifecycle import State
from crawlyard.core.schedule import CrawlSchedule, Tick, TickReason
from crawlyard.errors import Conflict, NotFound
from crawlyard.store.base import Firing, ScheduleQuery
from crawlyard.store.memory.shelf import Shelf
from crawlyard.store.naming import taken
from crawlyard.store.text import scrubbed


class MemorySchedules(Struct, frozen=True):
    """`ScheduleStore` in memory."""

    _shelf: Shelf

    async def add(self, schedule: CrawlSchedule, event: Event) -> None:
        if schedule.id in self._shelf.schedules:
            raise Conflict(f"there is a schedule {schedule.id} already")
        self._keep(schedule, event)

    async def get(self, schedule_id: str) -> CrawlSchedule:
        schedule = self._shelf.schedules.get(schedule_id)
        if schedule is None:
            raise NotFound(f"no schedule {schedule_id}")
        return schedule

    async def save(self, schedule: CrawlSchedule, event: Event) -> None:
        old = self._shelf.schedules.get(schedule.id)
        before = (schedule.version - 1, schedule.beat - 1)
        if old is None or (old.version, old.beat) != before:
            raise Conflict(f"schedule {schedule.id} is not at version {before[0]} any more")
        self._keep(schedule, event)

    async def find(self, query: ScheduleQuery, limit: int) -> list[CrawlSchedule]:
        found = (s for s in self._shelf.schedules.values() if _fits(query, s))
        return sorted(found, key=lambda s: (s.name, s.id))[:limit]

    async def runs(self, schedule_id: str) -> int:
        return len(self._shelf.ticks.get(schedule_id, {}))

    async def delete(self, schedule_id: str, version: int, event: Event) -> None:
        schedule = self._shelf.schedules.get(schedule_id)
        if schedule is None or schedule.version != version:
            raise Conflict(f"schedule {schedule_id} is not at version {version} any more")
        del self._shelf.schedules[schedule_id]
        self._shelf.ticks.pop(schedule_id, None)
        self._shelf.tell(event)

    def _keep(self, schedule: CrawlSchedule, event: Event) -> None:
        template_id = schedule.template_id
        if template_id is not None and template_id not in self._shelf.templates:
            raise NotFound(f"no template {template_id}")
        for other in self._shelf.schedules.values():
            same_name = (other.owner, other.name) == (schedule.owner, schedule.name)
            if same_name and other.id != schedule.id:
                raise taken("schedule", schedule.name)
        self._shelf.schedules[schedule.id] = kept(schedule)
        self._shelf.tell(event)


class MemoryTicks(Struct, frozen=True):
    """`TickStore` in memory."""

    _shelf: Shelf

    async def due(self, now: datetime, limit: int) -> list[CrawlSchedule]:
        fires = ((s.fire_at, s) for s in self._shelf.schedules.values() if s.fire_at is not None)
        due = sorted((pair for pair in fires if pair[0] <= now), key=lambda pair: pair[0])
        return [schedule for _, schedule in due[:limit]]

    async def waiting(self, limit: int) -> list[CrawlSchedule]:
        waits = (
            (s.waiting_at, s) for s in self._shelf.schedules.values() if s.waiting_at is not None
        )
        free = sorted((p for p in waits if not self._active(p[1].id)), key=lambda pair: pair[0])
        return [schedule for _, schedule in free[:limit]]

    async def next_at(self) -> datetime | None:
        fires = (s.fire_at for s in self._shelf.schedules.values())
        return min((at for at in fires if at is not None), default=None)

    async def active(self, schedule_ids: Collection[str]) -> Mapping[str, Sequence[Job]]:
        found = {schedule_id: self._active(schedule_id) for schedule_id in schedule_ids}
        return {schedule_id: jobs for schedule_id, jobs in found.items() if jobs}

    async def failures(self, schedule_ids: Collection[str], last: int) -> Mapping[str, int]:
        there = (self._shelf.schedules.get(schedule_id) for schedule_id in schedule_ids)
        return {s.id: self._failures(s, last) for s in there if s is not None}

    async def fire(self, firings: Sequence[Firing]) -> list[bool]:
        return [self._fire(firing) for firing in firings]

    async def ticks(
        self, schedule_id: str, before: datetime | None = None, limit: int = 100
    ) -> list[Tick]:
        ledger = self._ledger(schedule_id)
        return [t for t in ledger if before is None or t.due_at < before][:limit]

    async def ticks_between(
        self, schedule_id: str, since: datetime, until: datetime
    ) -> Mapping[datetime, Tick]:
        ledger = reversed(self._ledger(schedule_id))
        return {t.due_at: t for t in ledger if since <= t.due_at < until}

    def _ledger(self, schedule_id: str) -> list[Tick]:
        ticks = self._shelf.ticks.get(schedule_id, {})
        return sorted(ticks.values(), key=lambda t: t.due_at, reverse=True)

    def _active(self, schedule_id: str) -> list[Job]:
        own = (r.job for r in self._shelf.there() if r.job.origin.schedule_id == schedule_id)
        return sorted(
            (j for j in own if j.ended_at is None and not self._is_backfilled(j)),
            key=lambda j: j.id,
        )

    def _is_backfilled(self, job: Job) -> bool:
        ledger = self._shelf.ticks.get(job.origin.schedule_id or "", {})
        tick = None if job.origin.tick_at is None else ledger.get(job.origin.tick_at)
        return tick is not None and tick.reason is TickReason.BACKFILL

    def _failures(self, schedule: CrawlSchedule, last: int) -> int:
        ticks = (t for t in self._ledger(schedule.id) if t.beat >= schedule.fresh_beat)
        now = (t for t in ticks if t.reason is not TickReason.BACKFILL)
        ends = (end for end in map(self._end, now) if end is not None)
        return sum(end is State.FAILED for end in islice(ends, last))

    def _end(self, tick: Tick) -> State | None:
        """Return how the job of a tick ended, ``None`` if that cannot be said."""
        if tick.reason is TickReason.REFUSED:
            return State.FAILED
        record = None if tick.job_id is None else self._shelf.find(tick.job_id)
        if record is None or record.job.state not in {State.COMPLETED, State.FAILED}:
            return None
        return record.job.state

    def _fire(self, firing: Firing) -> bool:
        shelf, after = self._shelf, firing.after
        versions = {job.id: job.version - 1 for job, _ in firing.moved}
        records = [shelf.find(job_id) for job_id in versions]
        there = {record.job.id: record.job.version for record in records if record is not None}
        before = shelf.schedules.get(after.id)
        if before is None or before.beat != after.beat - 1 or there != versions:
            return False
        ledger = shelf.ticks.get(after.id, {})
        known = ((ledger.get(tick.due_at), tick.job_id) for tick in firing.ticks)
        if any(row is not None and row.job_id not in {None, job_id} for row, job_id in known):
            return False
        shelf.schedules[after.id] = kept(after)
        rows = {tick.due_at: scrubbed(tick) for tick in firing.ticks}
        shelf.ticks.setdefault(after.id, {}).update(rows)
        for job, event in firing.jobs:
            shelf.add(job)
            shelf.tell(event)
        for job, event in firing.moved:
            shelf.changed(job, event)
        shelf.tell(*firing.events)
        return True


def kept(schedule: CrawlSchedule) -> CrawlSchedule:
    """Return a schedule as a database would: what it gives a job has gone through JSON."""
    clean = scrubbed(schedule)
    params, overrides = (json.loads(json.dumps(m)) for m in (clean.params, clean.overrides))
    return replace(clean, params=params, overrides=overrides)


def _fits(query: ScheduleQuery, schedule: CrawlSchedule) -> bool:
    text = query.text.casefold()
    return (
        query.owner in {None, schedule.owner}
        and query.template_id in {None, schedule.template_id}
        and query.paused in {None, schedule.paused_at is not None}
        and query.name in {None, schedule.name}
        and any(text in s.casefold() for s in (schedule.name, schedule.description))
        and (query.after is None or (schedule.name, schedule.id) > query.after)
    )
