"""Clock sync: keeps the clock of a process with that of the database server."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from crawlyard.clock import SystemClock
from crawlyard.errors import StoreUnavailable
from crawlyard.store.upkeep import UpkeepStore

COMPARE_EVERY = timedelta(seconds=2)
"""As often as a worker reports: a clock that is wrong by 0.0001 of itself is 0.2 ms off by then."""

_FAR = timedelta(seconds=1)  # slots of hosts allow for that much between two clocks

_log = logging.getLogger(__name__)


def proven(asked_at: datetime, answered_at: datetime, server_time: datetime) -> timedelta:
    """Return by how much another clock is at least ahead of ours; negative if it is behind.

    It showed *server_time* at some instant between *asked_at* and *answered_at*, so a slow
    answer proves little, but it never makes a correct clock look wrong.
    """
    return max(server_time - answered_at, min(server_time - asked_at, timedelta(0)))


@asynccontextmanager
async def follow_server_clock(upkeep: UpkeepStore, clock: SystemClock) -> AsyncIterator[None]:
    """Steer *clock* by the clock of the database server during the block."""
    following = asyncio.create_task(_follow(upkeep, clock))
    try:
        yield
    finally:
        following.cancel()
        await asyncio.wait((following,))


async def _follow(upkeep: UpkeepStore, clock: SystemClock) -> None:
    was_far = False
    while True:
        await clock.sleep(COMPARE_EVERY)
        asked_at = clock.now()
        try:
            server_time = await upkeep.server_time()
        except StoreUnavailable:
            continue  # perhaps another server answers next
        ahead = proven(asked_at, clock.now(), server_time)
        clock.steer(ahead)
        is_far = abs(ahead) > _FAR
        if is_far and not was_far:
            message = (
                "the clock of the database is %+.1f s from that of this process, which follows it"
            )
            _log.warning(message, ahead.total_seconds())
        was_far = is_far
