"""`OverviewStore` over dictionaries."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from crawlyard.core.attention import Backlog, End, Line, line_of
from crawlyard.core.job import Job
from crawlyard.core.lifecycle import State, StateReason
from crawlyard.core.queue import claimable
from crawlyard.core.schedule import CrawlSchedule, Tick
from crawlyard.core.schedule_records import RecentTick
from crawlyard.core.webhook import Webhook
from crawlyard.store.memory.shelf import Shelf


class MemoryOverview(Struct, frozen=True):
    """`OverviewStore` in memory."""

    _shelf: Shelf

    async def recent(
        self, schedule_ids: Collection[str], limit: int
    ) -> Mapping[str, Sequence[RecentTick]]:
        ledgers = {one: self._shelf.ticks.get(one, {}).values() for one in schedule_ids}
        return {
            schedule_id: [
                RecentTick(tick=tick, state=self._state(tick))
                for tick in sorted(ticks, key=lambda t: t.due_at, reverse=True)[:limit]
            ]
            for schedule_id, ticks in ledgers.items()
            if ticks
        }

    async def overdue(self, owner: str | None, before: datetime, limit: int) -> list[CrawlSchedule]:
        found = [
            (one.fire_at, one.id, one)
            for one in self._shelf.schedules.values()
            if owner in (None, one.owner)
            and one.paused_at is None
            and one.fire_at is not None
            and one.fire_at < before
        ]
        return [schedule for *_, schedule in sorted(found, key=lambda f: f[:2])[:limit]]

    async def paused(
        self,
        owner: str | None,
        before: datetime,
        reasons: Collection[StateReason],
        limit: int,
    ) -> list[Job]:
        found = [
            job
            for job in self._jobs(owner)
            if job.state is State.PAUSED and (job.since < before or job.state_reason in reasons)
        ]
        return sorted(found, key=lambda job: (job.since, job.id))[:limit]

    async def failures(
        self, owner: str | None, since: datetime, limit: int
    ) -> Sequence[tuple[Line | None, End]]:
        failed = [
            (line, end)
            for line, end in self._ends(owner)
            if end.state is State.FAILED and end.ended_at >= since
        ]
        return sorted(failed, key=_when, reverse=True)[:limit]

    async def ends(self, lines: Mapping[Line, datetime], last: int) -> Mapping[Line, Sequence[End]]:
        found: dict[Line, list[End]] = {}
        for line, end in sorted(self._ends(None), key=_when, reverse=True):
            if line is not None and line in lines and end.ended_at >= lines[line]:
                found.setdefault(line, []).append(end)
        return {line: ends[:last] for line, ends in found.items()}

    async def backlog(self, owner: str | None, now: datetime) -> Backlog:
        due = [job for job in self._jobs(owner) if claimable(job, now)]
        oldest = min(due, key=lambda job: (job.due_at, job.id), default=None)
        if oldest is None:
            return Backlog()
        return Backlog(count=len(due), oldest=oldest.id, since=oldest.due_at)

    async def damaged(self, limit: int, among: int) -> list[Job]:
        newest = sorted(self._jobs(None), key=lambda job: job.id, reverse=True)[:among]
        return [job for job in newest if job.damaged][:limit]

    async def off(self, owner: str | None, limit: int) -> list[Webhook]:
        every = (endpoint.webhook for endpoint in self._shelf.post.endpoints.values())
        found = [w for w in every if owner in (None, w.owner) and not w.active]
        return sorted(found, key=lambda w: (w.updated_at, w.id), reverse=True)[:limit]

    def _jobs(self, owner: str | None) -> Iterator[Job]:
        return (r.job for r in self._shelf.there() if owner in (None, r.job.owner))

    def _ends(self, owner: str | None) -> Iterator[tuple[Line | None, End]]:
        for job in self._jobs(owner):
            if job.state in (State.COMPLETED, State.FAILED) and job.ended_at is not None:
                origin = job.origin
                line = line_of(job.owner, origin.schedule_id, origin.template_id, job.spec.name)
                yield line, End(job_id=job.id, state=job.state, ended_at=job.ended_at)

    def _state(self, tick: Tick) -> State | None:
        record = None if tick.job_id is None else self._shelf.find(tick.job_id)
        return None if record is None else record.job.state


def _when(found: tuple[Line | None, End]) -> tuple[datetime, str]:
    return found[1].ended_at, found[1].job_id
