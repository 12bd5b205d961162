"""`UpkeepStore` over dictionaries."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar

from msgspec import Struct

from crawlyard.core.job import Job
from crawlyard.core.lifecycle import State
from crawlyard.core.schedule import TickOutcome
from crawlyard.core.webhook import DeliveryState
from crawlyard.store.base import Freed
from crawlyard.store.memory.shelf import Record, Shelf

K = TypeVar("K")
V = TypeVar("V")


class MemoryUpkeep(Struct, frozen=True):
    """`UpkeepStore` in memory."""

    _shelf: Shelf

    async def expired(self, now: datetime, retention: timedelta | None, limit: int) -> list[Job]:
        ended = [
            (job.ended_at, job.id, job)
            for job in (r.job for r in self._shelf.there())
            if job.ended_at is not None and _had_its_time(job, job.ended_at, now, retention)
        ]
        return [job for _, _, job in sorted(ended, key=lambda found: found[:2])[:limit]]

    async def paused(self, before: datetime, limit: int, after: Job | None = None) -> list[Job]:
        held = (r.job for r in self._shelf.there() if r.job.state is State.PAUSED)
        long = [
            j for j in held if j.since <= before and (after is None or _place(j) > _place(after))
        ]
        return sorted(long, key=_place)[:limit]

    async def forget(self, before: datetime, rows: int = 1000) -> int:
        left = rows
        left -= self._forget_deliveries(before, left)
        left -= self._forget_ticks(before, left)
        left -= self._forget_events(before, left)
        return rows - left

    async def tidy(self, rows: int = 1000) -> None:
        """Return at once: here, jobs are counted when somebody asks."""

    async def purge(self, rows: int = 1000) -> Freed:
        left = rows
        for record in [r for r in self._shelf.records.values() if r.deleted]:
            left -= self._dropped_post(record, left)
            left -= _dropped(record.bodies, left)
            left -= _dropped(record.pages, left)
            left -= _dropped(record.frontier, left)
            left -= _dropped(record.log, left)
            if left:
                del self._shelf.records[record.job.id]
                left -= 1
        return Freed(rows - left)

    async def size(self) -> int:
        return 0

    def _forget_deliveries(self, before: datetime, most: int) -> int:
        parcels = self._shelf.post.parcels
        old = (
            d.id
            for d in (p.delivery for p in parcels.values())
            if d.created_at < before and d.state is not DeliveryState.PENDING
        )
        gone = list(islice(old, most))
        for delivery_id in gone:
            del parcels[delivery_id]
        return len(gone)

    def _forget_ticks(self, before: datetime, most: int) -> int:
        old = (
            tick
            for ledger in self._shelf.ticks.values()
            for tick in ledger.values()
            if tick.decided_at < before and tick.outcome is not TickOutcome.WAITING
        )
        gone = list(islice(old, most))
        for tick in gone:
            del self._shelf.ticks[tick.schedule_id][tick.due_at]
        return len(gone)

    def _forget_events(self, before: datetime, most: int) -> int:
        post = self._shelf.post
        waits = (p.delivery for p in post.parcels.values())
        kept = {d.seq for d in waits if d.state is DeliveryState.PENDING}
        kept.add(self._shelf.last_event)
        if any(endpoint.webhook.active for endpoint in post.endpoints.values()):
            kept.update(e.seq for e in self._shelf.events if e.seq > post.seen)
        old = (e.seq for e in self._shelf.events if e.at < before and e.seq not in kept)
        gone = set(islice(old, most))
        self._shelf.events[:] = [e for e in self._shelf.events if e.seq not in gone]
        return len(gone)

    def _dropped_post(self, record: Record, most: int) -> int:
        """Drop webhooks of a job with their deliveries, at most *most* things; return how many."""
        post, left = self._shelf.post, most
        for webhook_id in [
            e.webhook.id for e in post.endpoints.values() if e.webhook.job_id == record.job.id
        ]:
            for parcel in list(islice(post.of(webhook_id), left)):
                del post.parcels[parcel.delivery.id]
                left -= 1
            if left:
                left -= post.remove(webhook_id)
        return most - left


def _had_its_time(job: Job, ended_at: datetime, now: datetime, retention: timedelta | None) -> bool:
    kept = retention if job.spec.retention is None else job.spec.retention
    return kept is not None and ended_at + kept <= now


def _place(job: Job) -> tuple[datetime, str]:
    return job.since, job.id


def _dropped(table: dict[K, V], most: int) -> int:
    keys = list(islice(table, most))
    for key in keys:
        del table[key]
    return len(keys)
