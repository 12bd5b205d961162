"""Ticket dispatcher: wake-ups between machines, as Procrastinate jobs ("tickets") in Postgres.

A ticket is deferred in the transaction that makes a job due. It says only that work is due;
the worker that takes it claims whatever is first in our queue by then. Procrastinate's tables,
notifications and worker are used; its retries, locks and statuses are not.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace
from procrastinate import JobContext
from procrastinate.exceptions import AppNotOpen, ConnectorException
from psycopg import Error
from psycopg_pool import PoolClosed, PoolTimeout

from crawlyard.clock import Clock
from crawlyard.core.jobs.queue import Wakeup
from crawlyard.core.jobs.spec import Priority
from crawlyard.dispatch.base import Bell, Listener, LookForDue, Presence
from crawlyard.dispatch.local import LocalBell, LocalDispatcher
from crawlyard.dispatch.locks import LockPresence
from crawlyard.dispatch.tickets import (
    BELL,
    CHORES,
    QUEUE,
    RECONCILE,
    TICKET,
    Queues,
    app_on,
    plain,
    queue_of,
)
from crawlyard.errors import StoreUnavailable

POLL_S = 1.0
"""Longest delay of a ticket for later, or of one whose notification was lost."""

_DEAD_S = 30.0
"""A Procrastinate worker without a heartbeat for this long is dead; one is sent every 10 s."""

_AGAIN_S = 0.5
_SOON = timedelta(minutes=1)
"""Work due later than this gets no ticket. Each waiting ticket makes every fetch slower (by
0.1 µs, so 10 ms with 100,000), and would come no sooner than a poll."""

_CALM_S = 60.0  # a worker that fails after running for longer is logged again
_LEAVE_S = 3.0
_TROUBLE = (AppNotOpen, ConnectorException, Error, PoolClosed, PoolTimeout, OSError)

# Queues of the tickets that could be taken now.
_WAITING = """
    SELECT DISTINCT queue_name FROM procrastinate_jobs
    WHERE status = 'todo' AND task_name = %(task)s
      AND (scheduled_at IS NULL OR scheduled_at <= now())
"""
# Rows left `doing` by dead workers. worker_id is NULL once the row of the worker was pruned.
_SWEEP = """
    DELETE FROM procrastinate_jobs WHERE id IN (
      SELECT job.id FROM procrastinate_jobs job
      LEFT JOIN procrastinate_workers worker ON worker.id = job.worker_id
      WHERE job.status = 'doing' AND job.queue_name LIKE %(ours)s
        AND (worker.id IS NULL OR worker.last_heartbeat < now() - make_interval(secs => %(dead)s))
      FOR UPDATE OF job SKIP LOCKED
    ) RETURNING id
"""
_SEEN = """
    SELECT id FROM procrastinate_jobs
    WHERE status = 'todo' AND task_name = %(task)s AND queue_name = ANY(%(queues)s)
      AND (scheduled_at IS NULL OR scheduled_at <= now())
    LIMIT 10000
"""
_DROP = """
    DELETE FROM procrastinate_jobs WHERE id IN (
      SELECT id FROM procrastinate_jobs
      WHERE status = 'todo' AND id = ANY(%(ids)s::bigint[]) FOR UPDATE SKIP LOCKED
    ) RETURNING id
