"""What the yard needs of a store: Protocols of domain verbs, each method one transaction.

Every instant comes from the caller. A method either did all that it says or raised;
`Conflict` means that somebody was faster, `StoreUnavailable` that nothing was written.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from crawlyard.store.base.jobs import (
    EVERY_EVENT,
    EventLog,
    EventQuery,
    FrontierStore,
    HostStore,
    JobQuery,
    JobStore,
    LeaseStore,
    PageQuery,
    PageStore,
)
from crawlyard.store.base.schedules import Firing, ScheduleQuery, ScheduleStore, TickStore
from crawlyard.store.base.templates import TemplateQuery, TemplateStore
from crawlyard.store.base.upkeep import Freed, UpkeepStore
from crawlyard.store.base.webhooks import Claimed, DeliveryStore, WebhookQuery, WebhookStore

__all__ = [
    "EVERY_EVENT",
    "Claimed",
    "DeliveryStore",
    "EventLog",
    "EventQuery",
    "Firing",
    "Freed",
    "FrontierStore",
    "HostStore",
    "JobQuery",
    "JobStore",
    "LeaseStore",
    "PageQuery",
    "PageStore",
    "ScheduleQuery",
    "ScheduleStore",
    "Store",
    "TemplateQuery",
    "TemplateStore",
    "TickStore",
    "UpkeepStore",
    "WebhookQuery",
    "WebhookStore",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """All of them together, on one database."""

    jobs: JobStore
    leases: LeaseStore
    frontier: FrontierStore
    pages: PageStore
    events: EventLog
    hosts: HostStore
    templates: TemplateStore
    schedules: ScheduleStore
    ticks: TickStore
    webhooks: WebhookStore
    deliveries: DeliveryStore
    upkeep: UpkeepStore
    close: Callable[[], Awaitable[None]]  # waits for what is being written
