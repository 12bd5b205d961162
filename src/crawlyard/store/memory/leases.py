"""`LeaseStore` over dictionaries."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from crawlyard.core.checkpoint import (
    Asker,
    Claim,
    Lease,
    Order,
)
from crawlyard.core.event import Event
from crawlyard.core.job import Job
from crawlyard.core.lifecycle import State
from crawlyard.core.page import ErrorKind
from crawlyard.core.queue import PriorityQueue
from crawlyard.errors import Conflict
from crawlyard.store.leasing import (
    freed,
    held,
    order_of,
)
from crawlyard.store.memory.queue import on_offer, take
from crawlyard.store.memory.shelf import Shelf
from crawlyard.store.memory.spread import free_part, settle_part, take_parts_back


class MemoryLeases(Struct, frozen=True):
    """`LeaseStore` in memory."""

    _shelf: Shelf

    async def claim(self, asker: Asker, now: datetime, lease: timedelta) -> Claim | None:
        shelf = self._shelf
        job = PriorityQueue(on_offer(shelf, asker, now)).next(now)
        return None if job is None else take(shelf, job, asker, now, now + lease)

    async def orders(self, leases: Sequence[Lease]) -> list[Order]:
        return [self._order(lease) for lease in leases]

    def _order(self, lease: Lease) -> Order:
        record = self._shelf.find(lease.job_id)
        shard = record.leased(lease) if record is not None else None
        if record is None or shard is None:
            return Order.LOST
        return order_of(
            lease,
            shard.attempt,
            record.job.state,
            record.job.version,
            yields=shard.yields,
            free=not lease.shard and shard.worker is None,
        )

    async def settle(
        self, lease: Lease, job: Job, *events: Event, again: Collection[ErrorKind] = ()
    ) -> None:
        if lease.shard:
            settle_part(self._shelf, lease, job, events, again)
            return
        record = self._shelf.find(lease.job_id)
        if record is None or record.shard.attempt != lease.attempt:
            raise Conflict(f"the lease of {lease.worker} on job {lease.job_id} is no longer good")
        self._shelf.changed(job, *events)
        if again:
            record.reopen(again)
        record.shard = freed(record.shard)

    async def free(self, lease: Lease) -> None:
        if lease.shard:
            free_part(self._shelf, lease)
            return
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
            if any(shard.worker is not None for shard in record.parts.values()):
                continue
            if record.job.state is State.RUNNING:
                self._shelf.changed(*decide(record.job))
                taken.append(record.job)
            record.shard = freed(record.shard)
        return taken + take_parts_back(self._shelf, now, dead, decide)

    async def holders(self) -> Mapping[str, int]:
        shards = (shard for r in self._shelf.there() for shard in (r.shard, *r.parts.values()))
        return Counter(shard.worker for shard in shards if shard.worker)
