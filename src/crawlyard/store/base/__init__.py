"""What the yard needs of a store: Protocols of domain verbs, each method one transaction.

Every instant comes from the caller. A method either did all that it says or raised;
`Conflict` means that somebody was faster, `StoreUnavailable` that nothing was written.
"""

from collections.abc import Awaitable, Callable

from msgspec import Struct

from crawlyard.core.freed import Freed
from crawlyard.core.page import KnownURL
from crawlyard.store.base.access import CredentialStore, Proof, UserStore
from crawlyard.store.base.archive import ArchiveQuery, ArchiveStore
from crawlyard.store.base.desk import OperationStore, ReplyStore, SettingStore, ViewStore
from crawlyard.store.base.hosts import HostRuleStore, HostStore, RobotsStore
from crawlyard.store.base.inquiry import InquiryStore
from crawlyard.store.base.intake import Entered, Entrant, IntakeStore, Rules
from crawlyard.store.base.jobs import (
    COUNTED_TO,
    EVERY_EVENT,
    EVERY_JOB,
    EventLog,
    EventQuery,
    FrontierStore,
    JobQuery,
    JobStore,
    LeaseStore,
    PageQuery,
    PageStore,
)
from crawlyard.store.base.overview import OverviewStore
from crawlyard.store.base.queue import QueueStore
from crawlyard.store.base.schedules import Firing, ScheduleQuery, ScheduleStore, TickStore
from crawlyard.store.base.spread import SpreadStore
from crawlyard.store.base.templates import Carry, TemplateQuery, TemplateStore
from crawlyard.store.base.upkeep import UpkeepStore
from crawlyard.store.base.watch import JournalStore, WorkerStore
from crawlyard.store.base.webhooks import Claimed, DeliveryStore, WebhookQuery, WebhookStore

__all__ = [
    "COUNTED_TO",
    "EVERY_EVENT",
    "EVERY_JOB",
    "ArchiveQuery",
    "ArchiveStore",
    "Carry",
    "Claimed",
    "CredentialStore",
    "DeliveryStore",
    "Entered",
    "Entrant",
    "EventLog",
    "EventQuery",
    "Firing",
    "Freed",
    "FrontierStore",
    "HostRuleStore",
    "HostStore",
    "InquiryStore",
    "IntakeStore",
    "JobQuery",
    "JobStore",
    "JournalStore",
    "KnownURL",
    "LeaseStore",
    "OperationStore",
    "OverviewStore",
    "PageQuery",
    "PageStore",
    "Proof",
    "QueueStore",
    "ReplyStore",
    "RobotsStore",
    "Rules",
    "ScheduleQuery",
    "ScheduleStore",
    "SettingStore",
    "SpreadStore",
    "Store",
    "TemplateQuery",
    "TemplateStore",
    "TickStore",
    "UpkeepStore",
    "UserStore",
    "ViewStore",
    "WebhookQuery",
    "WebhookStore",
    "WorkerStore",
]


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
