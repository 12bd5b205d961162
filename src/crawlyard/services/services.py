"""The services of one instance, each created when first needed."""

from collections.abc import Awaitable, Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING

from crawlyard.clock import Clock
from crawlyard.config import Settings
from crawlyard.core.workers.measures import Measures
from crawlyard.engine.http.dns import addresses_of
from crawlyard.lazy import lazily
from crawlyard.messaging.bus import Bus
from crawlyard.messaging.dispatcher import Dispatcher
from crawlyard.services.access.policy import Policy
from crawlyard.services.events.events import Events
from crawlyard.store.store import Store

# a command needs few of them
with lazily():
    from crawlyard.engine.http import proxy
    from crawlyard.services.access import cookies, credentials
    from crawlyard.services.attention import overview
    from crawlyard.services.jobs import effective_config, moves, preview, submission
    from crawlyard.services.operations import bulk, operations
    from crawlyard.services.results import changes, checking
    from crawlyard.services.schedules import calendar, loop, ticker
    from crawlyard.services.search import indexer
    from crawlyard.services.search import search as page_search
    from crawlyard.services.templates import files
    from crawlyard.services.upkeep import disk, janitor
    from crawlyard.services.workers import status
if TYPE_CHECKING:
    from crawlyard.services.access import sealing
    from crawlyard.services.webhooks.receivers import Resolve
    from crawlyard.services.workers.run import WorkerContext


class Services:
    """The services of an instance. Each takes the actor; `surface` has those of one actor."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Clock,
        dispatcher: Dispatcher,
        bus: Bus,
        worker_context: Callable[[], "WorkerContext"],
        run_job: Callable[[str], Awaitable[None]],
        measures: Measures,
    ) -> None:
        self.store = store
        self.clock = clock
        self.settings = settings
        self.bus = bus
        self.measures = measures  # by the workers of this process
        self._dispatcher = dispatcher
        self.worker_context = worker_context
        self.run_job = run_job  # by a worker of this process, until the job stops
        self.policy = Policy(store)
        self.events = Events(store.events, clock)
        self.resolve: Resolve = addresses_of  # of the receivers of webhooks

    @cached_property
    def submitter(self) -> "submission.Submitter":
        """The submitter, which checks and stores new jobs."""
        proxies = proxy.proxy_guard(self.settings.allow_proxies)
        return submission.Submitter(
            self.store, self._dispatcher, self.clock, self.policy, proxies=proxies
        )

    @cached_property
    def writer(self) -> "moves.JobWriter":
        """The writer of jobs, which moves, edits and deletes them."""
        return moves.JobWriter(
            self.store, self._dispatcher, self.clock, self.policy, self.submitter
        )

    @cached_property
    def keeping(self) -> "janitor.JanitorOptions":
        """Retention periods from the settings of the process."""
        return janitor.JanitorOptions(
            paused_ttl=self.settings.paused_ttl,
            retention=self.settings.retention,
            events=self.settings.events_kept,
            audit=self.settings.audit_kept,
            operations=self.settings.operations_kept,
            credentials=self.settings.credentials_kept,
            usage=self.settings.usage_kept,
        )

    @cached_property
    def janitor(self) -> "janitor.Janitor":
        """The janitor, which deletes expired data."""
        return janitor.Janitor(self.store, self.clock, self.keeping)

    @cached_property
    def ticker(self) -> "ticker.Ticker":
        """The ticker, which fires single schedules."""
        options = ticker.TickerOptions(backlog=self.settings.schedule_backlog)
        return ticker.Ticker(self.store, self.submitter, self._dispatcher, self.clock, options)

    @cached_property
    def scheduler(self) -> "loop.SchedulerLoop":
        """The loop that fires schedules as they become due."""
        return loop.SchedulerLoop(self.ticker)

    @cached_property
    def calendars(self) -> "calendar.Calendars":
        """Calendars with their cache of runs to come."""
        return calendar.Calendars(self.store, self.clock)

    @cached_property
    def operations(self) -> "operations.Operations":
        """Operations that run in the background."""
        workers = bulk.workers_of(self.writer, self.ticker)
        return operations.Operations(self.store, self.clock, workers)

    async def seal(self) -> "sealing.Seal":
        """Return the seal for the secrets of sites."""
        return await self._sealer.seal()

    @cached_property
    def _sealer(self) -> "cookies.Sealer":
        return cookies.Sealer(self.store, self.settings.secret_key)

    @cached_property
    def access(self) -> "credentials.Credentials":
        """Tokens, sign-in links and sessions of users."""
        return credentials.Credentials(self.store, self.clock)

    @cached_property
    def configs(self) -> "effective_config.Configs":
        """The effective settings of jobs, with their sources."""
        return effective_config.Configs(self.store, self.policy)

    @cached_property
    def bulk(self) -> "bulk.Bulk":
        """Bulk actions on jobs."""
        return bulk.Bulk(self.writer, self.operations)

    @cached_property
    def preview(self) -> "preview.Preview":
        """Previews of specs before a job is submitted."""
        return preview.Preview(self.store, self.submitter, self.policy, self.worker_context())

    @cached_property
    def checking(self) -> "checking.Checking":
        """Link checks of jobs."""
        return checking.Checking(self.store, self.clock)

    @cached_property
    def archive(self) -> "page_search.Archive":
        """Search over the pages of all jobs."""
        return page_search.Archive(self.store, self.clock, indexed=self.settings.search_index)

    @cached_property
    def indexer(self) -> "indexer.Indexer":
        """The indexer, which fills the search index."""
        return indexer.Indexer(self.store, self.clock)

    @cached_property
    def changes(self) -> "changes.Changes":
        """Comparisons between runs."""
        return changes.Changes(self.store, self.clock)

    @cached_property
    def watching(self) -> "status.Watching":
        """Live status of workers and hosts, from the workers' reports."""
        return status.Watching(self.store, self.clock)

    @cached_property
    def overview(self) -> "overview.Overview":
        """The overview of problems that need attention."""
        room = partial(disk.room, self.settings)
        return overview.Overview(self.store, self.clock, self.watching, room)

    @cached_property
    def intake(self) -> "files.FileIntake":
        """The reader of template and schedule files."""
        return files.FileIntake()
