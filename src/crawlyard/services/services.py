"""The services of one instance, each made when it is first needed."""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from crawlyard.bus.base import Bus
from crawlyard.clock import Clock
from crawlyard.config import Settings
from crawlyard.dispatch.base import Dispatcher
from crawlyard.lazy import lazily
from crawlyard.services.access.policy import Policy
from crawlyard.services.fleet.events import Events
from crawlyard.services.jobs.manager import JobManager
from crawlyard.services.jobs.results import Results
from crawlyard.store.store import Store

if TYPE_CHECKING:
    from crawlyard.services.access import credentials
    from crawlyard.services.access import settings as settings_
    from crawlyard.services.fleet import (
        metrics,
        overview,
        status,
    )
    from crawlyard.services.jobs import (
        bulk,
        bulk_steps,
        effective_config,
        exclusions,
        log_follow,
        operations,
        page_search,
        preview,
        requests,
        wait,
        why,
    )
    from crawlyard.services.schedules import backfill, scheduler, ticker
    from crawlyard.services.templates import intake
    from crawlyard.services.templates import manager as templates
    from crawlyard.services.webhooks import manager as webhooks
    from crawlyard.services.worker import disk, janitor
    from crawlyard.services.worker.run import WorkerContext
else:  # a command needs few of them
    credentials = lazily("crawlyard.services.access.credentials")
    settings_ = lazily("crawlyard.services.access.settings")
    metrics = lazily("crawlyard.services.fleet.metrics")
    overview = lazily("crawlyard.services.fleet.overview")
    status = lazily("crawlyard.services.fleet.status")
    bulk = lazily("crawlyard.services.jobs.bulk")
    bulk_steps = lazily("crawlyard.services.jobs.bulk_steps")
    effective_config = lazily("crawlyard.services.jobs.effective_config")
    exclusions = lazily("crawlyard.services.jobs.exclusions")
    log_follow = lazily("crawlyard.services.jobs.log_follow")
    operations = lazily("crawlyard.services.jobs.operations")
    page_search = lazily("crawlyard.services.jobs.page_search")
    preview = lazily("crawlyard.services.jobs.preview")
    requests = lazily("crawlyard.services.jobs.requests")
    wait = lazily("crawlyard.services.jobs.wait")
    why = lazily("crawlyard.services.jobs.why")
    backfill = lazily("crawlyard.services.schedules.backfill")
    scheduler = lazily("crawlyard.services.schedules.scheduler")
    ticker = lazily("crawlyard.services.schedules.ticker")
    intake = lazily("crawlyard.services.templates.intake")
    templates = lazily("crawlyard.services.templates.manager")
    webhooks = lazily("crawlyard.services.webhooks.manager")
    disk = lazily("crawlyard.services.worker.disk")
    janitor = lazily("crawlyard.services.worker.janitor")


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
        self._dispatcher = dispatcher
        self._worker_context = worker_context
        self.policy = Policy(store)
        self.jobs = JobManager(store, dispatcher, clock, self.policy)
        self.results = Results(store)
        self.events = Events(store.events, clock)

    @cached_property
    def keeping(self) -> "janitor.JanitorOptions":
        """Return how long what is kept."""
        return janitor.JanitorOptions(
            paused_ttl=self.settings.paused_ttl,
            retention=self.settings.retention,
            events=self.settings.events_kept,
            operations=self.settings.operations_kept,
            credentials=self.settings.credentials_kept,
            usage=self.settings.usage_kept,
        )

    @cached_property
    def janitor(self) -> "janitor.Janitor":
        """Return what clears up."""
        return janitor.Janitor(self.store, self.clock, self.keeping)

    @cached_property
    def site_settings(self) -> "settings_.SiteSettings":
        """Return the settings that an admin may change."""
        return settings_.SiteSettings(self.store, self.clock, self.keeping)

    @cached_property
    def templates(self) -> "templates.TemplateManager":
        """Return templates."""
        return templates.TemplateManager(self.store, self.clock)

    @cached_property
    def webhooks(self) -> "webhooks.Webhooks":
        """Return webhooks."""
        return webhooks.Webhooks(self.store, self.clock)

    @cached_property
    def scheduler(self) -> "scheduler.Scheduler":
        """Return schedules."""
        options = ticker.TickerOptions(backlog=self.settings.schedule_backlog)
        return scheduler.Scheduler(
            self.store, self.jobs, self.templates, self._dispatcher, self.clock, options
        )

    @cached_property
    def operations(self) -> "operations.Operations":
        """Return work in the background."""
        workers = bulk_steps.workers_of(self.jobs, self.scheduler)
        return operations.Operations(self.store, self.clock, workers)

    @cached_property
    def requests(self) -> "requests.Requests":
        """Return what makes jobs of what is asked for."""
        return requests.Requests(self.jobs, self.templates, self.site_settings)

    @cached_property
    def access(self) -> "credentials.Credentials":
        """Return tokens and sessions."""
        return credentials.Credentials(self.store, self.clock)

    @cached_property
    def waiting(self) -> "wait.Waiting":
        """Return what waits for jobs."""
        return wait.Waiting(self.jobs, self.store.events, self.clock)

    @cached_property
    def configs(self) -> "effective_config.Configs":
        """Return the settings of jobs in force."""
        return effective_config.Configs(
            self.jobs, self.templates, self.site_settings, self.store.events
        )

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
    def backfills(self) -> "backfill.BackfillOperations":
        """Return backfills in the background."""
        return backfill.BackfillOperations(self.scheduler, self.operations, self.clock)

    @cached_property
    def watching(self) -> "status.Watching":
        """Return what workers report."""
        return status.Watching(self.store, self.jobs, self.clock)

    @cached_property
    def tailing(self) -> "log_follow.Tailing":
        """Return what follows the logs of jobs."""
        return log_follow.Tailing(self.store.journal, self.jobs, self.clock)

    @cached_property
    def overview(self) -> "overview.Overview":
        """Return what needs attention."""
        room = disk.DataDisk(self.settings).room
        return overview.Overview(self.store, self.clock, self.watching, room)

    @cached_property
    def metrics(self) -> "metrics.Metrics":
        """Return figures for Prometheus."""
        return metrics.Metrics(self.store, self.bus, self.clock)

    @cached_property
    def intake(self) -> "intake.TemplateIntake":
        """Return the reader of template files."""
        return intake.TemplateIntake()