"""

_log = logging.getLogger(__name__)


class TicketDispatcher(LocalDispatcher):
    """Defers tickets, and takes them for the workers of this process.

    *url* must lead to the server itself or to a pooler in session mode, because notifications
    are delivered only to a session with a connection of its own.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        super().__init__()
        _hush()
        self._url = plain(url)
        self._clock = clock
        self._app = app_on(url)
        self._app.task(name=TICKET, pass_context=True)(_taken)
        # Runs each minute, once for all workers together. It also makes Procrastinate supervise its
        # side tasks: without a periodic task, it doesn't notice a listener that has failed.
        reconcile = self._app.task(name=RECONCILE, pass_context=True)(_reconciled)
        self._app.periodic(cron="* * * * *", queue=CHORES)(reconcile)

    async def defer(self, connection: Any, dues: Collection[Wakeup]) -> None:
        """Defer tickets in the current transaction of *connection*, a psycopg connection.

        Work with the same needs that is due now, or in the same second, shares one ticket: the
        worker that takes it continues until nothing is left, or passes the ticket on. Work due
        more than a minute from now gets none.

        Raises:
            psycopg.Error: the transaction has failed.
        """
        now = self._clock.now()
        for due in sorted({_by_the_second(due, now) for due in dues if due.at - now <= _SOON}):
            ticket = self._app.configure_task(
                TICKET,
                queue=queue_of(due),
                schedule_at=due.at if due.at > now else None,
                connection=connection,
            )
            try:
                await ticket.defer_async()
            except ConnectorException as error:
                raise (error.__cause__ or error) from None

    @asynccontextmanager
    async def bell(self, listener: Listener) -> AsyncIterator[Bell]:
        """Return a bell rung by tickets and by announcements in this process."""
        if listener.choosy:
            async with super().bell(listener) as plain_bell:
                yield plain_bell
            return
        bell = TicketBell(listener, self)
        self._bells.add(bell)
        taking = asyncio.create_task(self._take(listener, bell))
        try:
            yield bell
        finally:
            self._bells.discard(bell)
            bell.close()
            await _ended(taking)

    @asynccontextmanager
    async def presence(self, worker: str, changed: Callable[[], None]) -> AsyncIterator[Presence]:
        """Hold the worker's lock, and return the liveness of others by their locks."""
        locks = LockPresence(self._url, worker, self._clock, changed)
        async with locks.shown():
            yield locks

    async def pass_on(self, look: LookForDue, kept: Collection[str] = ()) -> None:
        """Defer missing tickets for the work that *look* returns, except in the queues *kept*."""
        try:
            queues = {queue_of(due) for due in await look()}.difference(kept)
            rows = await self._rows(_WAITING, task=TICKET) if queues else []
            for queue in sorted(queues.difference(row["queue_name"] for row in rows)):
                await self._app.configure_task(TICKET, queue=queue).defer_async()
        except (*_TROUBLE, StoreUnavailable) as error:
            _log.debug("no ticket was passed on: %s", error)

    async def reconcile(self, listener: Listener) -> None:
        """Delete tickets left by dead workers, and defer tickets for due work without one."""
        try:
            swept = await self._rows(_SWEEP, ours=f"{QUEUE}%", dead=_DEAD_S)
        except _TROUBLE as error:
            _log.debug("no ticket was swept: %s", error)
            return
        if swept:
            _log.info("%d tickets of dead workers were swept", len(swept))
        await self.pass_on(listener.due)

    async def seen(self, queues: Collection[str]) -> list[int]:
        """Return the ids of waiting tickets in *queues*."""
        try:
            return [row["id"] for row in await self._rows(_SEEN, task=TICKET, queues=list(queues))]
        except _TROUBLE:
            return []

    async def drop(self, tickets: Collection[int]) -> None:
        """Delete waiting tickets that are obsolete."""
        with suppress(*_TROUBLE):
            await self._rows(_DROP, ids=list(tickets))

    async def close(self) -> None:
        """Close the connections."""
        with suppress(*_TROUBLE):
            await self._app.close_async()

    async def _take(self, listener: Listener, bell: "TicketBell") -> None:
        """Take tickets until cancelled; keep retrying while the database is unavailable."""
        told = False
        while True:
            began, why = self._clock.monotonic(), "the connection ended"
            try:
                await self._app.open_async()
                await self._app.run_worker_async(
                    queues=bell.queues,
                    name=listener.worker,
                    concurrency=1,
                    fetch_job_polling_interval=POLL_S,
                    delete_jobs="always",
                    install_signal_handlers=False,
                    shutdown_graceful_timeout=_AGAIN_S,
                    stalled_worker_timeout=_DEAD_S,
                    additional_context={BELL: bell},
                )
            except Exception as error:  # noqa: BLE001 - whatever it is, try again
                why = str(error.__cause__ or error).strip()
                await self.close()
            if not told or self._clock.monotonic() - began > _CALM_S:
                told = True
                _log.warning("wake-ups are interrupted, polls go on; trying again: %s", why)
            await asyncio.sleep(_AGAIN_S)

    async def _rows(self, query: Any, **given: object) -> list[dict[str, Any]]:
        await self._app.open_async()
        rows: list[dict[str, Any]] = await self._app.connector.execute_query_all_async(
            query, **given
        )
        return rows


def _by_the_second(due: Wakeup, now: datetime) -> Wakeup:
    """Return *due* rounded up to a whole second, or to *now* if past, to bound the tickets."""
    soon = due.at.replace(microsecond=0) + timedelta(seconds=1)
    return replace(due, at=now if due.at <= now else soon)


