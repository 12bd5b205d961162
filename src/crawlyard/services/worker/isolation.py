"""Isolation: a job that killed a worker runs alone in a child process, where it harms no other.

The child works under its parent's lease. It dies with its parent, because their pipe breaks.
"""

import asyncio
import json
import logging
import os
import random
import signal
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from datetime import datetime
from functools import partial

from msgspec import Struct, field
from msgspec.structs import asdict

from crawlyard.core.event import Event
from crawlyard.core.jobs.checkpoint import Batch, Checkpoint, Claim, Lease, Order
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.engine.crawl import HEARTBEAT_S
from crawlyard.errors import Conflict, StoreUnavailable
from crawlyard.services.worker.leased_moves import held, yield_to
from crawlyard.services.worker.reclaim import LATE
from crawlyard.services.worker.run import WorkerContext

STORE_AWAY = os.EX_TEMPFAIL
"""Exit code of a child that ended because the store was unavailable: not its job's fault."""

MAY_SEND = "may_send"
"""Key sent along with the child's lease: whether it may send requests from the start."""

HELD, GO_ON = b"-", b"+"
"""One-byte messages to a running child: stop sending requests, or resume."""

_LOOK_EVERY_S = 0.5
_BEFORE_IT_LAPSES_S = 1.5  # the parent must act on a hung child before others take the lease
_GRACE_S = 1.0  # time for a child to release its lease, after what requests in flight get

_log = logging.getLogger(__name__)


def seats_of(lease: Lease, pid: int) -> str:
    """Return the name under which a child has seats at hosts; they end with its worker's."""
    return f"{lease.worker}/{pid}"


class Isolation(Struct, frozen=True):
    """What a child needs to open the same instance."""

    settings: Mapping[str, object]  # JSON values
    turn: asyncio.Semaphore = field(default_factory=partial(asyncio.Semaphore, 1))
    """Held while a child starts: a lost worker's jobs would starve each other if all started
    at once."""


