"""A store in dictionaries: the reference that the others are compared with.

No method waits inside: on one event loop each is a transaction by itself.
"""

from collections.abc import Callable

from crawlyard.store.base import Store
from crawlyard.store.memory.access import MemoryCredentials, MemoryUsers
from crawlyard.store.memory.archive import MemoryArchive
from crawlyard.store.memory.deliveries import MemoryDeliveries
from crawlyard.store.memory.desk import (
    MemoryOperations,
    MemoryReplies,
    MemorySettings,
    MemoryViews,
)
from crawlyard.store.memory.events import MemoryEvents
from crawlyard.store.memory.frontier import MemoryFrontier
from crawlyard.store.memory.host_rules import MemoryHostRules
from crawlyard.store.memory.hosts import MemoryHosts, MemoryRobots
from crawlyard.store.memory.inquiry import MemoryInquiries
from crawlyard.store.memory.intake import MemoryIntake
from crawlyard.store.memory.jobs import MemoryJobs
from crawlyard.store.memory.leases import MemoryLeases
from crawlyard.store.memory.overview import MemoryOverview
from crawlyard.store.memory.pages import MemoryPages
from crawlyard.store.memory.queue import MemoryQueue
from crawlyard.store.memory.schedules import MemorySchedules, MemoryTicks
from crawlyard.store.memory.shelf import Shelf
from crawlyard.store.memory.spread import MemorySpread
from crawlyard.store.memory.templates import MemoryTemplates
from crawlyard.store.memory.upkeep import MemoryUpkeep
from crawlyard.store.memory.watch import MemoryJournal, MemoryWorkers
from crawlyard.store.memory.webhooks import MemoryWebhooks


def open_memory_store(opened: Callable[[], None] | None = None) -> Store:
    """Return an empty store that lasts as long as the process.

    *opened* is called when a shard of a running job waits for somebody to join.
    """
    shelf = Shelf(opened=opened)
    return Store(
        jobs=MemoryJobs(shelf),
        intake=MemoryIntake(shelf),
        leases=MemoryLeases(shelf),
        spread=MemorySpread(shelf),
        queue=MemoryQueue(shelf),
        frontier=MemoryFrontier(shelf),
        pages=MemoryPages(shelf),
        archive=MemoryArchive(shelf),
        events=MemoryEvents(shelf),
        hosts=MemoryHosts(shelf),
        host_rules=MemoryHostRules(shelf),
        robots=MemoryRobots(),
        templates=MemoryTemplates(shelf),
        schedules=MemorySchedules(shelf),
        ticks=MemoryTicks(shelf),
        webhooks=MemoryWebhooks(shelf),
        deliveries=MemoryDeliveries(shelf),
        users=MemoryUsers(shelf),
        credentials=MemoryCredentials(shelf),
        views=MemoryViews(),
        operations=MemoryOperations(),
        settings=MemorySettings(shelf),
        replies=MemoryReplies(),
        workers=MemoryWorkers(shelf),
        journal=MemoryJournal(shelf),
        inquiries=MemoryInquiries(shelf),
        overview=MemoryOverview(shelf),
        upkeep=MemoryUpkeep(shelf),
        check=_nothing,
        close=_nothing,
    )


async def _nothing() -> None: ...
