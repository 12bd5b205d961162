"""What a ticket is to Procrastinate: a job of one task, without arguments, in our queue."""

import re
from collections.abc import Collection, Iterable, Iterator
from hashlib import sha256
from itertools import chain, combinations
from typing import Any

from procrastinate import App, PsycopgConnector
from procrastinate.jobs import Job, Notification
from procrastinate.manager import JobManager, NotificationCallback
from psycopg import AsyncConnection

from crawlyard.core.jobs.priority import Priority
from crawlyard.core.wakeup import Wakeup

TICKET = "crawlyard.due"
"""The task that is deferred when work becomes due."""

RECONCILE = "crawlyard.reconcile"
"""The task that some worker does once a minute."""

BELL = "bell"
"""What a task finds in its context: the bell of the worker that took it."""

QUEUE = "crawlyard"
"""Its queue, for jobs that any worker may have; those for others begin with it."""

CHORES = f"{QUEUE}.chores"
"""The queue of `RECONCILE`, which who takes no jobs does as well."""

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
    app = App(connector=connector)
    app.job_manager = _Manager(connector)
    return app


async def _configured(connection: AsyncConnection[Any]) -> None:
    # a statement by itself needs no BEGIN and no COMMIT, which are two round trips
    await connection.set_autocommit(True)


def plain(url: str) -> str:
    """Return *url* as Postgres's own library reads it: without the name of a driver."""
    return _SCHEME.sub("postgresql://", url)


def queue_of(due: Wakeup) -> str:
    """Return the queue for the tickets of what is due."""
    return _queue(due.needs, urgent=due.urgent, shard=due.shard)


def _queue(needs: str, *, urgent: bool, shard: bool) -> str:
    # the name is a part of a channel's, which has 63 bytes at most: 62 with all of these
    kind = f"{QUEUE}{'.urgent' * urgent}{'.shard' * shard}"
    return f"{kind}.{sha256(needs.encode()).hexdigest()[:16]}" if needs else kind


class Queues:
    """The queues of what a worker of some tags may have: it hears of all, and takes from some."""

    def __init__(self, tags: Collection[str]) -> None:
        sizes = range(len(tags) + 1) if len(tags) <= MOST_TAGS else (0, 1, len(tags))
        sets = chain.from_iterable(combinations(sorted(tags), size) for size in sizes)
        needs = ["\n".join(chosen) for chosen in sets]
        kinds = [(urgent, shard) for urgent in (False, True) for shard in (False, True)]
        self._of = {(u, s): [_queue(n, urgent=u, shard=s) for n in needs] for u, s in kinds}
        self.taken_from: list[str] = list(self)
        self.words = 0  # how often it was told of a ticket

    def __iter__(self) -> Iterator[str]:
        """Yield all of them: whoever listens is told of all."""
        return chain([CHORES], *self._of.values())

    def of(self, least: Priority | None, *, jobs: bool = True, shards: bool = True) -> list[str]:
        """Return those for this level and above, none for ``None``: for *jobs*, and *shards*."""
        if least is None:
            return []
        kinds = [kind for kind, wanted in ((False, jobs), (True, shards)) if wanted]
        levels = (True,) if least is Priority.URGENT else (False, True)
        return [name for urgent in levels for kind in kinds for name in self._of[urgent, kind]]

    def take(self, least: Priority | None, *, shards: bool = True) -> None:
        """Take tickets for that level and above alone from now on, none for ``None``."""
        self.taken_from = [CHORES, *self.of(least, shards=shards)]

    def close(self) -> None:
        """Take no ticket any more."""
        self.taken_from = []


class _Manager(JobManager):
    """Looks for tickets where `Queues` says, and once more if word came meanwhile.

    A worker of Procrastinate has its queues for good, and takes word that comes while it
    looks for heard: such a ticket would wait for a poll.
    """

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        if not isinstance(queues, Queues):
            return await super().fetch_job(queues, worker_id)
        while True:
            words = queues.words
            found = await super().fetch_job(queues.taken_from, worker_id)
            if found is not None or words == queues.words:
                return found

    async def listen_for_jobs(
        self, *, on_notification: NotificationCallback, queues: Iterable[str] | None = None
    ) -> None:
        async def told(*, channel: str, notification: Notification) -> None:
            if isinstance(queues, Queues):
                queues.words += 1
            await on_notification(channel=channel, notification=notification)

        await super().listen_for_jobs(on_notification=told, queues=queues)
