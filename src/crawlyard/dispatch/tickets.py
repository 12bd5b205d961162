"""What a ticket is to Procrastinate: a job of one task, without arguments, in our queue."""

import re
from collections.abc import Collection
from hashlib import sha256
from itertools import combinations
from typing import Any

from procrastinate import App, PsycopgConnector
from psycopg import AsyncConnection

TICKET = "crawlyard.due"
"""The task that is deferred when work becomes due."""

RECONCILE = "crawlyard.reconcile"
"""The task that some worker does once a minute."""

BELL = "bell"
"""What a task finds in its context: the bell of the worker that took it."""

QUEUE = "crawlyard"
"""Its queue, for jobs that any worker may have; those for others begin with it."""

MOST_TAGS = 6
"""A worker of more tags listens for jobs that need one of them or all; polls find the others."""

_SCHEME = re.compile(r"^postgres(ql)?(\+\w+)?://")


def app_on(url: str, *, connections: int = 2) -> App:
    """Return Procrastinate on the database at *url*; nothing is connected yet."""
    connector = PsycopgConnector(
        conninfo=plain(url),
        kwargs={"application_name": "crawlyard tickets"},
        configure=_configured,
        min_size=1,
        max_size=connections,
        timeout=5.0,
        reconnect_timeout=5.0,
    )
    return App(connector=connector)


async def _configured(connection: AsyncConnection[Any]) -> None:
    # a statement by itself needs no BEGIN and no COMMIT, which are two round trips
    await connection.set_autocommit(True)


def plain(url: str) -> str:
    """Return *url* as Postgres's own library reads it: without the name of a driver."""
    return _SCHEME.sub("postgresql://", url)


def queue_of(needs: str) -> str:
    """Return the queue for jobs that need these tags, one a line."""
    # the name is a part of a channel's, which has 63 bytes at most
    return f"{QUEUE}.{sha256(needs.encode()).hexdigest()[:16]}" if needs else QUEUE


def queues_for(tags: Collection[str]) -> list[str]:
    """Return the queues of all jobs that a worker of these tags may have."""
    sizes = range(len(tags) + 1) if len(tags) <= MOST_TAGS else (0, 1, len(tags))
    sets = (chosen for size in sizes for chosen in combinations(sorted(tags), size))
    return [queue_of("\n".join(chosen)) for chosen in sets]
