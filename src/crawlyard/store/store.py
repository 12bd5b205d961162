"""The store: everything that is persisted. Each method is one transaction.

The caller passes in every instant. A method either does all of its work or raises:
`Conflict` means that another caller was faster, `StoreUnavailable` that nothing was written.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from msgspec import Struct
from msgspec.structs import fields

from crawlyard.core.workers.measures import Timing
from crawlyard.store.access.idempotency import ReplyStore
from crawlyard.store.access.keys import KeyStore
from crawlyard.store.access.settings import SettingStore
from crawlyard.store.access.site_sessions import SiteSessionStore
from crawlyard.store.access.users import CredentialStore, UserStore
from crawlyard.store.access.views import ViewStore
from crawlyard.store.attention.dismissals import DismissalStore
from crawlyard.store.attention.overview import OverviewStore
from crawlyard.store.crawl.changes import ChangeStore
from crawlyard.store.crawl.cookies import CookieStore
from crawlyard.store.crawl.frontier import FrontierStore
from crawlyard.store.crawl.journal import JournalStore
from crawlyard.store.crawl.pages import PageStore
from crawlyard.store.crawl.site_map import SiteMapStore
from crawlyard.store.db.database import Database
from crawlyard.store.db.schema import check
from crawlyard.store.events.events import EventLog
from crawlyard.store.hosts import HostRuleStore, HostStore, RobotsStore
from crawlyard.store.jobs.diagnostics import InquiryStore
from crawlyard.store.jobs.intake import IntakeStore
from crawlyard.store.jobs.jobs import JobStore
from crawlyard.store.jobs.leases import LeaseStore
from crawlyard.store.jobs.queue import QueueStore
from crawlyard.store.jobs.queue_position import QueuePositions
from crawlyard.store.jobs.spread import SpreadStore
from crawlyard.store.operations import OperationStore
from crawlyard.store.schedules.schedules import ScheduleStore
from crawlyard.store.schedules.ticks import TickStore
from crawlyard.store.search.index import PageIndexStore
from crawlyard.store.search.search import ArchiveStore
from crawlyard.store.stats import StatsStore
from crawlyard.store.templates import TemplateStore
from crawlyard.store.upkeep import UpkeepStore
from crawlyard.store.webhooks.deliveries import DeliveryStore
from crawlyard.store.webhooks.webhooks import WebhookStore
from crawlyard.store.workers import WorkerStore


class Store(Struct, frozen=True, kw_only=True):
    """All parts of the store, on one database."""

    jobs: JobStore
    intake: IntakeStore
    leases: LeaseStore
    spread: SpreadStore
    queue: QueueStore
    positions: QueuePositions
    frontier: FrontierStore
    pages: PageStore
    cookies: CookieStore
    archive: ArchiveStore
    page_index: PageIndexStore
    site_map: SiteMapStore
    changes: ChangeStore
    events: EventLog
    hosts: HostStore
    host_rules: HostRuleStore
    robots: RobotsStore
    templates: TemplateStore
    schedules: ScheduleStore
    ticks: TickStore
    webhooks: WebhookStore
    deliveries: DeliveryStore
    users: UserStore
    credentials: CredentialStore
    keys: KeyStore
    site_sessions: SiteSessionStore
    views: ViewStore
    dismissals: DismissalStore
    operations: OperationStore
    settings: SettingStore
    replies: ReplyStore
    workers: WorkerStore
    journal: JournalStore
    inquiries: InquiryStore
    overview: OverviewStore
    stats: StatsStore
    upkeep: UpkeepStore
    pool_waits: (
        Timing | None
    )  # of transactions for a connection of the pool; None: there is no pool
    check: Callable[[], Awaitable[None]]  # raises Unavailable unless it answers with our schema
    close: Callable[[], Awaitable[None]]  # waits for transactions under way

    @classmethod
    def on(cls, database: Database) -> "Store":
        """Return a store on a database whose tables exist."""
        parts: dict[str, Any] = {
            field.name: field.type(database)
            for field in fields(cls)
            if field.name not in {"pool_waits", "check", "close"}
        }
        check_schema = partial(check, database, database.name)
        return cls(
            **parts, pool_waits=database.pool_waits, check=check_schema, close=database.close
        )
