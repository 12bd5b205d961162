"""Yard: builds all parts of an instance from its settings, and chooses their implementations."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from crawlyard.about import install_line
from crawlyard.clock import Clock, SystemClock
from crawlyard.config import Settings
from crawlyard.core.workers.measures import Measures
from crawlyard.errors import Unavailable
from crawlyard.lazy import is_installed, lazily
from crawlyard.messaging.bus import Bus
from crawlyard.messaging.dispatcher import Dispatcher
from crawlyard.messaging.local_dispatcher import LocalDispatcher
from crawlyard.messaging.memory_bus import MemoryBus
from crawlyard.messaging.pipes import PipeDispatcher
from crawlyard.messaging.postgres_dispatcher import PostgresDispatcher
from crawlyard.services.services import Services
from crawlyard.services.workers.progress import ProgressTracker
from crawlyard.store.db.connection import OnDue
from crawlyard.store.open import check_direct_url, clock_offset, open_sql_store
from crawlyard.store.open import is_away as store_is_away
from crawlyard.store.store import Store
from crawlyard.trust import tls_context

# loading the engine takes longer than reading a list of jobs
with lazily():
    from crawlyard import worker_factory
    from crawlyard.messaging import redis_bus as redis
    from crawlyard.services.upkeep import clock_sync
    from crawlyard.store.db import in_memory
if TYPE_CHECKING:
    from crawlyard.services.operations.operations import Operations
    from crawlyard.services.schedules.loop import SchedulerLoop
    from crawlyard.services.search.indexer import Indexer
    from crawlyard.services.upkeep.janitor import Janitor
    from crawlyard.services.webhooks.delivery import Deliverer
    from crawlyard.services.workers.run import WorkerContext
    from crawlyard.services.workers.worker import Worker

IN_MEMORY = "memory://"
"""Database URL of a store that ends with the process; for tests and trials."""


class Yard:
    """Jobs, their results and the workers that run them, on one store.

    `services` act for any actor; `services.surface.Surface` has the nouns of one.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Clock,
        dispatcher: Dispatcher | None = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self.clock = clock
        self._dispatcher = dispatcher or LocalDispatcher()
        self._worker_factory: worker_factory.WorkerFactory | None = None
        self.bus = _bus(settings, clock)
        self.progress = ProgressTracker(self.bus)
        self._measures = Measures()
        self.services = Services(
            settings,
            store,
            clock,
            self._dispatcher,
            self.bus,
            self.worker_context,
            self.run_job,
            self._measures,
        )
        self.policy = self.services.policy
        self.events = self.services.events

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: Settings | None = None, clock: Clock | None = None
    ) -> AsyncIterator["Yard"]:
        """Open the yard described by *settings*, creating its store if there is none.

        Without *settings*, they come from the environment and `crawlyard.toml`. A *clock* other
        than the machine's is for tests.

        Raises:
            Invalid: a URL in the settings is invalid or names no database, or `ca_file` is invalid.
            StoreUnavailable: the store cannot be opened; the message says what to do.
            Unavailable: a required package is not installed; the message says how to install it.
            SchemaMismatch: its schema is not that of this program, and is not upgraded.
        """
        settings = settings or Settings()
        if settings.ca_file is not None:
            tls_context(settings.ca_file)
        async with AsyncExitStack() as stack:
            own_clock, clock = clock, clock or await _clock(settings)
            dispatcher, on_due = _dispatching(settings, clock)
            stack.push_async_callback(dispatcher.close)
            store = await _open_store(settings, on_due)
            stack.push_async_callback(store.close)
            if own_clock is None and isinstance(clock, SystemClock) and _is_on_server(settings):
                await stack.enter_async_context(clock_sync.follow_server_clock(store.upkeep, clock))
            yard = cls(settings, store, clock, dispatcher)
            stack.push_async_callback(yard._close)
            yield yard

    @property
    def scheduler(self) -> "SchedulerLoop":
        """The loop that fires schedules as they become due."""
        return self.services.scheduler

    @property
    def operations(self) -> "Operations":
        """Bulk operations in the background."""
        return self.services.operations

    @property
    def janitor(self) -> "Janitor":
        """Service that deletes expired records."""
        return self.services.janitor

    @property
    def indexer(self) -> "Indexer":
        """Service that indexes the words of pages."""
        return self.services.indexer

    @property
    def deliverer(self) -> "Deliverer":
        """Service that delivers events to webhooks."""
        return self._factory.deliverer

    def worker(
        self,
        *,
        only: str | None = None,
        slots: int | None = None,
        tags: Sequence[str] | None = None,
        reserved: int | None = None,
    ) -> "Worker":
        """Return a worker that is not running yet; with *only*, it takes just that job.

        Arguments that are ``None`` are taken from the settings: its *slots*, its *tags*, and how
        many of its slots are *reserved* for urgent jobs.
        """
        return self._factory.worker(
            self._wake_scheduler,
            self._compare,
            only=only,
            slots=slots,
            tags=tags,
            reserved=reserved,
        )

    async def run_job(self, job_id: str) -> None:
        """Run one job in this process until it has ended, is paused, or another worker has it."""
        await self.worker(only=job_id).run()

    def worker_context(self) -> "WorkerContext":
        """Return the context of one worker's jobs; the whole yard shares the rate limiter."""
        return self._factory.worker_context()

    def _wake_scheduler(self) -> None:
        self.scheduler.wake()

    async def _compare(self, schedule_id: str) -> None:
        await self.services.changes.settle(schedule_id)

    @property
    def _factory(self) -> "worker_factory.WorkerFactory":
        """The worker factory, loaded and created at first use."""
        if self._worker_factory is None:
            self.bus.begin()
            self._worker_factory = worker_factory.WorkerFactory(
                self.settings,
                self.store,
                self.clock,
                self._dispatcher,
                self.progress,
                self._measures,
                alone=self.settings.database_url == IN_MEMORY,
            )
        return self._worker_factory

    async def _close(self) -> None:
        if self._worker_factory is not None:
            await self._worker_factory.close()
        await self.bus.close()


