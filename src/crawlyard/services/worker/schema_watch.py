"""A program that is older than the tables it works on stops before it writes what it knows not."""

from datetime import timedelta

from crawlyard.clock import Clock
from crawlyard.errors import SchemaMismatch, StoreUnavailable
from crawlyard.store.store import Store

LOOK_EVERY = timedelta(seconds=2)


async def outdated(store: Store, clock: Clock) -> SchemaMismatch:
    """Return, once somebody has brought the tables beyond this program, what says so."""
    while True:
        await clock.sleep(LOOK_EVERY)
        try:
            await store.check()
        except SchemaMismatch as error:
            return error
        except StoreUnavailable:
            continue
