"""The store: all that is remembered, each method one transaction.

Every instant comes from the caller. A method either did all that it says or raised;
`Conflict` means that somebody was faster, `StoreUnavailable` that nothing was written.
"""

from collections.abc import Awaitable, Callable

from msgspec import Struct

from crawlyard.store.sql.access import CredentialStore, UserStore
from crawlyard.store.sql.archive import ArchiveStore
from crawlyard.store.sql.deliveries import DeliveryStore
from crawlyard.store.sql.desk import OperationStore, SettingStore, ViewStore
from crawlyard.store.sql.events import EventLog
from crawlyard.store.sql.frontier import FrontierStore
from crawlyard.store.sql.host_rules import HostRuleStore
from crawlyard.store.sql.hosts import HostStore
from crawlyard.store.sql.inquiry import InquiryStore
from crawlyard.store.sql.intake import IntakeStore
from crawlyard.store.sql.jobs import JobStore
from crawlyard.store.sql.leases import LeaseStore
from crawlyard.store.sql.overview import OverviewStore
from crawlyard.store.sql.pages import PageStore
from crawlyard.store.sql.queue import QueueStore
from crawlyard.store.sql.replies import ReplyStore
from crawlyard.store.sql.robots import RobotsStore
from crawlyard.store.sql.schedules import ScheduleStore
from crawlyard.store.sql.spread import SpreadStore
from crawlyard.store.sql.templates import TemplateStore
from crawlyard.store.sql.ticks import TickStore
from crawlyard.store.sql.upkeep import UpkeepStore
from crawlyard.store.sql.watch import JournalStore, WorkerStore
from crawlyard.store.sql.webhooks import WebhookStore


class Store(Struct, frozen=True, kw_only=True):
    """All of them together, on one database."""

    jobs: JobStore
    intake: IntakeStore
    leases: LeaseStore
    spread: SpreadStore
    queue: QueueStore
    frontier: FrontierStore
    pages: PageStore
    archive: ArchiveStore
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
    views: ViewStore
    operations: OperationStore
    settings: SettingStore
    replies: ReplyStore
    workers: WorkerStore
    journal: JournalStore
    inquiries: InquiryStore
    overview: OverviewStore
    upkeep: UpkeepStore
    check: Callable[[], Awaitable[None]]  # raises Unavailable unless it answers, as it must be
    close: Callable[[], Awaitable[None]]  # waits for what is being written
