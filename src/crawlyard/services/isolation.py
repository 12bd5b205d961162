"""A job that a worker died of runs alone in a child process, where it harms no other.

The child works under its parent's lease. It dies with its parent: their pipe breaks.
"""

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from crawlyard.core.checkpoint import Claim
from crawlyard.core.lifecycle import State
from crawlyard.errors import Conflict, NotFound
from crawlyard.services.run import Workshop

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Isolation:
    """What a child needs to open the same yard."""

    settings: Mapping[str, object]  # JSON values


class IsolatedRun:
    """One claimed job, run by a child process."""

    def __init__(self, claim: Claim, shop: Workshop, isolation: Isolation) -> None:
        self.lease = claim.lease
        self._shop = shop
        self._isolation = isolation
        self._child: asyncio.subprocess.Process | None = None
        self._draining = False

    @property
    def job_id(self) -> str:
        """Return the id of the job."""
        return self.lease.job_id

    def drain(self, within_s: float) -> None:
        """Tell the child to stop as a worker does; it knows how long requests get."""
        self._draining = True
        if self._child is not None and self._child.returncode is None:
            self._child.send_signal(signal.SIGTERM if within_s else signal.SIGKILL)

    async def run(self) -> None:
        """Run the child until it ends; if it died, count the loss and queue the job again."""
        order = {"settings": dict(self._isolation.settings), "lease": asdict(self.lease)}
        self._child = child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "crawlyard.child", stdin=asyncio.subprocess.PIPE
        )
        try:
            if child.stdin is not None:
                child.stdin.write(json.dumps(order).encode() + b"\n")
                await child.stdin.drain()  # left open: its end tells the child that we died
            if self._draining:
                child.terminate()
            code = await child.wait()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        if code != 0:
            await self._lost(code)
        else:
            # it settled the job; only a move by an operator before it began leaves the lease
            await self._shop.store.leases.free(self.lease)

    async def _lost(self, code: int) -> None:
        """Count a death of the child, unless the job is no longer ours or running."""
        store, now = self._shop.store, self._shop.clock.now()
        try:
            standing = await store.jobs.get(self.job_id)
        except NotFound:
            return
        _log.warning("a child died of job %s (exit code %d)", self.job_id, code)
        shard = standing.shard
        if (shard.worker, shard.attempt) != (self.lease.worker, self.lease.attempt):
            return
        if standing.job.state is not State.RUNNING:
            await store.leases.free(self.lease)
            return
        actor = f"worker:{self.lease.worker}"
        job, event = standing.job.lost(now, actor=actor, in_child=not self._draining)
        try:
            await store.leases.settle(self.lease, job, event)
        except Conflict:
            await store.leases.free(self.lease)
