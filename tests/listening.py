"""When workers on Postgres hear of tickets: what is told before is found by a poll alone."""

import asyncio

import psycopg

from crawlyard.core.jobs.queue import Wakeup
from crawlyard.dispatch.tickets import RECONCILE, TICKET, queue_of
from tests.builders import NOW

_SOON_S = 20.0
_LAST = queue_of(Wakeup(NOW, urgent=True, shard=True))
"""The queue that a worker without tags listens to last."""

_LISTENING = f"""
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE 'LISTEN %{_LAST}"%'
"""
# what one that starts looks for may be what a test is about to queue
_CALM = f"""
    SELECT id FROM procrastinate_periodic_defers WHERE NOT EXISTS
      (SELECT FROM procrastinate_jobs WHERE task_name = '{RECONCILE}' AND status = 'doing')
"""


_TICKETS = f"SELECT status, queue_name FROM procrastinate_jobs WHERE task_name = '{TICKET}'"
# nor is it left to the next that starts
_NO_CHORES = f"DELETE FROM procrastinate_jobs WHERE task_name = '{RECONCILE}' AND status = 'todo'"


async def heard(url: str, listeners: int) -> None:
    """Return once so many workers without tags hear of tickets, and look for no lost ones."""
    async with asyncio.timeout(_SOON_S):
        while not _is_so(url, listeners):  # noqa: ASYNC110 - a database tells of nothing
            await asyncio.sleep(0)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_NO_CHORES.encode())


async def waiting(url: str) -> list[str]:
    """Return the queues of the tickets that wait, once no other is in somebody's hands."""
    async with asyncio.timeout(_SOON_S):
        while True:
            with psycopg.connect(url, autocommit=True) as connection:
                found = connection.execute(_TICKETS.encode()).fetchall()
            if all(status == "todo" for status, _ in found):
                return [queue for _, queue in found]
            await asyncio.sleep(0)


def _is_so(url: str, listeners: int) -> bool:
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(_LISTENING.encode()).fetchall()
        return len(found) == listeners and bool(connection.execute(_CALM.encode()).fetchall())
