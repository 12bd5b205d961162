"""The yard: builds everything from its settings, and is the only place that chooses."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from crawlyard.bus.memory import MemoryBus
from crawlyard.clock import Clock, SystemClock
from crawlyard.config import Settings
from crawlyard.dispatch.local import LocalDispatcher
from crawlyard.engine.access import RobotsCache
from crawlyard.engine.heavy import HeavyPool
from crawlyard.engine.hosts import HostGate
from crawlyard.engine.post import Poster
from crawlyard.engine.visit import Tools
from crawlyard.services.delivering import Deliverer
from crawlyard.services.events import Events
from crawlyard.services.isolation import Isolation
from crawlyard.services.janitor import Janitor, JanitorOptions
from crawlyard.services.jobs import JobManager
from crawlyard.services.operations import Operations
from crawlyard.services.policy import Policy
from crawlyard.services.portions import workers_of
from crawlyard.services.presence import Presence
from crawlyard.services.progress import ProgressTracker
from crawlyard.services.recorder import Recorder
from crawlyard.services.results import Results
from crawlyard.services.run import Workshop
from crawlyard.services.schedule_ticker import TickerOptions
from crawlyard.services.scheduler import Scheduler
from crawlyard.services.site_settings import SiteSettings
from crawlyard.services.templates import TemplateManager
from crawlyard.services.webhooks import Webhooks
from crawlyard.services.worker import Worker, WorkerOptions, worker_id
from crawlyard.store.base import Store
from crawlyard.store.memory import open_memory_store
from crawlyard.store.sql import clock_offset, open_sql_store

IN_MEMORY = "memory://"
"""As a database URL: nothing is kept after the process; for tests and trials."""


class Yard:
    """Jobs, their results and the workers that run them, on one store.

    The actors of `jobs` and `results` decide what may be seen and changed; the embedded
    yard's own is `crawlyard.LOCAL`.
    """

    def __init__(self, settings: Settings, store: Store, clock: Clock) -> None:
        self.settings = settings
        self.store = store
        self.clock = clock
        self._dispatcher = LocalDispatcher()
        self._gate = HostGate(clock, store.hosts)
        self._heavy = HeavyPool()
        self._robots = RobotsCache(clock)
        self.progress = ProgressTracker(MemoryBus(clock))
        self.policy = Policy(store)
        self.jobs = JobManager(store, self._dispatcher, clock, self.policy)
        self.results = Results(store)
        self.events = Events(store.events, clock)
        keeping = JanitorOptions(
            paused_ttl=settings.paused_ttl,
            retention=settings.retention,
            events=settings.events_kept,
        )
        self.janitor = Janitor(store, clock, keeping)
        self.site_settings = SiteSettings(store, clock, keeping)
        self.templates = TemplateManager(store, clock)
        self.webhooks = Webhooks(store, clock)
        self.deliverer = Deliverer(store, Poster(settings.user_agent), clock)
        self.scheduler = Scheduler(
            store,
            self.jobs,
            self.templates,
            self._dispatcher,
            clock,
            TickerOptions(backlog=settings.schedule_backlog),
        )
        workers = workers_of(self.jobs, self.scheduler)
        self.operations = Operations(store, clock, workers)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: Settings | None = None, clock: Clock | None = None
    ) -> AsyncIterator["Yard"]:
        """Open the yard that *settings* describe, creating its store where there is none.

        Without *settings*: those of the environment and `crawlyard.toml`. Another *clock*
        than the machine's is for tests.

        Raises:
            StoreUnavailable: the store cannot be opened; the message says what to do.
            SchemaMismatch: it was written by a newer Crawlyard.
        """
        settings = settings or Settings()
        async with AsyncExitStack() as stack:
            store = await _open_store(settings)
            stack.push_async_callback(store.close)
            yard = cls(settings, store, clock or await _clock(settings))
            stack.push_async_callback(yard._close)
            yield yard

    def worker(self, *, only: str | None = None, slots: int | None = None) -> Worker:
        """Return a worker that is not running yet; *only* takes that job and no other."""
        name = worker_id()
        options = WorkerOptions(
            slots=slots or self.settings.jobs,
            lease=self.settings.lease,
            shutdown_s=self.settings.shutdown_s,
            only=only,
            run_over=self.scheduler.nudge,
        )
        embedded = self.settings.database_url == IN_MEMORY
        presence = None if embedded else Presence(self.settings.data_dir / "workers", name)
        isolation = None if embedded else Isolation(self.settings.model_dump(mode="json"))
        return Worker(self.workshop(), self._dispatcher, presence, isolation, options, name)

    def workshop(self) -> Workshop:
        """Return what the jobs of one worker share; the host gate is the whole yard's."""
        return Workshop(
            store=self.store,
            clock=self.clock,
            tools=Tools(self.clock, self._gate, self._heavy),
            robots=self._robots,
            recorder=Recorder(self.store.frontier, self.clock, self.settings.lease),
            progress=self.progress,
            agent=self.settings.user_agent,
        )

    async def _close(self) -> None:
        await self._gate.close()
        await self._heavy.close()


async def _open_store(settings: Settings) -> Store:
    if settings.database_url == IN_MEMORY:
        return open_memory_store()
    if settings.database_url:
        return await open_sql_store(settings.database_url)
    return await open_sql_store(_database_file(settings.data_dir))


async def _clock(settings: Settings) -> Clock:
    """Return a clock that agrees with those of all the machines on the same store."""
    clock = SystemClock()
    if settings.database_url in ("", IN_MEMORY):
        return clock
    return SystemClock(await clock_offset(settings.database_url, clock))


def _database_file(data_dir: Path) -> Path:
    return data_dir / "crawlyard.db"
