"""The services of one instance, each made when it is first needed."""

from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING

from crawlyard.bus.base import Bus
from crawlyard.clock import Clock
from crawlyard.config import Settings
from crawlyard.dispatch.base import Dispatcher
from crawlyard.engine.http.dns import addresses_of
from crawlyard.lazy import lazily
from crawlyard.services.access.policy import Policy
from crawlyard.services.fleet.events import Events
from crawlyard.services.jobs.bulk import workers_of
from crawlyard.services.jobs.manager import JobManager
from crawlyard.services.jobs.operations import Operations
from crawlyard.services.jobs.results import Results
from crawlyard.services.jobs.submission import Requests
from crawlyard.services.schedules.scheduler import Scheduler
from crawlyard.services.schedules.ticker import TickerOptions
from crawlyard.services.templates.manager import TemplateManager
from crawlyard.services.worker.janitor import Janitor, JanitorOptions
from crawlyard.store.store import Store

if TYPE_CHECKING:
    from crawlyard.services.access import credentials
    from crawlyard.services.fleet import disk, overview, status
    from crawlyard.services.jobs import (
        bulk,
        effective_config,
        exclusions,
        follow,
        page_search,
        preview,
        why,
    )
    from crawlyard.services.schedules import backfill
    from crawlyard.services.templates import files
    from crawlyard.services.webhooks.receivers import Resolve
    from crawlyard.services.worker.run import WorkerContext
else:  # a command needs few of them
    credentials = lazily("crawlyard.services.access.credentials")
    disk = lazily("crawlyard.services.fleet.disk")
    overview = lazily("crawlyard.services.fleet.overview")
    status = lazily("crawlyard.services.fleet.status")
    bulk = lazily("crawlyard.services.jobs.bulk")
    effective_config = lazily("crawlyard.services.jobs.effective_config")
    exclusions = lazily("crawlyard.services.jobs.exclusions")
    follow = lazily("crawlyard.services.jobs.follow")
    page_search = lazily("crawlyard.services.jobs.page_search")
    preview = lazily("crawlyard.services.jobs.preview")
    why = lazily("crawlyard.services.jobs.why")
    backfill = lazily("crawlyard.services.schedules.backfill")
    files = lazily("crawlyard.services.templates.files")


class Services:
    """What an instance can do. Each service takes the actor; `surface` gives those of one actor."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Clock,
        dispatcher: Dispatcher,
        bus: Bus,
        worker_context: Callable[[], "WorkerContext"],
    ) -> None:
        self.store = store
        self.clock = clock
        self.settings = settings
        self.bus = bus
        self._worker_context = worker_context
        self.keeping = JanitorOptions(
            paused_ttl=settings.paused_ttl,
            retention=settings.retention,
            events=settings.events_kept,
            operations=settings.operations_kept,
            credentials=settings.credentials_kept,
            usage=settings.usage_kept,
        )
        self.policy = Policy(store)
        self.jobs = JobManager(store, dispatcher, clock, self.policy)
        self.results = Results(store)
        self.events = Events(store.events, clock)
        self.janitor = Janitor(store, clock, self.keeping)
        self.templates = TemplateManager(store, clock)
        self.resolve: Resolve = addresses_of  # of the receivers of webhooks
        self.scheduler = Scheduler(
            store,
            self.jobs,
            self.templates,
            dispatcher,
            clock,
            TickerOptions(backlog=settings.schedule_backlog),
        )
        self.operations = Operations(store, clock, workers_of(self.jobs, self.scheduler))
        self.requests = Requests(self.jobs, self.templates, self.policy)

    @cached_property
    def access(self) -> "credentials.Credentials":
        """Return tokens and sessions."""
        return credentials.Credentials(self.store, self.clock)

    @cached_property
    def waiting(self) -> "follow.Waiting":
        """Return what waits for jobs."""
        return follow.Waiting(self.jobs, self.store.events, self.clock)

    @cached_property
    def configs(self) -> "effective_config.Configs":
        """Return the settings of jobs in force."""
        return effective_config.Configs(self.jobs, self.templates, self.policy, self.store.events)

    @cached_property
    def why(self) -> "why.Why":
        """Return what explains waits and URLs."""
        return why.Why(self.store, self.jobs, self.clock)

    @cached_property
    def exclusions(self) -> "exclusions.Exclusions":
        """Return what excludes URLs from jobs."""
        return exclusions.Exclusions(self.store, self.jobs)

    @cached_property
    def bulk(self) -> "bulk.Bulk":
        """Return what acts on many jobs."""
        return bulk.Bulk(self.jobs, self.operations)

    @cached_property
    def preview(self) -> "preview.Preview":
        """Return what tries a spec before there is a job."""
        return preview.Preview(self.requests, self.policy, self._worker_context())

    @cached_property
    def archive(self) -> "page_search.Archive":
        """Return the pages of all jobs."""
        return page_search.Archive(self.store, self.clock)

    @cached_property
    def watching(self) -> "status.Watching":
        """Return what workers report."""
        return status.Watching(self.store, self.jobs, self.clock)

    @cached_property
    def tailing(self) -> "follow.Tailing":
        """Return what follows the logs of jobs."""
        return follow.Tailing(self.store.journal, self.jobs, self.clock)

    @cached_property
    def overview(self) -> "overview.Overview":
        """Return what needs attention."""
        room = partial(disk.room, self.settings)
        return overview.Overview(self.store, self.clock, self.watching, room)

    @cached_property
    def intake(self) -> "files.TemplateIntake":
        """Return the reader of template files."""
        return files.TemplateIntake()
