"""`LeaseStore` over dictionaries."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from crawlyard.core.checkpoint import (
    Claim,
    Lease,
    Order,
)
from crawlyard.core.event import Event
from crawlyard.core.job import Job
from crawlyard.core.lifecycle import Move, State
from crawlyard.core.limits import Usage
from crawlyard.core.page import ErrorKind
from crawlyard.core.queue import PriorityQueue
from crawlyard.core.quota import day_of, held_back
from crawlyard.errors import Conflict
from crawlyard.store.leasing import (
    freed,
    held,
    leased,
    order_of,
)
from crawlyard.store.memory.shelf import Shelf


@dataclass(frozen=True, slots=True)
class MemoryLeases:
    """`LeaseStore` in memory."""

    _shelf: Shelf

    async def claim(
        self, worker: str, now: datetime, lease: timedelta, only: str | None = None
    ) -> Claim | None:
        out = self._held_back(now)
        free = (r.job for r in self._shelf.there() if not held(r.shard, now))
        asked = (j for j in free if only in (None, j.id) and j.owner not in out)
        job = PriorityQueue(asked).next(now)
        if job is None:
            return None
        record = self._shelf.changed(*job.moved(Move.CLAIM, now, actor=f"worker:{worker}"))
        record.shard = leased(record.shard, worker, now + lease)
        return Claim(lease=record.lease(), job=record.job, shard=record.shard)

    def _held_back(self, now: datetime) -> set[str]:
        """Return the users whose quotas are used up."""
        shelf, today = self._shelf, day_of(now)
        running = Counter(r.job.owner for r in shelf.there() if r.job.state is State.RUNNING)
        return {
            user.id
            for user in shelf.users.values()
            if held_back(
                user.quota, running[user.id], shelf.days.get((user.id, today), Usage()).pages
            )
        }

    async def orders(self, leases: Sequence[Lease]) -> list[Order]:
        records = ((lease, self._shelf.find(lease.job_id)) for lease in leases)
        return [
            Order.LOST
            if r is None
            else order_of(lease, r.shard.attempt, r.job.state, r.job.version)
            for lease, r in records
        ]

    async def settle(
        self, lease: Lease, job: Job, *events: Event, again: Collection[ErrorKind] = ()
    ) -> None:
        record = self._shelf.find(lease.job_id)
        if record is None or record.shard.attempt != lease.attempt:
            raise Conflict(f"the lease of {lease.worker} on job {lease.job_id} is no longer good")
        self._shelf.changed(job, *events)
        if again:
            record.reopen(again)
        record.shard = freed(record.shard)

    async def free(self, lease: Lease) -> None:
        record = self._shelf.find(lease.job_id)
        if record is not None and record.shard.attempt == lease.attempt:
            record.shard = freed(record.shard)

    async def take_back(
        self,
        now: datetime,
        dead: Collection[str],
        decide: Callable[[Job], tuple[Job, Event]],
    ) -> list[Job]:
        taken: list[Job] = []
        for record in self._shelf.there():
            if held(record.shard, now) and record.shard.worker not in dead:
                continue
            if record.job.state is State.RUNNING:
                self._shelf.changed(*decide(record.job))
                taken.append(record.job)
            record.shard = freed(record.shard)
        return taken

    async def holders(self) -> Mapping[str, int]:
        return Counter(r.shard.worker for r in self._shelf.there() if r.shard.worker)
