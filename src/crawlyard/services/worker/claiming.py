"""How a worker comes to its jobs: which slot takes what, and who makes room for whom."""

import asyncio
import logging
from collections.abc import Awaitable, Collection, Sequence
from datetime import timedelta
from typing import Protocol

from msgspec import Struct

from crawlyard.clock import Clock
from crawlyard.core.jobs.checkpoint import Asker, Claim, Preemption
from crawlyard.core.jobs.priority import Priority
from crawlyard.core.wakeup import Wakeup
from crawlyard.dispatch.base import Listener
from crawlyard.store.store import Store

LOOK_EVERY_S = 1.0
"""How often a worker without a free slot looks for an urgent job that has waited."""

_AGEING_S = (1.0, 60.0)  # jobs are looked through so often: a tenth of what ages them, within this
_MOST_AT_ONCE = 4
"""Claims under way at once, for as long as each finds a job: they share a transaction on
SQLite, and have a connection each on Postgres."""

_AGE_ROUNDS = 10  # of a thousand jobs each, before the worker does something else

_log = logging.getLogger(__name__)


class ClaimRules(Struct, frozen=True, kw_only=True):
    """What a worker takes."""

    slots: int
    lease: timedelta
    tags: frozenset[str] = frozenset()  # its own
    reserved: int = 0  # of its slots, the last ones, that take urgent jobs alone
    patience: timedelta | None = timedelta(seconds=1)  # of urgent jobs; None: nobody yields
    age_step: timedelta | None = None  # a job that waits for so long rises a level; None: never
    only: str | None = None  # takes this job and no other

    def least(self, free: int | None = None) -> Priority:
        """Return the lowest level of which it takes jobs with so many free slots, or with all."""
        free = self.slots if free is None else free
        return Priority.URGENT if free <= self.reserved else Priority.LOW


def listener_of(worker: str, store: Store, clock: Clock, rules: ClaimRules) -> Listener:
    """Return what a worker of some rules wants to hear of."""

    async def due() -> Collection[Wakeup]:
        now = clock.now()
        return {*await store.queue.due(now), *await store.spread.joinable(now)}

    return Listener(
        worker=worker,
        tags=rules.tags,
        due=due,
        left=lambda: store.spread.joinable(clock.now(), besides=worker),
        least=rules.least(),
        choosy=rules.only is not None,
    )


class Slots(Protocol):
    """A worker, as far as its jobs go."""

    @property
    def taken(self) -> int:
        """Return how many jobs it runs."""
        ...

    @property
    def takes_more(self) -> bool:
        """Tell whether it claims at all: it does not once it stops."""
        ...

    def begin(self, claim: Claim) -> None:
        """Run a job that was claimed."""
        ...

    def give_up(self, job_id: str, shard: int) -> None:
        """Stop a job that waits again, or a shard of it: what is in flight is still stored."""
        ...


class Claiming:
    """Fills the slots of one worker."""

    def __init__(self, worker: str, store: Store, clock: Clock, rules: ClaimRules) -> None:
        self._worker = worker
        self._store = store
        self._clock = clock
        self._rules = rules
        self._at_once = 1
        self._looked_at = -LOOK_EVERY_S
        self._joins_at = clock.monotonic()
        self._aged_at = clock.monotonic()

    async def fill(self, slots: Slots) -> None:
        """Claim jobs for the free slots; where there are none, let an urgent job take one.

        Raises:
            StoreUnavailable: the store is away.
        """
        await self._age()
        rules = self._rules
        while slots.takes_more and (free := rules.slots - slots.taken) > 0:
            # one by one, a worker with many slots spends its time on the way to the store; as
            # soon as nothing was found, one question is enough again
            askers = [self._asker(free - n) for n in range(min(free, self._at_once))]
            got = await _together([self._next(asker, slots) for asker in askers])
            self._at_once = 1 if got[0] is None else min(_MOST_AT_ONCE, 2 * self._at_once)
            if None in got:
                return
        if slots.takes_more:
            await self._preempt(slots)

    def _asker(self, free: int) -> Asker:
        """Return who asks for the next job while so many slots are free."""
        rules = self._rules
        return Asker(self._worker, rules.tags, rules.least(free), rules.only)

    async def _next(self, asker: Asker, slots: Slots) -> Claim | None:
        """Claim a job, or a shard of one that runs: what the order of the queue puts first."""
        lease, store = self._rules.lease, self._store
        now, instant = self._clock.now(), self._clock.monotonic()
        if instant >= self._joins_at:  # mostly there is none: then not before every claim
            self._joins_at = instant + LOOK_EVERY_S
            first = store.spread.join(asker, now, lease, in_turn=True)
            if (claim := await _kept(first, slots)) is not None:
                self._joins_at = instant
                return claim
        claim = await _kept(store.leases.claim(asker, now, lease), slots)
        if claim is not None:
            return claim
        return await _kept(store.spread.join(asker, now, lease, in_turn=False), slots)

    async def _preempt(self, slots: Slots) -> None:
        """Let an urgent job that has waited take the slot of a low one, at most once a second."""
        rules, instant = self._rules, self._clock.monotonic()
        if rules.patience is None or rules.only is not None:
            return
        if instant - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = instant
        asker = Asker(self._worker, rules.tags, Priority.URGENT)
        now = self._clock.now()
        await _kept(self._store.queue.preempt(asker, now, rules.lease, rules.patience), slots)

    async def _age(self) -> None:
        """Let jobs rise that have waited for long."""
        step, instant = self._rules.age_step, self._clock.monotonic()
        if step is None:
            return
        least, most = _AGEING_S
        if instant - self._aged_at < min(most, max(least, step.total_seconds() / 10)):
            return
        self._aged_at = instant
        for _ in range(_AGE_ROUNDS):
            if not await self._store.queue.age(self._clock.now(), step):
                return


async def _together(asking: Sequence[Awaitable[Claim | None]]) -> list[Claim | None]:
    """Return what each has come to; also if one fails, or this is cancelled, all are waited for."""
    got = await asyncio.gather(*asking, return_exceptions=True)
    claims: list[Claim | None] = []
    for one in got:
        if isinstance(one, BaseException):
            raise one
        claims.append(one)
    return claims


async def _kept(asking: Awaitable[Claim | Preemption | None], slots: Slots) -> Claim | None:
    """Return what was claimed once it runs: also if this is cancelled, it must be given back."""
    asked = asyncio.ensure_future(asking)
    try:
        got = await asyncio.shield(asked)
    except asyncio.CancelledError:
        _begin(await asked, slots)
        raise
    return _begin(got, slots)


def _begin(got: Claim | Preemption | None, slots: Slots) -> Claim | None:
    if isinstance(got, Preemption):
        _log.info("job %s makes room for job %s", got.yielded.id, got.claim.job.id)
        slots.give_up(got.yielded.id, got.shard)
        got = got.claim
    if got is not None:
        slots.begin(got)
    return got
