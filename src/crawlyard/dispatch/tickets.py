"""Tickets as Procrastinate jobs: the tasks, their queues and the app.

A ticket is a job of one task, without arguments.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from hashlib import sha256
from itertools import chain, combinations
from typing import Any

from procrastinate import App, PsycopgConnector
from procrastinate.jobs import Job, Notification
from procrastinate.manager import JobManager, NotificationCallback
from psycopg import AsyncConnection

from crawlyard.core.jobs.queue import Wakeup
from crawlyard.core.jobs.spec import Priority

TICKET = "crawlyard.due"
"""Task deferred when work becomes due."""

RECONCILE = "crawlyard.reconcile"
"""Task run by one of the workers once a minute."""

BELL = "bell"
"""Key in a task's context: the bell of the worker that took it."""

QUEUE = "crawlyard"
"""Queue of `TICKET` for jobs that any worker may take, and prefix of all other queues."""

CHORES = f"{QUEUE}.chores"
"""Queue of `RECONCILE`, which workers run even while they take no jobs."""

MOST_TAGS = 6
"""With more tags, a worker listens only for jobs that need none, one or all of its tags.

Other jobs are found by polling.
"""

_SCHEME = re.compile(r"^postgres(ql)?(\+\w+)?://")


def app_on(url: str, *, connections: int = 2) -> App:
    """Return a Procrastinate app for the database at *url*, not connected yet."""
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
    # saves the two round trips of BEGIN and COMMIT around single statements
    await connection.set_autocommit(True)


def plain(url: str) -> str:
    """Return *url* in the form that libpq accepts, without the name of a driver."""
    return _SCHEME.sub("postgresql://", url)


def queue_of(due: Wakeup) -> str:
    """Return the queue for a ticket of *due*."""
    return _queue(due.needs, urgent=due.urgent, shard=due.shard)


def _queue(needs: str, *, urgent: bool, shard: bool) -> str:
    # part of a channel name, which may have 63 bytes; the longest has 62
    kind = f"{QUEUE}{'.urgent' * urgent}{'.shard' * shard}"
    return f"{kind}.{sha256(needs.encode()).hexdigest()[:16]}" if needs else kind


class Queues:
    """Queues for a worker with some tags: it listens to all of them, and takes from some."""

    def __init__(self, tags: Collection[str]) -> None:
        sizes = range(len(tags) + 1) if len(tags) <= MOST_TAGS else (0, 1, len(tags))
        sets = chain.from_iterable(combinations(sorted(tags), size) for size in sizes)
        needs = ["\n".join(chosen) for chosen in sets]
        kinds = [(urgent, shard) for urgent in (False, True) for shard in (False, True)]
        self._of = {(u, s): [_queue(n, urgent=u, shard=s) for n in needs] for u, s in kinds}
        self.taken_from: list[str] = list(self)
        self.words = 0  # number of notifications received

    def __iter__(self) -> Iterator[str]:
        """Yield all queues, for listening."""
        return chain([CHORES], *self._of.values())

    def of(self, least: Priority | None, *, jobs: bool = True, shards: bool = True) -> list[str]:
        """Return the queues of *jobs* and *shards* for *least* and above; none for ``None``."""
        if least is None:
            return []
        kinds = [kind for kind, wanted in ((False, jobs), (True, shards)) if wanted]
        levels = (True,) if least is Priority.URGENT else (False, True)
        return [name for urgent in levels for kind in kinds for name in self._of[urgent, kind]]

    def take(self, least: Priority | None, *, shards: bool = True) -> None:
        """From now on, take only tickets for priority *least* and above; none if it is ``None``."""
        self.taken_from = [CHORES, *self.of(least, shards=shards)]

    def close(self) -> None:
        """Take no more tickets."""
        self.taken_from = []


class _Manager(JobManager):
    """Fetches from the queues that `Queues` selects, again if notified meanwhile.

    Procrastinate's own worker has a fixed set of queues, and ignores notifications that arrive
    during a fetch; such a ticket would wait for a poll.
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
