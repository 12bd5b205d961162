"""`QueueStore` over dictionaries, and the claim that it shares with `LeaseStore`."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.core.checkpoint import Asker, Claim, Preemption
from crawlyard.core.due import Due, due_of
from crawlyard.core.job import Job
from crawlyard.core.lifecycle import Move, State
from crawlyard.core.limits import Usage
from crawlyard.core.priority import Priority
from crawlyard.core.queue import (
    PriorityQueue,
    aged,
    can_run,
    claim_key,
    claimable,
    may_preempt,
    takes,
    turn_of_new,
    waits_since,
    yields,
)
from crawlyard.core.quota import day_of, held_back, spent
from crawlyard.store.leasing import leased
from crawlyard.store.memory.shelf import Shelf
from crawlyard.store.memory.spread import begin, give_up_part


class MemoryQueue(Struct, frozen=True):
    """`QueueStore` in memory."""

    _shelf: Shelf

    async def preempt(
        self, asker: Asker, now: datetime, lease: timedelta, patience: timedelta
    ) -> Preemption | None:
        waiting = (j for j in on_offer(self._shelf, asker, now) if may_preempt(j, now, patience))
        urgent = PriorityQueue(waiting).next(now)
        mine = (r.job for r in self._shelf.there() if r.kept_by(asker.worker))
        low = max(filter(yields, mine), key=lambda job: (job.since, job.id), default=None)
        if urgent is None or low is None:
            return None
        number = give_up_part(self._shelf.records[low.id], asker.worker, now)
        if not number:
            low, event = low.yielded(now, actor=f"worker:{asker.worker}")
            self._shelf.changed(low, event)
        claim = take(self._shelf, urgent, asker, now, now + lease)
        return Preemption(claim=claim, yielded=low, shard=number)

    async def age(self, now: datetime, step: timedelta, rows: int = 1000) -> int:
        waiting = PriorityQueue(r.job for r in self._shelf.there()).pending()
        rises = ((job, aged(job.priority, waits_since(job), now, step)) for job in waiting)
        risen = [(job, levels) for job, levels in rises if levels > job.aged][:rows]
        for job, levels in sorted(risen, key=lambda rise: claim_key(rise[0])):
            higher = replace(job, aged=levels)
            turn = turn_of_new(self._shelf.line(higher))
            self._shelf.records[job.id].job = replace(higher, turn=turn)
        return len(risen)

    async def due(self, now: datetime) -> Collection[Due]:
        due = (r.job for r in self._shelf.there() if claimable(r.job, now))
        return {replace(due_of(job), at=now) for job in due}

    async def spent(self, now: datetime) -> Mapping[str, str]:
        users, today = self._shelf.users, day_of(now)
        used = {owner: usage for (owner, day), usage in self._shelf.days.items() if day == today}
        parts = {o: spent(users[o].quota, usage) for o, usage in used.items() if o in users}
        return {owner: part for owner, part in parts.items() if part is not None}

    async def waiting(self, tags: Collection[str], least: Priority = Priority.LOW) -> int:
        pending = (r.job for r in self._shelf.there() if r.job.state is State.PENDING)
        able = (job for job in pending if can_run(frozenset(tags), job.spec.worker_tags))
        return sum(job.level >= least for job in able)


def on_offer(shelf: Shelf, asker: Asker, now: datetime) -> Iterator[Job]:
    """Yield the jobs that *asker* may claim once they are due: none is held, or has no quota."""
    out = parts_held_back(shelf, now)
    free = (record.job for record in shelf.there() if not record.held(now))
    return (job for job in free if takes(asker, job) and job.owner not in out)


def take(shelf: Shelf, job: Job, asker: Asker, now: datetime, until: datetime) -> Claim:
    """Lease *job* to *asker* until that instant."""
    part = begin(shelf, shelf.records[job.id], asker, now, until)
    if part is not None:
        return part
    record = shelf.changed(*job.moved(Move.CLAIM, now, actor=f"worker:{asker.worker}"))
    record.shard = leased(record.shard, asker.worker, until)
    return Claim(lease=record.lease(), job=record.job, shard=record.shard)


def parts_held_back(shelf: Shelf, now: datetime) -> dict[str, str]:
    """Return which part of their quota lets no job of some users begin, by user."""
    today = day_of(now)
    running = Counter(r.job.owner for r in shelf.there() if r.job.state is State.RUNNING)
    parts = {
        user.id: held_back(user.quota, running[user.id], shelf.days.get((user.id, today), Usage()))
        for user in shelf.users.values()
    }
    return {user: part for user, part in parts.items() if part is not None}