def child_factory(
    settings: Settings, store: Store, clock: Clock, bus: Bus, measures: Measures
) -> "worker_factory.WorkerFactory":
    """Return the worker factory of a child process, on the store and the bus of its parent."""
    if settings.ca_file is not None:
        tls_context(settings.ca_file)
    progress, dispatcher = ProgressTracker(bus), LocalDispatcher()
    return worker_factory.WorkerFactory(
        settings, store, clock, dispatcher, progress, measures, alone=False
    )


def _bus(settings: Settings, clock: Clock) -> Bus:
    if not settings.redis_url:
        return MemoryBus(clock)
    if not is_installed("redis"):
        raise Unavailable(f"Redis needs redis: {install_line('redis')}")
    return redis.RedisBus(settings.redis_url, clock)


def _dispatching(settings: Settings, clock: Clock) -> tuple[Dispatcher, OnDue]:
    """Return the dispatcher that wakes workers, and the store's callback for work that is due."""
    if settings.database_url == IN_MEMORY:
        local = LocalDispatcher()
        return local, lambda: local.announce(clock.now())
    if _is_on_server(settings):
        url = settings.database_direct_url or settings.database_url
        check_direct_url(url)
        return PostgresDispatcher(url, clock), None  # the store itself notifies all processes
    pipes = PipeDispatcher(settings.data_dir / "workers")
    return pipes, pipes.wake_all


async def _open_store(settings: Settings, on_due: OnDue) -> Store:
    if settings.database_url == IN_MEMORY:
        return in_memory.open_in_memory(on_due)
    if settings.database_url:
        pooled = settings.database_direct_url not in ("", settings.database_url)
        return await open_sql_store(
            settings.database_url,
            on_due=on_due,
            pooled=pooled,
            connections=settings.database_connections,
            lease_s=settings.lease_s,
            upgrade=settings.auto_upgrade,
        )
    file = _database_file(settings.data_dir)
    return await open_sql_store(file, on_due=on_due, upgrade=settings.auto_upgrade)


async def is_away(settings: Settings) -> bool:
    """Return whether the store is on a server that does not respond (yet)."""
    return await store_is_away(settings.database_url)


def _is_on_server(settings: Settings) -> bool:
    """Return whether the store is on a server, whose clock is the reference for all machines."""
    return settings.database_url.startswith("postgres")


async def _clock(settings: Settings) -> SystemClock:
    """Return a clock that agrees with those of all machines that use the same store."""
    clock = SystemClock()
    if _is_on_server(settings):
        clock.shift(await clock_offset(settings.database_url, clock))
    return clock


def _database_file(data_dir: Path) -> Path:
    return data_dir / "crawlyard.db"
