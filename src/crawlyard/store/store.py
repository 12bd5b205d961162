"""The store: everything that is persisted. Each method is one transaction.

The caller passes in every instant. A method either does all of its work or raises:
`Conflict` means that another caller was faster, `StoreUnavailable` that nothing was written.
"""

from collections.abc import Callable
from copy import copy
from typing import Any, Generic, TypeVar

from crawlyard.core.workers.measures import Timing
from crawlyard.lazy import lazily
from crawlyard.store.db.database import Database, StorePart
from crawlyard.store.db.schema import check

# a command needs few of them
with lazily():
    from crawlyard.store import hosts, operations, stats, templates, upkeep, workers
    from crawlyard.store.access import idempotency, keys, settings, site_sessions, users, views
    from crawlyard.store.attention import dismissals, overview
    from crawlyard.store.crawl import changes, cookies, frontier, journal, pages, site_map
    from crawlyard.store.events import events
    from crawlyard.store.jobs import (
        diagnostics,
        groups,
        intake,
        jobs,
        leases,
        queue,
        queue_position,
        spread,
    )
    from crawlyard.store.schedules import schedules, ticks
    from crawlyard.store.search import index, search
    from crawlyard.store.webhooks import deliveries, page_deliveries, webhooks

P = TypeVar("P", bound=StorePart)


class _Part(Generic[P]):
    """A part of a store, loaded and created when it is first used."""

    def __init__(self, kind: Callable[[], type[P]]) -> None:
        self.kind = kind

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, store: "Store", owner: type) -> P:
        part = store.create(self._name, self.kind())
        vars(store)[self._name] = part  # which Python finds before this class, from now on
        return part


class Store:
    """All parts of the store, on one database whose tables exist."""

    jobs = _Part(lambda: jobs.JobStore)
    groups = _Part(lambda: groups.GroupStore)
    intake = _Part(lambda: intake.IntakeStore)
    leases = _Part(lambda: leases.LeaseStore)
    spread = _Part(lambda: spread.SpreadStore)
    queue = _Part(lambda: queue.QueueStore)
    positions = _Part(lambda: queue_position.QueuePositions)
    frontier = _Part(lambda: frontier.FrontierStore)
    pages = _Part(lambda: pages.PageStore)
    cookies = _Part(lambda: cookies.CookieStore)
    archive = _Part(lambda: search.ArchiveStore)
    page_index = _Part(lambda: index.PageIndexStore)
    site_map = _Part(lambda: site_map.SiteMapStore)
    changes = _Part(lambda: changes.ChangeStore)
    events = _Part(lambda: events.EventLog)
    hosts = _Part(lambda: hosts.HostStore)
    host_rules = _Part(lambda: hosts.HostRuleStore)
    robots = _Part(lambda: hosts.RobotsStore)
    templates = _Part(lambda: templates.TemplateStore)
    schedules = _Part(lambda: schedules.ScheduleStore)
    ticks = _Part(lambda: ticks.TickStore)
    webhooks = _Part(lambda: webhooks.WebhookStore)
    deliveries = _Part(lambda: deliveries.DeliveryStore)
    page_deliveries = _Part(lambda: page_deliveries.PageDeliveryStore)
    users = _Part(lambda: users.UserStore)
    credentials = _Part(lambda: users.CredentialStore)
    keys = _Part(lambda: keys.KeyStore)
    site_sessions = _Part(lambda: site_sessions.SiteSessionStore)
    views = _Part(lambda: views.ViewStore)
    dismissals = _Part(lambda: dismissals.DismissalStore)
    operations = _Part(lambda: operations.OperationStore)
    settings = _Part(lambda: settings.SettingStore)
    replies = _Part(lambda: idempotency.ReplyStore)
    workers = _Part(lambda: workers.WorkerStore)
    journal = _Part(lambda: journal.JournalStore)
    inquiries = _Part(lambda: diagnostics.InquiryStore)
    overview = _Part(lambda: overview.OverviewStore)
    stats = _Part(lambda: stats.StatsStore)
    upkeep = _Part(lambda: upkeep.UpkeepStore)

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def load(cls) -> None:
        """Load the modules of all parts, which forks of this process will share."""
        for part in vars(Store).values():
            if isinstance(part, _Part):
                part.kind()

    def create(self, name: str, kind: type[P]) -> P:
        """Create the part *name*, of class *kind*."""
        del name
        return kind(self._database)

    def with_parts(self, **parts: Any) -> "Store":
        """Return a copy with *parts* in place of its own."""
        changed = copy(self)
        vars(changed).update(parts)
        return changed

    @property
    def pool_waits(self) -> Timing | None:
        """Waits of transactions for a connection of the pool; ``None``: there is no pool."""
        return self._database.pool_waits

    async def check(self) -> None:
        """Check that the database answers, and that its tables are those of this program.

        Raises:
            StoreUnavailable, SchemaMismatch: as `store.db.schema.check`.
        """
        await check(self._database, self._database.name)

    async def close(self) -> None:
        """Wait for transactions under way, and disconnect."""
        await self._database.close()
