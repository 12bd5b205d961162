"""Isolation in a child process of a job that was lost with earlier workers.

The child works under its parent's lease and by its parent's connections to the database, and dies
with its parent.
"""

import asyncio
import logging
import random
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.clock import Course, SystemClock
from crawlyard.config import Settings
from crawlyard.core.events.event import Event
from crawlyard.core.hosts.hosts import HostReport
from crawlyard.core.jobs.checkpoint import Batch, Checkpoint, Claim, Lease, Order
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.engine.crawl import HEARTBEAT_S
from crawlyard.errors import Conflict, StoreUnavailable
from crawlyard.services.workers.channel import (
    Call,
    Channel,
    ChildStart,
    Drain,
    Hold,
    Obey,
    Report,
    answer,
)
from crawlyard.services.workers.fork_server import EXIT_UNAVAILABLE, Fork, ForkServer
from crawlyard.services.workers.leased_moves import find_leased, yield_to
from crawlyard.services.workers.reclaim import LATE
from crawlyard.services.workers.run import JobRun, WorkerContext

_LOOK_EVERY_S = 0.5
_BEFORE_IT_LAPSES_S = 1.5  # the parent must act on a hung child before other workers take the lease
_GRACE_S = 1.0  # time for a child to release its lease, after what requests in flight get
_LOST_S = 3.0  # time for a child to end after its lease was lost

_log = logging.getLogger(__name__)


def child_asker(lease: Lease, pid: int) -> str:
    """Return the name under which a child holds host slots; they end with its worker's."""
    return f"{lease.worker}/{pid}"


class Isolation(Struct, frozen=True):
    """Settings and fork server, shared by the children of a process."""

    settings: Settings
    forks: ForkServer


