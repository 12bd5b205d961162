"""What a worker says of itself every few seconds, for those who look."""

import logging
import os
import socket
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from crawlyard.about import VERSION
from crawlyard.clock import Clock
from crawlyard.core.checkpoint import Batch
from crawlyard.core.job import Job
from crawlyard.core.watch import WAIT_BOUNDS_S, WorkerReport
from crawlyard.engine.hosts import HostGate
from crawlyard.errors import StoreUnavailable
from crawlyard.store.base import WorkerStore

BEAT_EVERY = timedelta(seconds=2)
ALIVE = 5 * BEAT_EVERY
"""A worker that has not said anything for longer is taken for gone by those who look."""

FORGOTTEN_AFTER = timedelta(days=1)
"""The report of a worker that was killed is shown as gone for as long."""

_LATELY_S = 10.0
_STATM = Path("/proc/self/statm")

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Deeds:
    """What the jobs of a worker have come to since it began."""

    pages: int = 0
    bytes: int = 0
    errors: Counter[str] = field(default_factory=Counter)  # by kind
    waits: list[int] = field(default_factory=lambda: [0] * (len(WAIT_BOUNDS_S) + 1))
    waited_s: float = 0.0

    def recorded(self, batch: Batch) -> None:
        """Take note of a batch that was written."""
        self.pages += batch.usage.pages
        self.bytes += batch.usage.bytes
        pages = (outcome.page for outcome in batch.outcomes)
        self.errors.update(str(p.error) for p in pages if p is not None and p.error is not None)

    def began(self, job: Job, now: datetime) -> None:
        """Take note of a job that was claimed: how long it was due before."""
        wait_s = max(0.0, (now - job.due_at).total_seconds())
        self.waits[bisect_left(WAIT_BOUNDS_S, wait_s)] += 1
        self.waited_s += wait_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a worker is at right now."""

    slots: int
    running: Collection[str]
    stopping: bool


class Reporter:
    """Writes the report of one worker, until it is gone."""

    def __init__(
        self, name: str, store: WorkerStore, gate: HostGate, deeds: Deeds, clock: Clock
    ) -> None:
        self._name = name
        self._store = store
        self._gate = gate
        self._deeds = deeds
        self._clock = clock
        self._began = clock.now()
        self._lately: deque[tuple[float, int]] = deque()  # when, and pages by then

    async def run(self, standing: Callable[[], Standing]) -> None:
        """Report until cancelled."""
        while True:
            try:
                await self._store.beat(self.report(standing()))
            except StoreUnavailable as error:
                _log.debug("no report was written: %s", error)
            await self._clock.sleep(BEAT_EVERY)

    async def leave(self) -> None:
        """Take the report back: the worker ends."""
        try:
            await self._store.forget(self._name)
        except StoreUnavailable as error:
            _log.debug("the report stays: %s", error)

    def report(self, standing: Standing) -> WorkerReport:
        """Return what there is to say now."""
        deeds = self._deeds
        return WorkerReport(
            id=self._name,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=VERSION,
            slots=standing.slots,
            running=tuple(standing.running),
            pages=deeds.pages,
            bytes=deeds.bytes,
            errors=dict(deeds.errors),
            waits=tuple(deeds.waits),
            waited_s=round(deeds.waited_s, 3),
            pages_per_s=round(self._pace(), 2),
            memory_bytes=_memory(),
            load=round(os.getloadavg()[0], 2),
            stopping=standing.stopping,
            hosts=tuple(self._gate.reports()),
            started_at=self._began,
            beat_at=self._clock.now(),
        )

    def _pace(self) -> float:
        """Return pages a second over the last seconds."""
        now, pages = self._clock.monotonic(), self._deeds.pages
        self._lately.append((now, pages))
        while len(self._lately) > 2 and now - self._lately[0][0] > _LATELY_S:
            self._lately.popleft()
        then, before = self._lately[0]
        return (pages - before) / (now - then) if now > then else 0.0


def _memory() -> int:
    """Return the resident memory of this process in bytes, 0 where the system does not say."""
    try:
        pages = int(_STATM.read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
