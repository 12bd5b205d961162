"""Claiming of jobs for the slots of a worker, and preemption."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from msgspec import Struct

from crawlyard.clock import Clock
from crawlyard.core.jobs.checkpoint import Asker, Claim, Preemption
from crawlyard.core.jobs.spec import Priority
from crawlyard.core.workers.measures import Timing
from crawlyard.messaging.dispatcher import Listener
from crawlyard.store.store import Store

LOOK_EVERY_S = 1.0
"""Interval between polls for an urgent job to make room for, or a shard to request."""

_AGEING_S = (1.0, 60.0)  # bounds of the interval between ageing runs: a tenth of `age_step`
_MOST_AT_ONCE = 4
"""Maximum concurrent claims, reached while every claim finds a job. They share a transaction
on SQLite and use a connection each on Postgres."""

_AGE_ROUNDS = 10  # of a thousand jobs each, before the worker does something else

_log = logging.getLogger(__name__)


class ClaimRules(Struct, frozen=True, kw_only=True):
    """Rules for the jobs that a worker claims."""

    slots: int
    lease: timedelta
    tags: frozenset[str] = frozenset()  # the worker's own
    reserved: int = 0  # the last slots, which take urgent jobs only
    patience: timedelta | None = timedelta(seconds=1)  # before urgent jobs preempt; None: never
    age_step: timedelta | None = None  # wait that raises a job by a level; None: never
    only: str | None = None  # id of the only job to take

    def least(self, free: int | None = None) -> Priority:
        """Return the lowest level to take with *free* free slots; ``None``: all are free."""
        free = self.slots if free is None else free
        return Priority.URGENT if free <= self.reserved else Priority.LOW

    def listener(self, worker: str) -> Listener:
        """Return which wake-ups a worker with these rules listens for."""
        choosy = self.only is not None
        return Listener(worker=worker, tags=self.tags, least=self.least(), choosy=choosy)


class Claiming:
    """Fills the slots of one worker.

    *free* returns how many slots are free, ``None`` while the worker claims nothing. *begin* starts
    a claimed job; *give_up* stops a preempted one, or a shard of it, whose results in flight are
    still stored.
    """

    def __init__(
        self,
        worker: str,
        store: Store,
        clock: Clock,
        rules: ClaimRules,
        *,
        free: Callable[[], int | None],
        begin: Callable[[Claim], object],
        give_up: Callable[[str, int], object],
        took: Timing | None = None,
    ) -> None:
        self._worker = worker
        self._store = store
        self._clock = clock
        self._rules = rules
        self._free = free
        self._begin = begin
        self._give_up = give_up
        self._took = took or Timing()  # receives the duration of each successful claim
        self._at_once = 1
        self._looked_at = -LOOK_EVERY_S
        self._joins_at = self._asks_at = clock.monotonic()
        self._aged_at = clock.monotonic()

    async def fill(self) -> None:
        """Claim jobs for the free slots; if none is free, let an urgent job preempt a low one.

        Raises:
            StoreUnavailable: the store is unavailable.
        """
        rules = self._rules
        if rules.age_step is not None:
            await self._age(rules.age_step)
        while free := self._free():
            # claiming one by one, a worker with many slots would spend its time on round trips;
            # once nothing is found, one claim at a time is enough again
            askers = [self._asker(free - n) for n in range(min(free, self._at_once))]
            claims = await _together([self._claim_timed(asker) for asker in askers])
            self._at_once = 1 if claims[0] is None else min(_MOST_AT_ONCE, 2 * self._at_once)
            if None in claims:
                await self._request_work()
                return
        if free is not None and rules.patience is not None and rules.only is None:
            await self._preempt(rules.patience)

    def _asker(self, free: int) -> Asker:
        """Return the asker for the next job while *free* slots are free."""
        rules = self._rules
        return Asker(self._worker, rules.tags, rules.least(free), rules.only)

    async def _claim_timed(self, asker: Asker) -> Claim | None:
        began = self._clock.monotonic()
        claim = await self._next(asker)
        if claim is not None:
            self._took.add(self._clock.monotonic() - began)
        return claim

    async def _next(self, asker: Asker) -> Claim | None:
        """Claim a job, or a shard of a running one, whichever is first in the queue."""
        lease, store = self._rules.lease, self._store
        now, instant = self._clock.now(), self._clock.monotonic()
        if instant >= self._joins_at:  # usually no shard is free: don't look before every claim
            self._joins_at = instant + LOOK_EVERY_S
            first = store.spread.join(asker, now, lease, in_turn=True)
            if (claim := await self._start_claimed(first)) is not None:
                self._joins_at = instant
                return claim
        claim = await self._start_claimed(store.leases.claim(asker, now, lease))
        if claim is not None:
            return claim
        return await self._start_claimed(store.spread.join(asker, now, lease, in_turn=False))

    async def _request_work(self) -> None:
        """Request shards from workers that have several of a job, at most once a second.

        They are joined once they are free.
        """
        free, instant = self._free(), self._clock.monotonic()
        if not free or instant < self._asks_at:
            return
        self._asks_at = instant + LOOK_EVERY_S
        asker, now = self._asker(free), self._clock.now()
        await self._store.spread.request_shard(asker, now, free)

    async def _preempt(self, patience: timedelta) -> None:
        """Let an urgent job that has waited preempt a low one, at most once a second."""
        rules, instant = self._rules, self._clock.monotonic()
        if instant - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = instant
        asker = Asker(self._worker, rules.tags, Priority.URGENT)
        now = self._clock.now()
        await self._start_claimed(self._store.queue.preempt(asker, now, rules.lease, patience))

    async def _age(self, step: timedelta) -> None:
        """Raise the level of jobs that have waited for long."""
        instant, (least, most) = self._clock.monotonic(), _AGEING_S
        if instant - self._aged_at < min(most, max(least, step.total_seconds() / 10)):
            return
        self._aged_at = instant
        for _ in range(_AGE_ROUNDS):
            if not await self._store.queue.age(self._clock.now(), step):
                return

    async def _start_claimed(self, asking: Awaitable[Claim | Preemption | None]) -> Claim | None:
        """Start the claimed job and return the claim, even if cancelled: no claim may be lost."""
        claiming = asyncio.ensure_future(asking)
        try:
            await asyncio.shield(claiming)
        finally:
            claim = await claiming
            if isinstance(claim, Preemption):
                _log.info("job %s makes room for job %s", claim.yielded.id, claim.claim.job.id)
                self._give_up(claim.yielded.id, claim.shard)
                claim = claim.claim
            if claim is not None:
                self._begin(claim)
        return claim


async def _together(asking: Sequence[Awaitable[Claim | None]]) -> list[Claim | None]:
    """Wait for all and return the results; a failure or cancellation is raised at the end."""
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    claims: list[Claim | None] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        claims.append(outcome)
    return claims
