"""A store in dictionaries: the reference that the others are compared with.

No method waits inside: on one event loop each is a transaction by itself.
"""

from crawlyard.store.base import Store
from crawlyard.store.memory.events import MemoryEvents
from crawlyard.store.memory.frontier import MemoryFrontier
from crawlyard.store.memory.hosts import MemoryHosts
from crawlyard.store.memory.jobs import MemoryJobs
from crawlyard.store.memory.leases import MemoryLeases
from crawlyard.store.memory.pages import MemoryPages
from crawlyard.store.memory.shelf import Shelf


def open_memory_store() -> Store:
    """Return an empty store that lasts as long as the process."""
    shelf = Shelf()
    return Store(
        jobs=MemoryJobs(shelf),
        leases=MemoryLeases(shelf),
        frontier=MemoryFrontier(shelf),
        pages=MemoryPages(shelf),
        events=MemoryEvents(shelf),
        hosts=MemoryHosts(),
        close=_nothing_to_close,
    )


async def _nothing_to_close() -> None: ...
