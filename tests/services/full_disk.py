"""Program that runs a janitor and an operator on a file system without a free byte.

It fills the file system of the folder that it is given, and prints what happened.
"""

import asyncio
import errno
import json
import os
import sys
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

from crawlyard.core.jobs.lifecycle import Move
from crawlyard.errors import StoreFull
from crawlyard.services.upkeep.janitor import Janitor, JanitorOptions
from crawlyard.store.open import open_sql_store
from crawlyard.store.store import Store
from tests.builders import NOW
from tests.clock import LeapingClock
from tests.conformance.purging import deleted, with_pages
from tests.conformance.steps import database_of, ended, moved


def fill(folder: Path) -> None:
    """Write a file until the disk is full to the last byte."""
    with (folder / "filler").open("ab", buffering=0) as file:
        for size in (65_536, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def free(folder: Path) -> int:
    """Return the free bytes of the disk."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


async def one_write(store: Store) -> None:
    """Write the smallest possible transaction."""
    await database_of(store).write(lambda conn: conn.exec_driver_sql("PRAGMA user_version=0"))


async def main(folder: Path) -> dict[str, object]:
    """Return the outcome of an expired job and of a paused one."""
    store = await open_sql_store(folder / "crawlyard.db")
    clock = LeapingClock()
    clock.leapt = NOW + timedelta(days=31) - clock.now()
    janitor = Janitor(store, clock, JanitorOptions())
    await janitor.sweep()  # makes the reserve
    expired, paused = [await with_pages(store, 150, size=20_000) for _ in range(2)]
    await ended(store, expired.lease)
    await moved(store, paused.job.id, Move.PAUSE)

    async def crawl_until_full() -> None:
        fill(folder)
        for write in (partial(with_pages, store, 20, size=2000), partial(one_write, store)):
            with suppress(StoreFull):
                while True:
                    await write()
            fill(folder)

    await crawl_until_full()
    free_before = free(folder)
    swept = await janitor.sweep()
    remade = (folder / "crawlyard.db.reserve").exists()
    await crawl_until_full()
    cancelled = await moved(store, paused.job.id, Move.CANCEL)
    await deleted(store, cancelled)
    while await store.upkeep.purge():
        pass
    await store.close()
    return {
        "free_before": free_before,
        "deleted": swept.deleted,
        "bytes": swept.freed.bytes,
        "remade": remade,
        "free_after": free(folder),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(Path(sys.argv[1])))))
