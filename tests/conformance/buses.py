"""Steps of tests about buses."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import timedelta
from typing import Any

from crawlyard import Limits, Progress, State, Usage
from crawlyard.core.jobs.progress import progress_of
from crawlyard.core.jobs.pulse import Pulse
from crawlyard.messaging.bus import Bus, BusSubscription

PATIENCE_S = 120  # more than anything here takes; a hang fails instead of blocking the suite
_TURN_S = 0.01


def a_progress(done: int = 1) -> Progress:
    usage = Usage(done=done, duration_s=timedelta(seconds=1, microseconds=1).total_seconds())
    return progress_of(Limits(pages=50), usage, Pulse(), State.RUNNING, "https://example.org/é")


async def until(claim: Callable[[], bool]) -> None:
    """Return once *claim* holds: what goes on in another process signals nothing here."""
    async with asyncio.timeout(PATIENCE_S):
        while not claim():  # noqa: ASYNC110 - see above
            await asyncio.sleep(_TURN_S)


async def until_latest(bus: Bus, job_id: str, progress: Progress) -> None:
    """Return once *bus* knows *progress* of a job."""
    async with asyncio.timeout(PATIENCE_S):
        while await bus.latest(job_id) != progress:  # noqa: ASYNC110 - see above
            await asyncio.sleep(_TURN_S)


async def receive_progress(subscription: BusSubscription, *jobs: str) -> Mapping[str, Progress]:
    """Return the progress received over the bus, once there is some of each of *jobs*."""
    progress: dict[str, Progress] = {}
    async with asyncio.timeout(PATIENCE_S):
        while not progress.keys() >= set(jobs):
            await subscription.news()
            progress.update(subscription.take()[0])
    return progress


def at_once(work: Awaitable[None]) -> None:
    """Do *work* to its end, and fail if it waits for anything."""
    assert isinstance(work, Coroutine)
    steps: Coroutine[Any, Any, None] = work
    try:
        steps.send(None)
    except StopIteration:
        return
    steps.close()
    raise AssertionError("it waits")
