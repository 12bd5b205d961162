"""`JobStore` over dictionaries."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections import Counter
from collections.abc import Collection

from msgspec import Struct

from crawlyard.core.checkpoint import (
    Standing,
)
from crawlyard.core.event import Event
from crawlyard.core.filter import fits
from crawlyard.core.job import Job
from crawlyard.core.lifecycle import State
from crawlyard.core.page import (
    ErrorKind,
)
from crawlyard.core.priority import Priority
from crawlyard.errors import Conflict, NotFound
from crawlyard.store.base import EVERY_JOB, JobQuery
from crawlyard.store.leasing import (
    fenced,
)
from crawlyard.store.memory.shelf import Record, Shelf


class MemoryJobs(Struct, frozen=True):
    """`JobStore` in memory."""

    _shelf: Shelf

    async def add(self, job: Job, event: Event, like: Job | None = None) -> None:
        if like is not None:
            self._at(like.id, like.version)
        self._shelf.add(job)
        self._shelf.tell(event)

    async def get(self, job_id: str) -> Standing:
        record = self._shelf.find(job_id)
        if record is None:
            raise NotFound(f"no job {job_id}")
        return _seen(record)

    async def save(self, job: Job, *events: Event) -> None:
        self._shelf.changed(job, *events)

    async def find(self, query: JobQuery, limit: int) -> list[Standing]:
        fitting = (r for r in self._shelf.there() if fits_query(query, r.job))
        ordered = sorted(fitting, key=lambda r: r.job.id, reverse=not query.oldest_first)
        return [_seen(r) for r in ordered[:limit]]

    async def counts(self, query: JobQuery = EVERY_JOB) -> Counter[tuple[State, Priority]]:
        jobs = (r.job for r in self._shelf.there())
        return Counter((j.state, j.priority) for j in jobs if fits_query(query, j))

    async def count_to(self, most: int, query: JobQuery) -> int:
        return min(most, (await self.counts(query)).total())

    async def retry_failed(self, job: Job, event: Event, kinds: Collection[ErrorKind]) -> int:
        record = self._shelf.find(job.id)
        if record is not None and record.held(event.at):
            who = record.shard.worker or "workers of its shards"
            raise Conflict(f"job {job.id} is still held by {who}")
        return self._shelf.changed(job, event).reopen(kinds)

    async def delete(self, job_id: str, version: int, event: Event) -> None:
        record = self._at(job_id, version)
        record.deleted = True
        record.shard = fenced(record.shard)
        self._shelf.tell(event)

    def _at(self, job_id: str, version: int) -> Record:
        record = self._shelf.find(job_id)
        if record is None or record.job.version != version:
            raise Conflict(f"job {job_id} is not at version {version} any more")
        return record


def _seen(record: Record) -> Standing:
    parts = (shard.worker for shard in record.parts.values())
    sharers = len({worker for worker in parts if worker is not None})
    return Standing(job=record.job, shard=record.shard, sharers=sharers if record.of else 0)


def fits_query(query: JobQuery, job: Job) -> bool:
    """Tell whether *query* asks for a job."""
    text, part = query.text.casefold(), query.id_part.lower()
    return (
        query.owner in (None, job.owner)
        and (not query.states or job.state in query.states)
        and (not query.priorities or job.priority in query.priorities)
        and query.tags <= set(job.spec.tags)
        and any(text in s.casefold() for s in (job.spec.name, *job.spec.urls))
        and (job.id.startswith(part) or job.id.endswith(part))
        and query.template_id in (None, job.origin.template_id)
        and query.schedule_id in (None, job.origin.schedule_id)
        and all(fits(asked, job) for asked in query.where)
        and (query.before is None or job.id < query.before)
        and (query.after is None or job.id > query.after)
    )
