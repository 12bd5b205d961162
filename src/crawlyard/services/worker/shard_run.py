"""Shard run: one shard of a spread job until it runs dry, then another shard."""

import random
from collections.abc import Collection, Sequence

from msgspec.structs import replace

from crawlyard.core.crawl.page import ErrorKind, Target
from crawlyard.core.event import Event
from crawlyard.core.jobs.checkpoint import Checkpoint, Claim
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import StateReason
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.shard_end import Last, ShardEnd, Verdict, verdict_on
from crawlyard.core.jobs.spec import Scope, Strategy
from crawlyard.core.jobs.spread import Share
from crawlyard.engine.crawl import Crawl
from crawlyard.engine.crawl_end import NO_START, Start
from crawlyard.engine.shard import Part
from crawlyard.errors import Conflict
from crawlyard.services.worker.run import JobRun, WorkerContext

_FAILED = StateReason.START_FAILED

_OF_MANY_HOSTS = (Scope.SUBDOMAINS, Scope.DOMAIN)
"""Scopes in which a redirect to one host brings in others, which may be in other shards."""


class ShardRun(JobRun):
    """Crawls the hosts of a shard, then of the next, while other workers crawl the rest.

    With *alone*, it stops after the first shard: a parent process supervises that one.
    """

    def __init__(self, claim: Claim, shop: WorkerContext, *, alone: bool = False) -> None:
        super().__init__(claim, shop)
        self._share = claim.share or Share()
        self._alone = alone

    @property
    def part(self) -> str:
        """Return the suffix that names this shard in the log."""
        return f", shard {self.lease.shard}/{self.lease.of}"

    async def _crawl_it(self) -> None:
        await super()._crawl_it()
        while not self._lost and (claim := await self._leave()) is not None:
            self.lease, self._job = claim.lease, claim.job
            self._usage, self._share = claim.shard.usage, claim.share or Share()
            self._begun = False
            if claim.shard.lease_until is not None:
                until = claim.shard.lease_until
                self._lease_guard.renew(until, until - self._shop.recorder.lease)
            await super()._crawl_it()

    async def _start(self) -> Start | None:
        start = await super()._start()
        if start is None:
            return None
        lease = self.lease
        return replace(
            start,
            key=f"{self.job_id}/{lease.shard}",  # its entries in the host gate end with it
            usage=Usage(),
            part=Part(lease.shard, lease.of, self._share),
        )

    async def _load(self, limit: int, without: Collection[str]) -> Sequence[Target]:
        deep = self._job.spec.strategy is Strategy.DEPTH_FIRST
        load, roots = self._shop.store.spread.load, self._shop.store.frontier.roots
        targets = await self._patiently(
            lambda: load(self.lease, limit, depth_first=deep, without=without)
        )
        if targets and self._crawl is not None and self._job.spec.scope in _OF_MANY_HOSTS:
            # read after the load: the redirects that brought these targets in are stored by now
            self._crawl.add_roots(await self._patiently(lambda: roots(self.lease.job_no)))
        return targets

    def _heard(self, crawl: Crawl, answer: Checkpoint) -> None:
        if answer.share is not None:
            crawl.share(answer.share)

    async def _leave(self) -> Claim | None:
        """Release the shard; return the claim of the next one, or ``None`` if there is none."""
        crawl = self._crawl
        end = crawl.end if crawl is not None else None
        stopped = self._draining
        further = end is not None and not (stopped or self._ordered or self._alone)
        failed: frozenset[ErrorKind] = frozenset()
        if end is not None and end.reason is _FAILED:
            groups = await self._patiently(lambda: self._shop.store.pages.errors(self.job_id))
            failed = frozenset(group.kind for group in groups)
        last = Last(
            actor=self._actor,
            stopped=stopped,
            trouble=end.detail if end is not None and end.reason is _FAILED else NO_START,
            failed=failed,
            chance=random.random(),
        )
        now = self._shop.clock.now()
        until = now + self._shop.recorder.lease

        def decide(left: ShardEnd) -> Verdict:
            return verdict_on(left, last, now)

        leave = self._shop.store.spread.leave
        return await self._patiently(lambda: leave(self.lease, now, until, decide, further=further))

    async def _settle(self) -> None:
        """Do nothing: the job was settled with its last shard."""

    async def _save(self, job: Job, *events: Event, again: Collection[ErrorKind] = ()) -> None:
        settle = self._shop.store.leases.settle
        try:
            await self._patiently(lambda: settle(self.lease, job, *events, again=again))
        except Conflict:
            self._draining = True  # someone else changed the job, and their change wins
            await self._leave()


def run_of(claim: Claim, shop: WorkerContext, *, alone: bool = False) -> JobRun:
    """Return the run for a claimed job, or for a shard of one; *alone* as for `ShardRun`."""
    return ShardRun(claim, shop, alone=alone) if claim.lease.shard else JobRun(claim, shop)
