"""The queues that Crawlyard's is measured beside: Procrastinate, and SAQ on Postgres and Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import time
from typing import Any, cast

import psycopg
import saq
from procrastinate import App, PsycopgConnector
from saq.queue.redis import RedisQueue

from bench.queues import Queue, emptied, snapshot

_A_DAY = timedelta(days=1)
_LEVELS = 4
_PORTION = 1_000
_CONCURRENCY = 4
_AT_ONCE = 20
_TASK = "task"


@dataclass(frozen=True, slots=True)
class Procrastinate:
    """Procrastinate by itself, as its manual has it."""

    url: str
    name: str = "Procrastinate"
    embedded: bool = False

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Queue]:
        """Give the queue, empty."""
        await emptied(self.url)
        async with self._app().open_async() as app:
            await app.schema_manager.apply_schema_async()
            worker_id = await app.job_manager.register_worker()
            yield _Procrastinate(app, self.url, worker_id)

    async def work(self, begun: Callable[[str], None]) -> None:
        """Run jobs until cancelled."""
        async with self._app(begun).open_async() as app:
            await app.run_worker_async(
                concurrency=_CONCURRENCY, install_signal_handlers=False, delete_jobs="always"
            )

    def held(self) -> AbstractAsyncContextManager[None]:
        """Hold a transaction open."""
        return snapshot(self.url)

    def _app(self, begun: Callable[[str], None] = lambda _: None) -> App:
        app = App(connector=PsycopgConnector(conninfo=self.url))

        @app.task(name=_TASK, pass_context=True)
        async def task(context: Any) -> None:
            begun(str(context.job.id))

        return app


@dataclass(frozen=True, slots=True)
class _Procrastinate:
    app: App
    url: str
    worker_id: int

    async def fill(self, waiting: int, *, due: bool) -> None:
        """Write the rows at once, without the triggers that tell of each."""
        scheduled = None if due else datetime.now(UTC) + _A_DAY
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as conn:
            await conn.execute("SET session_replication_role = replica")
            await conn.execute(
                "INSERT INTO procrastinate_jobs (queue_name, task_name, priority, scheduled_at) "
                "SELECT 'default', %s, n %% %s, %s FROM generate_series(1, %s) n",
                (_TASK, _LEVELS, scheduled, waiting),
            )
            await conn.execute("ANALYZE")

    async def add(self) -> str:
        """Defer one job."""
        return str(await self.app.configure_task(_TASK).defer_async())

    async def add_many(self, count: int) -> None:
        """Defer many by its call for it."""
        for first in range(0, count, _PORTION):
            empty: list[dict[str, Any]] = [{} for _ in range(min(_PORTION, count - first))]
            await self.app.configure_task(_TASK).batch_defer_async(*empty)

    async def take(self, taker: str) -> bool:
        """Fetch a job as its worker does."""
        del taker
        return await self.app.job_manager.fetch_job(None, self.worker_id) is not None


@dataclass(frozen=True, slots=True)
class Saq:
    """SAQ, on Postgres or on Redis by its URL."""

    url: str
    name: str
    embedded: bool = False

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Queue]:
        """Give the queue, empty."""
        if self._on_redis:
            queue = saq.Queue.from_url(self.url)
            await cast("RedisQueue", queue).redis.flushdb()
        else:
            await emptied(self.url)
            queue = saq.Queue.from_url(self.url)
        await queue.connect()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(queue.disconnect)
            yield _Saq(queue, self.url, stack)

    async def work(self, begun: Callable[[str], None]) -> None:
        """Run jobs until cancelled."""

        async def task(ctx: Any) -> None:
            begun(ctx["job"].key)

        queue = saq.Queue.from_url(self.url)
        await queue.connect()
        worker: saq.Worker[Any] = saq.Worker(
            queue, functions=[(_TASK, task)], concurrency=_CONCURRENCY
        )
        await worker.start()

    def held(self) -> AbstractAsyncContextManager[None]:
        """Hold a transaction open; Redis has none."""
        return nullcontext() if self._on_redis else snapshot(self.url)

    @property
    def _on_redis(self) -> bool:
        return self.url.startswith("redis")


@dataclass(frozen=True, slots=True)
class _Saq:
    queue: saq.Queue
    url: str
    stack: AsyncExitStack
    takers: dict[str, saq.Queue] = field(default_factory=dict)  # each is one worker's

    async def fill(self, waiting: int, *, due: bool) -> None:
        """Write what it would write, many jobs at once."""
        scheduled = 0 if due else int(time() + _A_DAY.total_seconds())
        for first in range(0, waiting, _PORTION):
            made = [
                saq.Job(
                    _TASK,
                    queue=self.queue,
                    scheduled=scheduled,
                    priority=n % _LEVELS,
                    queued=int(1000 * time()),
                    status=saq.Status.QUEUED,
                )
                for n in range(min(_PORTION, waiting - first))
            ]
            if isinstance(self.queue, RedisQueue):
                await self._piped(self.queue, made)
            else:
                await self._copied(made)
        if not isinstance(self.queue, RedisQueue):
            async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as conn:
                await conn.execute("ANALYZE")

    async def _piped(self, queue: RedisQueue, made: Sequence[saq.Job]) -> None:
        pipe = queue.redis.pipeline(transaction=False)
        for job in made:
            pipe.set(job.id, cast("bytes", queue.serialize(job)))
            pipe.zadd(queue.namespace("incomplete"), {job.id: job.scheduled})
            if not job.scheduled:
                pipe.rpush(queue.namespace("queued"), job.id)
        await pipe.execute()

    async def _copied(self, made: Sequence[saq.Job]) -> None:
        columns = "key, job, queue, status, priority, scheduled"
        async with (
            await psycopg.AsyncConnection.connect(self.url, autocommit=True) as conn,
            conn.cursor() as cursor,
            cursor.copy(f"COPY saq_jobs ({columns}) FROM STDIN") as rows,
        ):
            for job in made:
                packed = cast("bytes", self.queue.serialize(job))
                at = job.scheduled or int(time())
                name, status = self.queue.name, job.status.value
                await rows.write_row((job.key, packed, name, status, job.priority, at))

    async def add(self) -> str:
        """Enqueue one job."""
        job = await self.queue.enqueue(_TASK)
        if job is None:
            raise RuntimeError("SAQ did not take a job")
        return str(job.key)

    async def add_many(self, count: int) -> None:
        """Enqueue some at once: it has no call for many."""
        for _ in range(0, count, _AT_ONCE):
            await asyncio.gather(*(self.queue.enqueue(_TASK) for _ in range(_AT_ONCE)))

    async def take(self, taker: str) -> bool:
        """Take a job off the queue as its worker does."""
        if taker not in self.takers:
            self.takers[taker] = saq.Queue.from_url(self.url)
            await self.takers[taker].connect()
            self.stack.push_async_callback(self.takers[taker].disconnect)
        return await self.takers[taker].dequeue(timeout=5) is not None
