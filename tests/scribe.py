"""A worker that crawls nothing and writes numbered lines to the log of one job."""

from crawlyard.clock import Clock
from crawlyard.core.jobs.checkpoint import Asker, Lease
from crawlyard.core.jobs.job_log import Level
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.store.store import Store
from tests.builders import LEASE, a_batch
from tests.builders_serve import a_line


class Scribe:
    """Holds the lease of a job. Messages are the line numbers, from 1 on."""

    def __init__(self, store: Store, clock: Clock, lease: Lease) -> None:
        self.lease = lease
        self.lines = 0
        self._store = store
        self._clock = clock

    async def say(
        self, count: int = 1, level: Level = Level.INFO, *, url: str = "", last: bool = False
    ) -> None:
        """Write so many lines with one checkpoint; the *last* one frees the lease."""
        batch_lines = tuple(
            a_line(str(self.lines + n), level, url=url, at=self._clock.now())
            for n in range(1, count + 1)
        )
        self.lines += count
        batch = a_batch(log=batch_lines, last=last)
        [answer] = await self._store.frontier.record(
            [(self.lease, batch)], self._clock.now(), LEASE
        )
        self.lease = answer.lease

    async def end(self, move: Move = Move.COMPLETE) -> None:
        """End the job, as its worker does."""
        job = (await self._store.jobs.get(self.lease.job_id)).job
        ended = job.apply_move(move, self._clock.now(), actor="worker:w1")
        await self._store.leases.settle(self.lease, *ended)


async def scribe_of(store: Store, clock: Clock, job_id: str) -> Scribe:
    """Return who writes the log of a job that waits to be run."""
    claim = await store.leases.claim(Asker("w1", only=job_id), clock.now(), LEASE)
    assert claim is not None
    return Scribe(store, clock, claim.lease)
