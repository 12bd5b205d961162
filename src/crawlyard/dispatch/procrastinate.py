"""Wake-ups between machines: tickets that Procrastinate carries through Postgres.

A ticket is deferred in the transaction that makes a job due, and says only that work is due:
whoever takes it claims what is first in our queue by then. Of Procrastinate, its tables, its
notifications and its worker are used; its retries, locks and statuses are not.
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
from crawlyard.core.wakeup import Wakeup
from crawlyard.dispatch.base import Bell, Listener, LookForDue, Presence
from crawlyard.dispatch.local import LocalDispatcher
from crawlyard.dispatch.locks import LockPresence
from crawlyard.dispatch.ticket_bell import TicketBell
from crawlyard.dispatch.tickets import (
    BELL,
    CHORES,
    QUEUE,
    RECONCILE,
    TICKET,
    app_on,
    plain,
    queue_of,
)
from crawlyard.errors import StoreUnavailable

POLL_S = 1.0
"""What a lost notification, or a ticket for later, costs at most."""

_DEAD_S = 30.0
"""A worker of Procrastinate says that it is alive every 10 s."""

_AGAIN_S = 0.5
_SOON = timedelta(minutes=1)
"""What is due later has no ticket: each that waits makes every look for another longer (by 0.1 µs,
10 ms with 100,000), and it would come no sooner than by a poll."""

_CALM_S = 60.0  # what breaks off after so long is news
_LEAVE_S = 3.0
_TROUBLE = (AppNotOpen, ConnectorException, Error, PoolClosed, PoolTimeout, OSError)

# of the tickets that somebody would take now
_WAITING = """
    SELECT DISTINCT queue_name FROM procrastinate_jobs
    WHERE status = 'todo' AND task_name = %(task)s
      AND (scheduled_at IS NULL OR scheduled_at <= now())
"""
# Rows left `doing` by workers that are no more. Theirs is NULL when their row was pruned.
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

    *url* must lead to the server itself, or to a pooler that gives each session a connection
    of its own: notifications reach nobody else.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        super().__init__()
        _hush()
        self._url = plain(url)
        self._clock = clock
        self._app = app_on(url)
        self._app.task(name=TICKET, pass_context=True)(_taken)
        # each minute, for all workers together; it also keeps the package watching over what
        # it does beside: without a periodic task, a listener that broke off is missed by nobody
        reconcile = self._app.task(name=RECONCILE, pass_context=True)(_reconciled)
        self._app.periodic(cron="* * * * *", queue=CHORES)(reconcile)

    async def defer(self, connection: Any, dues: Collection[Wakeup]) -> None:
        """Defer tickets in the transaction that *connection*, one of psycopg, is in.

        One for all that needs the same and is due by now, or in the same second: who takes it
        goes on until nothing is left, or gives the word on. None for what is due much later.

        Raises:
            psycopg.Error: the transaction is lost.
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
        """Return a bell that tickets ring, and announcements in this process."""
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
        """Hold the worker's lock, and return what the locks of others tell."""
        locks = LockPresence(self._url, worker, self._clock, changed)
        async with locks.shown():
            yield locks

    async def pass_on(self, look: LookForDue, kept: Collection[str] = ()) -> None:
        """See to it that what *look* finds has tickets that wait, but in the queues *kept*."""
        try:
            queues = {queue_of(due) for due in await look()}.difference(kept)
            rows = await self._rows(_WAITING, task=TICKET) if queues else []
            for queue in sorted(queues.difference(row["queue_name"] for row in rows)):
                await self._app.configure_task(TICKET, queue=queue).defer_async()
        except (*_TROUBLE, StoreUnavailable) as error:
            _log.debug("no ticket was passed on: %s", error)

    async def reconcile(self, listener: Listener) -> None:
        """Sweep what dead workers have left, and defer tickets for what is due without one."""
        try:
            swept = await self._rows(_SWEEP, ours=f"{QUEUE}%", dead=_DEAD_S)
        except _TROUBLE as error:
            _log.debug("no ticket was swept: %s", error)
            return
        if swept:
            _log.info("%d tickets of dead workers were swept", len(swept))
        await self.pass_on(listener.due)

    async def seen(self, queues: Collection[str]) -> list[int]:
        """Return tickets that wait in *queues*."""
        try:
            return [row["id"] for row in await self._rows(_SEEN, task=TICKET, queues=list(queues))]
        except _TROUBLE:
            return []

    async def drop(self, tickets: Collection[int]) -> None:
        """Delete tickets that wait and have nothing to tell any more."""
        with suppress(*_TROUBLE):
            await self._rows(_DROP, ids=list(tickets))

    async def close(self) -> None:
        """Let the connections go."""
        with suppress(*_TROUBLE):
            await self._app.close_async()

    async def _take(self, listener: Listener, bell: TicketBell) -> None:
        """Take tickets until cancelled; a database that is away is waited for."""
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
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not be the end
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
    """Return *due* at the end of its second: of what is due soon, there are but so many."""
    soon = due.at.replace(microsecond=0) + timedelta(seconds=1)
    return replace(due, at=now if due.at <= now else soon)


def _hush() -> None:
    """Let Procrastinate tell of nothing but when everything is told: we tell what it suffers."""
    if not _log.isEnabledFor(logging.DEBUG):
        for name in ("procrastinate", "psycopg.pool"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


async def _taken(context: JobContext) -> None:
    bell: TicketBell = context.additional_context[BELL]
    await bell.taken(context.job.queue)


async def _reconciled(context: JobContext, timestamp: int) -> None:  # noqa: ARG001 - theirs
    bell: TicketBell = context.additional_context[BELL]
    await bell.reconcile()


async def _ended(taking: "asyncio.Task[None]") -> None:
    """Cancel a task and wait for its end, but not for long: its server may be away."""
    for _ in range(2):  # the first time it leaves politely
        taking.cancel()
        done, _ = await asyncio.wait((taking,), timeout=_LEAVE_S)
        if done:
            return
