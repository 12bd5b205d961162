"""A job that a worker died of runs alone in a child process, where it harms no other.

The child works under its parent's lease. It dies with its parent: their pipe breaks.
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
from crawlyard.core.jobs.checkpoint import Batch, Checkpoint, Claim, Order
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.engine.crawl import HEARTBEAT_S
from crawlyard.errors import Conflict, NotFound, StoreUnavailable
from crawlyard.services.worker.leased_moves import leased
from crawlyard.services.worker.reclaim import LATE
from crawlyard.services.worker.run import WorkerContext, yield_to

STORE_AWAY = os.EX_TEMPFAIL
"""With this code, a child says that it ended for want of the store: no fault of its job."""

MAY_SEND = "may_send"
"""Beside the lease that a child is given: whether it may begin with requests."""

HELD, GO_ON = b"-", b"+"
"""What a child is told from then on, a byte each time: to send nothing, or to go on."""

_LOOK_EVERY_S = 0.5
_BEFORE_IT_LAPSES_S = 1.5  # its parent judges a child that hangs before others take its lease
_GRACE_S = 1.0  # beyond what requests in flight get, for a child to give its lease back

_log = logging.getLogger(__name__)


class Isolation(Struct, frozen=True):
    """What a child needs to open the same yard."""

    settings: Mapping[str, object]  # JSON values
    turn: asyncio.Semaphore = field(default_factory=partial(asyncio.Semaphore, 1))
    """Held while a child starts: all of a lost worker's jobs at once would starve each other."""


class IsolatedRun:
    """One claimed job, run by a child process."""

    def __init__(self, claim: Claim, shop: WorkerContext, isolation: Isolation) -> None:
        self.lease = claim.lease
        self._shop = shop
        self._isolation = isolation
        self._child: asyncio.subprocess.Process | None = None
        self._begun = False  # the child has its job
        self._kill_at: float | None = None  # set while the worker stops

    @property
    def job_id(self) -> str:
        """Return the id of the job."""
        return self.lease.job_id

    def hold(self, held: bool) -> None:  # noqa: FBT001 - as the licence says
        """Tell the child that nothing may be sent, or that it may again."""
        if self._begun and self._child is not None and self._child.stdin is not None:
            self._child.stdin.write(HELD if held else GO_ON)

    def drain(self, within_s: float) -> None:
        """Tell the child to stop as a worker does; one that does not hear it is killed."""
        self._kill_at = self._shop.clock.monotonic() + within_s + _GRACE_S
        if self._child is not None and self._child.returncode is None:
            self._child.send_signal(signal.SIGTERM if within_s else signal.SIGKILL)

    async def run(self) -> None:
        """Run the child until it ends; if it died, count the loss and queue the job again."""
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
            # it settled the job; only a move by an operator before it began leaves the lease
            await self._shop.store.leases.free(self.lease)

    async def _its_turn(self) -> bool:
        """Wait until a child may start, and keep the lease; tell whether it still is to."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._isolation.turn.acquire()
                return True
            if self._kill_at is not None or not await self._kept():
                return False

    async def _given(self, child: asyncio.subprocess.Process) -> bool:
        """Give the child its job once it says that it is ready; tell whether it has it.

        The lease is kept until then: where many start at once, that takes longer than a
        lease, and is no fault of the job.
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
        await _tell(child, asdict(self.lease) | {MAY_SEND: self._shop.licence.good})
        return True

    async def _kept(self) -> bool:
        """Renew the lease if the store is there; tell whether the job is still to be run."""
        with suppress(StoreUnavailable):
            answer = await self._renewed()
            return answer.order not in {Order.STOP, Order.LOST}
        return True

    async def _renewed(self) -> Checkpoint:
        answer = await self._shop.recorder.record(self.lease, Batch())
        self.lease = answer.lease
        return answer

    async def _wait(self, child: asyncio.subprocess.Process) -> None:
        """Return when the child has ended, must be killed, hangs, or has lost its lease.

        It hangs if it does not renew its lease in time, while this process and the store are
        well. Others who find the lease lapsed cannot know that, and do not blame it.
        """
        patience = self._shop.recorder.lease.total_seconds() - _BEFORE_IT_LAPSES_S
        looked = renewed = self._shop.clock.monotonic()
        held: datetime | None = None
        late = warned = False
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await child.wait()
                return
            now = self._shop.clock.monotonic()
            if self._kill_at is not None and now >= self._kill_at:
                return
            try:
                until = await self._held_until()
            except StoreUnavailable:
                # nor can the child renew it: that is no fault of its job
                renewed = self._shop.clock.monotonic()
                continue
            if until is None:
                return
            now = self._shop.clock.monotonic()
            was_late, late, looked = late, now - looked > LATE.total_seconds(), now
            if until != held or (late and not was_late):  # else it is what makes us late
                held, renewed, warned = until, now, False
            elif now - renewed >= patience:
                if warned:
                    return
                # a read tells nothing of whether it can write: it may wait for others to end
                warned = await self._can_write()
                with suppress(StoreUnavailable):
                    held = await self._held_until()  # by ourselves
                renewed = self._shop.clock.monotonic() - patience + _GRACE_S

    async def _can_write(self) -> bool:
        """Make a checkpoint that says nothing; tell whether that went as it should."""
        began = self._shop.clock.monotonic()
        try:
            await self._renewed()
        except StoreUnavailable:
            return False
        return self._shop.clock.monotonic() - began < LATE.total_seconds()

    async def _held_until(self) -> datetime | None:
        """Return until when the child has its lease, ``None`` if it is ours no more."""
        try:
            shard = (await leased(self._shop.store, self.lease)).shard
        except NotFound:
            return None
        ours = (shard.worker, shard.attempt) == (self.lease.worker, self.lease.attempt)
        return shard.lease_until if ours else None

    async def _lost(self, code: int) -> None:
        """Count a death of the child, unless the job is no longer ours or running."""
        store, now = self._shop.store, self._shop.clock.now()
        try:
            standing = await leased(store, self.lease)
        except NotFound:
            return
        shard = standing.shard
        if (shard.worker, shard.attempt) != (self.lease.worker, self.lease.attempt):
            return  # it had done with its job, and was ended while it tidied up
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
            await yield_to(self._shop, self.lease)


async def _tell(child: asyncio.subprocess.Process, said: object) -> None:
    """Write a line to the child, whose stdin stays open: its end tells it that we died."""
    if child.stdin is not None:
        with suppress(ConnectionError):  # it is dead: its exit code says so
            child.stdin.write(json.dumps(said).encode() + b"\n")
            await child.stdin.drain()