class IsolatedRun:
    """One claimed job, run by a child process."""

    is_lost = False  # of a lost lease, only the child knows

    def __init__(self, claim: Claim, context: WorkerContext, isolation: Isolation) -> None:
        self.lease = claim.lease
        self.job = claim.job  # as last read
        self.hosts = tuple[HostReport, ...]()  # as the child last reported them
        self._claim = claim
        self._context = context
        self._store, self._clock = context.store, context.clock
        self._isolation = isolation
        self._channel: Channel | None = None  # set while the child has its job
        self._child: Fork | None = None
        self._kill_at: float | None = None  # set while the worker stops, or after a lost lease
        self._calls = 0  # of the child, under way
        self._heard_at = 0.0  # when the child last recorded something

    @property
    def job_id(self) -> str:
        """Job that the child runs."""
        return self.lease.job_id

    def hold(self, is_held: bool) -> None:  # noqa: FBT001 - mirrors `SendPermit.good`
        """Tell the child to stop sending requests, or to resume."""
        self._send(Hold(is_held))

    def apply_order(self, order: Order, asked_at: datetime) -> None:
        """Pass on an order that was read from the store at *asked_at*."""
        if order is Order.LOST and self._kill_at is None:
            self._kill_at = self._clock.monotonic() + _LOST_S
        oldest = self._context.permit.round_trip.oldest
        self._send(Obey(order=order, asked_at=asked_at, oldest=oldest, course=self._course()))

    def drain(self, within_s: float) -> None:
        """Ask the child to stop as a worker would; it is killed if it does not stop in time."""
        self._kill_at = self._clock.monotonic() + within_s + _GRACE_S
        if within_s:
            self._send(Drain(within_s))
        elif self._child is not None:
            self._child.kill()

    async def run(self) -> None:
        """Run the child until it ends; if it died, count the loss and queue or fail the job."""
        connection, of_child = socket.socketpair()
        child = await self._wait_for_fork(of_child)
        if child is None or self._kill_at is not None:
            connection.close()  # by which a child that starts after all ends
            await self._count_death(EXIT_UNAVAILABLE)
            return
        self._child = child
        self._channel = channel = await Channel.over(connection)
        serving = asyncio.create_task(self._serve(channel))
        try:
            self._send(
                ChildStart(
                    settings=self._isolation.settings,
                    claim=self._claim,
                    may_send=self._context.permit.good,
                    course=self._course(),
                )
            )
            await self._wait(child)
        finally:
            self._channel = None
            child.kill()
            code = await child.exit_code
            await serving  # finish the calls of the child before its job is requeued
            await channel.close()
        if code != 0:
            await self._count_death(code)

    async def _wait_for_fork(self, connection: socket.socket) -> Fork | None:
        """Return a child with *connection*, ``None`` if there is none or the job was stopped.

        Meanwhile, the parent keeps the lease: where the fork server has to start, that may take
        longer than a lease lasts.
        """
        forking = asyncio.ensure_future(self._isolation.forks.fork(connection))
        forking.add_done_callback(lambda _: forking.cancelled() or forking.exception())
        while True:
            await asyncio.wait((forking,), timeout=HEARTBEAT_S)
            if forking.done():
                break
            if self._kill_at is not None or not await self._renew():
                return None
        try:
            return forking.result()
        except OSError as error:
            _log.warning("no child can be started for job %s: %s", self.job_id, error)
            return None

    async def _renew(self) -> bool:
        """Renew the lease if the store is available; return whether the job should still run."""
        recorder, claim, asked_at = self._context.recorder, self._claim, self._clock.now()
        with suppress(StoreUnavailable):
            answer = await recorder.record(self.lease, Batch())
            # with the old version, the child's first checkpoint reports an edit
            self.lease = replace(answer.lease, version=self.lease.version)
            shard = replace(claim.shard, lease_until=asked_at + recorder.lease)
            self._claim = replace(claim, lease=self.lease, shard=shard)
            return answer.order not in {Order.STOP, Order.LOST}
        return True

    def _send(self, message: object) -> None:
        if self._channel is not None:
            self._channel.send(message)

    def _course(self) -> Course | None:
        return self._clock.course() if isinstance(self._clock, SystemClock) else None

    # -- calls and reports of the child -----------------------------------------------------------

    async def _serve(self, channel: Channel) -> None:
        """Answer the calls of the child, and keep its reports, until it has ended."""
        async with asyncio.TaskGroup() as calls:
            while (message := await channel.receive()) is not None:
                if isinstance(message, Call):
                    calls.create_task(self._answer(channel, message))
                elif isinstance(message, Report):
                    self.hosts = message.hosts
                    if self._child is not None:
                        self._child.usage = message.usage
                    self._context.measures.merge(message.measures)

    async def _answer(self, channel: Channel, call: Call) -> None:
        self._calls += 1
        try:
            await answer(channel, call, self._method(call))
        finally:
            self._calls -= 1

    def _method(self, call: Call) -> Callable[..., Any]:
        if (call.part, call.method) == ("frontier", "record"):
            return self._record
        if call.part == "bus":
            part: object = self._context.progress.bus
        else:
            part = getattr(self._store, call.part)
        method: Callable[..., Any] = getattr(part, call.method)
        return method

    async def _record(
        self, entries: Sequence[tuple[Lease, Batch]], *_: object
    ) -> Sequence[Checkpoint]:
        """Record batches of the child together with those of other jobs, and count them."""
        self._heard_at = self._clock.monotonic()
        answers = []
        for lease, batch in entries:  # the child has one job, and so one entry
            answer = await self._context.recorder.record(lease, batch)
            answers.append(answer)
            if answer.order is not Order.LOST:
                self.lease = answer.lease
                self.job = answer.job or self.job
                self._context.counters.count_batch(batch)
        return answers

    # -- the end ---------------------------------------------------------------------------

    async def _wait(self, child: Fork) -> None:
        """Wait until the child has ended or must be killed, or hangs.

        A child hangs if it records nothing for so long that its lease would soon lapse, while
        this process is healthy and has nothing to do for it.
        """
        patience = self._context.recorder.lease.total_seconds() - _BEFORE_IT_LAPSES_S
        self._heard_at = looked = self._clock.monotonic()
        late = False
        while not child.exit_code.done():
            await asyncio.wait((child.exit_code,), timeout=_LOOK_EVERY_S)
            now = self._clock.monotonic()
            if self._kill_at is not None and now >= self._kill_at:
                return
            was_late, late, looked = late, now - looked > LATE.total_seconds(), now
            # being late once is an excuse; being late again may be the child's doing
            if self._calls or (late and not was_late):
                self._heard_at = now
            elif now - self._heard_at >= patience:
                return

    async def _count_death(self, code: int) -> None:
        """Count a death of the child, unless the job is no longer ours or no longer running."""
        store, now = self._store, self._clock.now()
        if self._child is not None:
            await store.hosts.release_slots(child_asker(self.lease, self._child.pid))
        standing = await find_leased(store, self.lease)
        if standing is None:
            return  # the child was done with its job and died while cleaning up
        _log.warning("the child process of job %s died (exit code %d)", self.job_id, code)
        if standing.job.state is not State.RUNNING:
            await store.leases.free(self.lease)
            return
        actor = f"worker:{self.lease.worker}"
        at_fault = self._kill_at is None and code != EXIT_UNAVAILABLE
        chance = random.random()

        def lost(job: Job) -> tuple[Job, Event]:
            return job.lose_worker(now, actor=actor, in_child=at_fault, chance=chance)

        if self.lease.shard:
            await store.spread.lose(self.lease, now, lost)
            return
        job, event = lost(standing.job)
        try:
            await store.leases.settle(self.lease, job, event)
        except Conflict:
            await yield_to(store, self._clock, self.lease)


Run: TypeAlias = JobRun | IsolatedRun
"""A run of a job, in this process or in a child."""
