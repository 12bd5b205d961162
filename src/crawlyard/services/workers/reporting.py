"""Reporting: the status that each worker writes to the store every few seconds."""

import itertools
import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.hosts.hosts import HostReport
from crawlyard.core.jobs.checkpoint import Batch
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.job_log import WAIT_BOUNDS_S
from crawlyard.core.workers.measures import Timing
from crawlyard.core.workers.status import WorkerReport, WorkerWish
from crawlyard.engine.render.process import ProcessUsage
from crawlyard.errors import StoreUnavailable
from crawlyard.store.workers import WorkerStore

LOOK_EVERY = timedelta(milliseconds=500)
"""Interval at which a worker reads the wishes of operators."""

_LOOKS_PER_HEARTBEAT = 4

HEARTBEAT_EVERY = _LOOKS_PER_HEARTBEAT * LOOK_EVERY
ALIVE = 5 * HEARTBEAT_EVERY
"""A worker whose last report is older than this is shown as gone."""

FORGOTTEN_AFTER = timedelta(days=1)
"""Retention of the last report of a killed worker, which is shown as gone."""

_LATELY_S = 10.0
_STATM = Path("/proc/self/statm")

_log = logging.getLogger(__name__)


class WorkerTotals(Struct):
    """Totals over the jobs of a worker since it started."""

    pages: int = 0
    bytes: int = 0
    errors: Counter[str] = field(default_factory=Counter)  # by kind
    waits: Timing = field(default_factory=partial(Timing, bounds_s=WAIT_BOUNDS_S))

    def count_batch(self, batch: Batch) -> None:
        """Count a batch that was written."""
        self.pages += batch.usage.pages
        self.bytes += batch.usage.bytes
        if batch.usage.errors:
            pages = (outcome.page for outcome in batch.outcomes)
            self.errors.update(str(p.error.kind) for p in pages if p is not None and p.error)

    def began(self, job: Job, now: datetime) -> None:
        """Count a claimed job and how long it was due before it was claimed."""
        self.waits.add(max(0.0, (now - job.due_at).total_seconds()))


class _Mark(NamedTuple):
    """A sample of a worker's totals."""

    at: float  # on the monotonic clock
    pages: int
    worked_s: float


class Reporter:
    """Writes the report of one worker while it runs, and reads the wishes of operators."""

    def __init__(
        self,
        name: str,
        store: WorkerStore,
        hosts: Callable[[], Sequence[HostReport]],
        counters: WorkerTotals,
        clock: Clock,
        children: Callable[[], ProcessUsage] = ProcessUsage,
    ) -> None:
        self._name = name
        self._store = store
        self._hosts = hosts
        self._counters = counters
        self._clock = clock
        self._children = children  # usage of the child processes of isolated jobs
        self._lately: deque[_Mark] = deque()

    async def run(
        self, report: Callable[[], WorkerReport], apply: Callable[[WorkerWish], bool]
    ) -> None:
        """Report until cancelled, and pass each wish to *apply*, which returns whether it is new.

        *report* returns a report without the measurements added here. A new wish is reported at
        once, so that the operator sees it take effect.
        """
        for look in itertools.count():
            try:
                if look % _LOOKS_PER_HEARTBEAT == 0:
                    wish = await self._store.save_heartbeat(self.measure(report()))
                else:
                    wish = await self._store.wish(self._name)
                if apply(wish):
                    await self._store.save_heartbeat(self.measure(report()))
            except StoreUnavailable as error:
                _log.debug("no report was written: %s", error)
            await self._clock.sleep(LOOK_EVERY)

    async def leave(self) -> None:
        """Remove the report, as the worker ends."""
        try:
            await self._store.forget(self._name)
        except StoreUnavailable as error:
            _log.debug("the report stays: %s", error)

    def measure(self, report: WorkerReport) -> WorkerReport:
        """Return a report with the worker's totals, load and hosts."""
        counters, children = self._counters, self._children()
        pages_per_s, cpu = self._pace(_cpu_seconds() + children.cpu_s)
        return replace(
            report,
            pages=counters.pages,
            bytes=counters.bytes,
            errors=dict(counters.errors),
            waits=tuple(counters.waits.counts),
            waited_s=round(counters.waits.total_s, 3),
            pages_per_s=round(pages_per_s, 2),
            memory_bytes=_memory() + children.rss_bytes,
            cpu=round(cpu, 2),
            load=round(os.getloadavg()[0], 2),
            hosts=tuple(self._hosts()),
        )

    def _pace(self, worked_s: float) -> tuple[float, float]:
        """Return pages per second and CPU seconds per second over about the last ten seconds."""
        now = _Mark(self._clock.monotonic(), self._counters.pages, worked_s)
        self._lately.append(now)
        while len(self._lately) > 2 and now.at - self._lately[0].at > _LATELY_S:
            self._lately.popleft()
        then = self._lately[0]
        if (passed := now.at - then.at) <= 0:
            return 0.0, 0.0
        worked = max(0.0, now.worked_s - then.worked_s)  # less after a fork server has ended
        return (now.pages - then.pages) / passed, worked / passed


def _cpu_seconds() -> float:
    """Return the CPU time of this process in seconds."""
    spent = os.times()
    return spent.user + spent.system


def _memory() -> int:
    """Return the resident memory of this process in bytes, or 0 if the system does not say."""
    try:
        pages = int(_STATM.read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
