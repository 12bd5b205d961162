"""Schema watch: notices when the schema becomes newer than this program."""

from datetime import timedelta

from crawlyard.clock import Clock
from crawlyard.errors import SchemaMismatch, StoreUnavailable
from crawlyard.store.store import Store

LOOK_EVERY = timedelta(seconds=2)


async def outdated(store: Store, clock: Clock) -> SchemaMismatch:
    """Wait until the schema is newer than this program, and return the error that says so."""
    while True:
        await clock.sleep(LOOK_EVERY)
        try:
            await store.check()
        except SchemaMismatch as error:
            return error
        except StoreUnavailable:
            continue
