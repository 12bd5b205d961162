from datetime import timedelta

from crawlyard import Limits, Progress, State, Usage
from crawlyard.core.jobs.progress import progress_of
from crawlyard.core.jobs.pulse import Pulse
from crawlyard.messaging.memory_bus import MemoryBus
from tests.clock import FakeClock

DAY = timedelta(hours=24)
SECOND = timedelta(seconds=1)


def a_progress(done: int = 1) -> Progress:
    return progress_of(Limits(), Usage(done=done), Pulse(), State.RUNNING)


async def test_progress_is_deleted_after_24_hours() -> None:
    clock = FakeClock()
    bus = MemoryBus(clock)
    await bus.publish("a", a_progress())

    await clock.advance(DAY)
    assert await bus.latest("a") == a_progress()
    await clock.advance(SECOND)

    assert await bus.latest("a") is None


async def test_new_progress_is_kept_for_another_24_hours() -> None:
    clock = FakeClock()
    bus = MemoryBus(clock)
    await bus.publish("a", a_progress(1))
    await clock.advance(DAY / 2)

    await bus.publish("a", a_progress(2))
    await clock.advance(DAY)

    assert await bus.latest("a") == a_progress(2)


async def test_a_bus_does_not_grow_with_jobs_of_days_ago() -> None:
    clock = FakeClock()
    bus = MemoryBus(clock)
    for job in ("a", "b", "a"):
        await bus.publish(job, a_progress())
        await clock.advance(DAY / 2 + SECOND)

    await bus.publish("c", a_progress())

    assert list(bus._latest) == ["a", "c"]