def _hush() -> None:
    """Silence Procrastinate's logs except at DEBUG level, since we log its failures ourselves."""
    if not _log.isEnabledFor(logging.DEBUG):
        for name in ("procrastinate", "psycopg.pool"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


async def _taken(context: JobContext) -> None:
    bell: TicketBell = context.additional_context[BELL]
    await bell.taken(context.job.queue)


async def _reconciled(context: JobContext, timestamp: int) -> None:  # noqa: ARG001 - Procrastinate passes it
    bell: TicketBell = context.additional_context[BELL]
    await bell.reconcile()


async def _ended(taking: "asyncio.Task[None]") -> None:
    """Cancel a task and wait briefly for its end, as its server may be unavailable."""
    for _ in range(2):  # the first cancellation shuts down gracefully
        taking.cancel()
        done, _ = await asyncio.wait((taking,), timeout=_LEAVE_S)
        if done:
            return


_BACKLOG = 3
"""After this many quick tickets that left no work, drop those that waited before a look."""

_AT_ONCE_S = 0.1  # tickets of a backlog come faster; checking for more costs 1 ms each


class TicketBell(LocalBell):
    """Bell of one worker, rung by the tickets taken for it.

    A ticket is held until its worker has looked for work. If the worker leaves work that
    others can take, the ticket is passed on, and the worker takes no such tickets until it
    looks again. While it looks, it takes all tickets, so that one that arrives too late for
    that look is not missed.
    """

    def __init__(self, listener: Listener, office: TicketDispatcher) -> None:
        super().__init__()
        self.queues = Queues(listener.tags)
        self.queues.take(listener.least)
        self._listener = listener
        self._office = office
        self._asked: list[asyncio.Future[None]] = []  # waiting for the next look
        self._looking: list[asyncio.Future[None]] = []  # waiting for the current look to end
        self._least: Priority | None = listener.least
        self._closed = False
        self._looks = 0
        self._idle_tickets = 0  # in quick succession, after which no work was left
        self._ended_at = 0.0  # when the last of them ended, by the loop's clock

    async def wait(self, at_most: timedelta, *, least: Priority | None = Priority.LOW) -> None:
        """Return when the bell was rung since the last call, or after *at_most*."""
        self._least = least
        self.queues.take(least)
        self._answer(self._looking)
        await super().wait(at_most)
        self._looks += 1
        self.queues.take(self._listener.least)
        # tickets that arrive from here on may be too late for the look that follows
        self._looking, self._asked = self._asked, []

    async def taken(self, queue: str) -> None:
        """Ring for a ticket of *queue*; return when the ticket is no longer needed."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._ended_at > _AT_ONCE_S:
            self._idle_tickets = 0
        before, stale = self._least, await self._stale()
        if not self._closed:
            looked = loop.create_future()
            self._asked.append(looked)
            self.ring()
            await looked
        least = None if self._closed else self._least
        if least is not Priority.LOW:
            await self._office.pass_on(self._listener.due, self.queues.of(least))
        if least is None:
            self._idle_tickets = 0
            return
        if queue in self.queues.of(least, jobs=False):
            await self._leave_to_others()
        self._idle_tickets += 1
        if stale and least is before:
            await self._office.drop(stale)
        self._ended_at = loop.time()

    async def reconcile(self) -> None:
        """Restore lost tickets, for all workers."""
        await self._office.reconcile(self._listener)

    def close(self) -> None:
        """Take no more tickets, because the worker ends; held ones are passed on to others."""
        self._closed = True
        self.queues.close()
        self._answer(self._asked)
        self._answer(self._looking)

    async def _stale(self) -> list[int]:
        """Return the waiting tickets if the last ones left no work, as these won't either."""
        if self._idle_tickets < _BACKLOG:
            return []
        return await self._office.seen(self.queues.of(self._least, shards=False))

    async def _leave_to_others(self) -> None:
        """Pass on tickets for shards that this worker may not take yet, though it has room.

        It would take the same tickets again and again, so it takes none for shards until it
        looks again.
        """
        looks = self._looks
        if await self._listener.left() and looks == self._looks and not self._closed:
            self.queues.take(self._least, shards=False)
        await self._office.pass_on(self._listener.left)

    @staticmethod
    def _answer(waiting: "list[asyncio.Future[None]]") -> None:
        for future in waiting:
            if not future.done():
                future.set_result(None)
        waiting.clear()
