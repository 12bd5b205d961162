"""Recorder: checkpoints of all jobs of a worker, several in one transaction."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, TypeAlias, TypeVar

from crawlyard.clock import Clock
from crawlyard.core.jobs.checkpoint import Batch, Checkpoint, Lease
from crawlyard.core.workers.measures import Timing
from crawlyard.errors import StoreUnavailable
from crawlyard.store.crawl.frontier import FrontierStore

T = TypeVar("T")

Renewed: TypeAlias = Callable[[datetime], object]
"""Called when a lease has been renewed while its checkpoint is under way: until when it lasts."""

_Waiting: TypeAlias = tuple[Lease, Batch, Renewed, "asyncio.Future[Checkpoint]"]

TICK_S = 0.05
"""Minimum time between two commits, however many jobs run: a hundred slow crawls must not
make four hundred commits a second. A batch that ends a crawl does not wait."""


class Recorder:
    """Collects batches and records them together."""

    def __init__(
        self,
        frontier: FrontierStore,
        clock: Clock,
        lease: timedelta,
        took: Timing | None = None,
    ) -> None:
        self._frontier = frontier
        self._took = took or Timing()  # receives the duration of each transaction
        self._clock = clock
        self.lease = lease  # the duration by which each checkpoint renews a lease
        self._waiting: list[_Waiting] = []
        self._urgent = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._committed = 0.0

    async def record(
        self, lease: Lease, batch: Batch, renewed: Renewed = lambda _: None
    ) -> Checkpoint:
        """Record a batch and return the store's answer; see `FrontierStore.record`.

        If that takes long, the lease of a shard is renewed meanwhile.

        Raises:
            StoreUnavailable: nothing was written; the same batch may be recorded again.
        """
        answer: asyncio.Future[Checkpoint] = asyncio.get_running_loop().create_future()
        self._waiting.append((lease, batch, renewed, answer))
        if batch.last:
            self._urgent.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._commit())
        return await answer

    async def _commit(self) -> None:
        while self._waiting:
            await self._until_tick()
            entries, self._waiting = self._waiting, []
            self._urgent.clear()
            await self._write(entries)
            self._committed = self._clock.monotonic()

    async def _write(self, waiting: Sequence[_Waiting]) -> None:
        entries = [(lease, batch) for lease, batch, *_ in waiting]
        began = self._clock.monotonic()
        recording = self._frontier.record(entries, self._clock.now(), self.lease)
        try:
            leases = [(lease, renewed) for lease, _, renewed, _ in waiting]
            answers = await self.renewing(recording, leases)
        except Exception as error:  # noqa: BLE001 - it is passed on to the callers
            if len(waiting) > 1 and not isinstance(error, StoreUnavailable):
                for entry in waiting:  # a defect in one job's batch must not affect other jobs
                    await self._write([entry])
                return
            for *_, future in waiting:
                if not future.done():
                    future.set_exception(error)
            return
        self._took.add(self._clock.monotonic() - began)
        for (*_, future), answer in zip(waiting, answers, strict=True):
            if not future.done():
                future.set_result(answer)

    async def renewing(
        self,
        work: Coroutine[Any, Any, T],
        leases: Sequence[tuple[Lease, Renewed]],
        age: timedelta = timedelta(0),
    ) -> T:
        """Return the result of *work*, and renew the leases of shards as long as it takes.

        They were renewed *age* ago. *work* may wait for other shards of the job. A whole job is
        locked by its own checkpoint and does not wait.
        """
        shards = [(lease, renewed) for lease, renewed in leases if lease.shard]
        if not shards:
            return await work
        working = asyncio.ensure_future(work)
        often_s = self.lease.total_seconds() / 4
        wait_s = max(0.0, often_s - age.total_seconds())
        while True:
            try:
                done, _ = await asyncio.wait((working,), timeout=wait_s)
            except asyncio.CancelledError:
                working.cancel()
                raise
            if done:
                return working.result()
            wait_s = often_s
            until = self._clock.now() + self.lease
            with suppress(StoreUnavailable):
                await self._frontier.renew([lease for lease, _ in shards], until)
                for _, renewed in shards:
                    renewed(until)

    async def _until_tick(self) -> None:
        wait = self._committed + TICK_S - self._clock.monotonic()
        if wait > 0 and not self._urgent.is_set():
            try:
                async with asyncio.timeout(wait):
                    await self._urgent.wait()
            except TimeoutError:
                return