class IsolatedRun:
    """One claimed job, run by a child process."""

    def __init__(self, claim: Claim, context: WorkerContext, isolation: Isolation) -> None:
        self.lease = claim.lease
        self._context = context
        self._store, self._clock = context.store, context.clock
        self._isolation = isolation
        self._child: asyncio.subprocess.Process | None = None
        self._begun = False  # the child has its job
        self._kill_at: float | None = None  # set while the worker stops

    @property
    def job_id(self) -> str:
        """Return the id of the job."""
        return self.lease.job_id

    def hold(self, held: bool) -> None:  # noqa: FBT001 - mirrors `SendPermit.good`
        """Tell the child to stop sending requests, or to resume."""
        if self._begun and self._child is not None and self._child.stdin is not None:
            self._child.stdin.write(HELD if held else GO_ON)

    def drain(self, within_s: float) -> None:
        """Ask the child to stop as a worker would; it is killed if it does not stop in time."""
        self._kill_at = self._clock.monotonic() + within_s + _GRACE_S
        if self._child is not None and self._child.returncode is None:
            self._child.send_signal(signal.SIGTERM if within_s else signal.SIGKILL)

    async def run(self) -> None:
        """Run the child until it ends; if it died, count the loss and queue or fail the job."""
        if not await self._its_turn():
            await self._lost(STORE_AWAY)
            return
        with ExitStack() as turn:
            turn.callback(self._isolation.turn.release)
            self._child = child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "crawlyard.child"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            try:
                if self._kill_at is not None:
                    child.terminate()
                given = await self._given(child)
                turn.close()
                if given:
                    await self._wait(child)
            finally:
                if child.returncode is None:
                    child.kill()
                code = await child.wait()
        if code != 0:
            await self._lost(code)
        else:
            # the child settled the job; the lease is left only if an operator moved the job
            # before the child began
            await self._store.leases.free(self.lease)

    async def _its_turn(self) -> bool:
        """Wait for a turn to start, keeping the lease; return whether to still start the child."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._isolation.turn.acquire()
                return True
            if self._kill_at is not None or not await self._kept():
                return False

    async def _given(self, child: asyncio.subprocess.Process) -> bool:
        """Give the child its job once it reports ready; return whether it got it.

        Until then, the parent keeps the lease: when many children start at once, starting
        takes longer than a lease lasts, through no fault of the job.
        """
        await _tell(child, dict(self._isolation.settings))
        ready = asyncio.ensure_future(child.stdout.readline()) if child.stdout else None
        while ready is not None and not ready.done():
            await asyncio.wait((ready,), timeout=HEARTBEAT_S)
            if not ready.done() and not await self._kept():
                ready.cancel()
                return False
        if ready is None or not ready.result():
            return False  # it is dead
        self._begun = True
        await _tell(child, asdict(self.lease) | {MAY_SEND: self._context.permit.good})
        return True

    async def _kept(self) -> bool:
        """Renew the lease if the store is available; return whether the job should still run."""
        with suppress(StoreUnavailable):
            answer = await self._renewed()
            return answer.order not in {Order.STOP, Order.LOST}
        return True

    async def _renewed(self) -> Checkpoint:
        answer = await self._context.recorder.record(self.lease, Batch())
        self.lease = answer.lease
        return answer

    async def _wait(self, child: asyncio.subprocess.Process) -> None:
        """Wait until the child has ended, must be killed, hangs or has lost its lease.

        A child hangs if it does not renew its lease in time while this process and the store
        are healthy. Others that find the lease lapsed cannot know that and do not blame the job.
        """
        patience = self._context.recorder.lease.total_seconds() - _BEFORE_IT_LAPSES_S
        looked = renewed = self._clock.monotonic()
        lapses_at: datetime | None = None
        late = warned = False
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await child.wait()
                return
            now = self._clock.monotonic()
            if self._kill_at is not None and now >= self._kill_at:
                return
            try:
                until = await self._held_until()
            except StoreUnavailable:
                # the child cannot renew its lease either, which is not its job's fault
                renewed = self._clock.monotonic()
                continue
            if until is None:
                return
            now = self._clock.monotonic()
            was_late, late, looked = late, now - looked > LATE.total_seconds(), now
            # being late once is an excuse; being late again may be the child's doing
            if until != lapses_at or (late and not was_late):
                lapses_at, renewed, warned = until, now, False
            elif now - renewed >= patience:
                if warned:
                    return
                # a successful read does not show that the child can write: other writers may
                # keep it waiting
                warned = await self._can_write()
                with suppress(StoreUnavailable):
                    lapses_at = await self._held_until()  # as just renewed by this process
                renewed = self._clock.monotonic() - patience + _GRACE_S

    async def _can_write(self) -> bool:
        """Write an empty checkpoint; return whether that succeeded in time."""
        began = self._clock.monotonic()
        try:
            await self._renewed()
        except StoreUnavailable:
            return False
        return self._clock.monotonic() - began < LATE.total_seconds()

    async def _held_until(self) -> datetime | None:
        """Return the instant at which the lease lapses, or ``None`` if it is no longer ours."""
        standing = await held(self._store, self.lease)
        return standing.shard.lease_until if standing is not None else None

    async def _lost(self, code: int) -> None:
        """Count a death of the child, unless the job is no longer ours or no longer running."""
        store, now = self._store, self._clock.now()
        if self._child is not None:
            await store.hosts.leave(seats_of(self.lease, self._child.pid))
        standing = await held(store, self.lease)
        if standing is None:
            return  # the child was done with its job and died while cleaning up
        _log.warning("a child died of job %s (exit code %d)", self.job_id, code)
        if standing.job.state is not State.RUNNING:
            await store.leases.free(self.lease)
            return
        actor = f"worker:{self.lease.worker}"
        at_fault = self._kill_at is None and code != STORE_AWAY
        chance = random.random()

        def lost(job: Job) -> tuple[Job, Event]:
            return job.lost(now, actor=actor, in_child=at_fault, chance=chance)

        if self.lease.shard:
            await store.spread.lose(self.lease, now, lost)
            return
        job, event = lost(standing.job)
        try:
            await store.leases.settle(self.lease, job, event)
        except Conflict:
            await yield_to(store, self._clock, self.lease)


async def _tell(child: asyncio.subprocess.Process, said: object) -> None:
    """Write a line to the child's stdin, which stays open: end of file means the parent died."""
    if child.stdin is not None:
        with suppress(ConnectionError):  # the child is dead, and its exit code will say so
            child.stdin.write(json.dumps(said).encode() + b"\n")
            await child.stdin.drain()
