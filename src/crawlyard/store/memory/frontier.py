"""`FrontierStore` over dictionaries."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.core.checkpoint import (
    Batch,
    Checkpoint,
    Lease,
    Order,
)
from crawlyard.core.limits import Usage
from crawlyard.core.page import (
    Body,
    Page,
    StoredPage,
    Target,
    TargetState,
    Via,
)
from crawlyard.core.quota import day_of
from crawlyard.core.watch import MOST_LINES
from crawlyard.store.leasing import (
    Worth,
    carried,
    order_of,
    worth,
)
from crawlyard.store.memory.shelf import Known, Record, Shelf
from crawlyard.store.memory.spread import carry, dry_shards, share_of, tell_open
from crawlyard.store.sharing import untold
from crawlyard.store.text import scrubbed

NOTHING = Usage()
COUNTED = ("pages", "bytes", "errors")
"""What of the usage of jobs is kept for each owner and day."""


class MemoryFrontier(Struct, frozen=True):
    """`FrontierStore` in memory."""

    _shelf: Shelf

    async def record(
        self, entries: Sequence[tuple[Lease, Batch]], now: datetime, lease: timedelta
    ) -> list[Checkpoint]:
        return [self._recorded(mine, scrubbed(batch), now, now + lease) for mine, batch in entries]

    def _recorded(self, lease: Lease, batch: Batch, now: datetime, until: datetime) -> Checkpoint:
        record = self._shelf.find(lease.job_id)
        shard = record.leased(lease) if record else None
        verdict = worth(lease, shard)
        if record is None or shard is None or verdict is Worth.REFUSE:
            usage = record.shard.usage if record else Usage()
            return Checkpoint(order=Order.LOST, lease=lease, usage=usage)
        job = record.job
        order = order_of(
            lease,
            shard.attempt,
            job.state,
            job.version,
            yields=shard.yields,
            free=not lease.shard and shard.worker is None,
        )
        if verdict is Worth.WRITE:
            told = record.shard.pulse.milestone
            before = len(record.frontier)
            dry = dry_shards(record, batch.found) if lease.shard else []
            self._offer(record, batch.found)
            found = len(record.frontier) - before
            self._shut(record, batch)
            counts = found, len(record.frontier) - before - found
            self._close(record, batch)
            self._note(record, batch, now)
            if lease.shard:
                self._shelf.tell(*untold(batch.events, told))
                carry(record, lease, batch, counts, now, until)
                tell_open(self._shelf, record, dry)
            else:
                self._shelf.tell(*batch.events)
                record.shard = carried(record.shard, lease, batch, record.job.state, now, until)
            if batch.pages and record.job.losses:
                record.job = replace(record.job, losses=0)
        mine = record.leased(lease) or shard
        return Checkpoint(
            order=order,
            lease=replace(lease, seq=mine.seq, version=record.job.version),
            usage=record.shard.usage,
            job=None if order in {Order.GO_ON, Order.LOST} else record.job,
            share=share_of(record, lease, batch) if lease.shard else None,
        )

    def _offer(self, record: Record, found: Sequence[Target]) -> None:
        for target in found:
            record.frontier.setdefault(target.fp, Known(self._shelf.next_row(), target))

    def _shut(self, record: Record, batch: Batch) -> None:
        for skipped in batch.skipped:
            known = Known(self._shelf.next_row(), skipped.target, TargetState.SKIPPED, skipped.rule)
            record.frontier.setdefault(skipped.target.fp, known)

    def _close(self, record: Record, batch: Batch) -> None:
        for outcome in batch.outcomes:
            target = outcome.target
            known = record.frontier.setdefault(target.fp, Known(self._shelf.next_row(), target))
            if known.state is TargetState.WAITING:
                known.state, known.rule = outcome.state, outcome.rule
                if known.target is not target:
                    known.target = replace(known.target, tries=target.tries, due_at=target.due_at)
            if outcome.page is not None and target.fp not in record.pages:
                self._keep(record, target.fp, outcome.page, outcome.bodies)

    def _note(self, record: Record, batch: Batch, now: datetime) -> None:
        """Add to the owner's day, to the log and to the course."""
        used = replace(NOTHING, **{name: getattr(batch.usage, name) for name in COUNTED})
        if used != NOTHING:
            day = (record.job.owner, day_of(now))
            self._shelf.days[day] = self._shelf.days.get(day, NOTHING).plus(used)
        for line in batch.log:
            record.last_line += 1
            record.log[record.last_line] = replace(line, n=record.last_line)
            record.log.pop(record.last_line - MOST_LINES, None)
        record.course = batch.course or record.course

    def _keep(self, record: Record, fp: int, page: Page, bodies: Mapping[Body, bytes]) -> None:
        stored = StoredPage(id=self._shelf.next_row(), page=page)
        record.keep(fp, stored)
        record.bodies.update({(stored.id, kind): data for kind, data in bodies.items()})

    async def load(
        self, job_no: int, limit: int, *, depth_first: bool, without: Collection[str] = ()
    ) -> list[Target]:
        record = self._shelf.of_no(job_no)
        known = record.frontier.values() if record else ()
        waiting = sorted(
            (k for k in known if k.state is TargetState.WAITING and k.target.host not in without),
            key=lambda k: (k.target.depth, k.id),
            reverse=depth_first,
        )
        return [k.target for k in waiting[:limit]]

    async def known(self, job_no: int) -> AsyncIterator[Sequence[int]]:
        record = self._shelf.of_no(job_no)
        if record is not None and record.frontier:
            yield tuple(record.frontier)

    async def roots(self, job_no: int) -> list[str]:
        record = self._shelf.of_no(job_no)
        targets = (k.target for k in (record.frontier.values() if record else ()))
        return [t.url for t in targets if t.via is Via.SEED and t.hops > 0]
