"""Contract of every bus between its participants."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from itertools import count

import pytest

from crawlyard.clock import SystemClock
from crawlyard.ids import new_id
from crawlyard.messaging.bus import Bus, BusReach
from crawlyard.messaging.memory_bus import MemoryBus
from crawlyard.messaging.redis_bus import RedisBus
from tests.conformance.buses import (
    PATIENCE_S,
    a_progress,
    at_once,
    receive_progress,
    until,
    until_latest,
)

BUSES = ("memory", pytest.param("redis", marks=pytest.mark.redis))


@pytest.fixture(params=BUSES)
async def join(request: pytest.FixtureRequest) -> AsyncIterator[Callable[[], Bus]]:
    """Return how a process joins: in memory there is but one."""
    async with AsyncExitStack() as stack:

        def joined(bus: Bus) -> Bus:
            stack.push_async_callback(bus.close)
            return bus

        if request.param == "memory":
            only = joined(MemoryBus(SystemClock()))
            yield lambda: only
        else:
            url: str = request.getfixturevalue("redis_url")
            yield lambda: joined(RedisBus(url, SystemClock()))


async def test_the_last_progress_of_each_job_is_known_to_all(join: Callable[[], Bus]) -> None:
    ours, their_bus, first_job, other = join(), join(), new_id(), new_id()
    await ours.publish(first_job, a_progress(1))
    await ours.publish(other, a_progress(2))
    their_bus.begin()

    await ours.publish(first_job, a_progress(3))

    await until_latest(their_bus, first_job, a_progress(3))
    await until_latest(their_bus, other, a_progress(2))


async def test_a_job_without_reports_has_no_progress(join: Callable[[], Bus]) -> None:
    bus = join()
    bus.begin()
    await until(lambda: bus.reach is not BusReach.AWAY)

    assert await bus.latest(new_id()) is None


async def test_a_subscriber_gets_the_progress_of_jobs(join: Callable[[], Bus]) -> None:
    ours, their_bus, first_job, other = join(), join(), new_id(), new_id()
    with their_bus.subscribe() as subscription:
        await until(lambda: their_bus.reach is not BusReach.AWAY)

        await ours.publish(first_job, a_progress(1))
        await ours.publish(other, a_progress(2))

        progress = await receive_progress(subscription, first_job, other)
        assert progress == {first_job: a_progress(1), other: a_progress(2)}


async def test_of_each_job_the_last_word_alone_waits(join: Callable[[], Bus]) -> None:
    ours, their_bus, job, last = join(), join(), new_id(), new_id()
    with their_bus.subscribe() as slow, their_bus.subscribe() as quick:
        await until(lambda: their_bus.reach is not BusReach.AWAY)
        for done in range(1, 100):
            await ours.publish(job, a_progress(done))
        await ours.publish(last, a_progress())
        await receive_progress(quick, last)

        progress, _ = slow.take()

    assert progress == {job: a_progress(99), last: a_progress()}


async def test_a_publisher_gets_its_own_messages(join: Callable[[], Bus]) -> None:
    bus, job = join(), new_id()
    with bus.subscribe() as subscription:
        at_once(bus.publish(job, a_progress(1)))

        assert subscription.take() == ({job: a_progress(1)}, False)


async def test_a_subscriber_is_notified_of_stored_events(join: Callable[[], Bus]) -> None:
    ours, their_bus = join(), join()
    with their_bus.subscribe() as subscription:
        await until(lambda: their_bus.reach is not BusReach.AWAY)
        subscription.take()

        await ours.notify_events_stored()

        async with asyncio.timeout(PATIENCE_S):
            happened = False
            while not happened:
                await subscription.news()
                _, happened = subscription.take()
        assert happened


async def test_a_closed_subscription_gets_nothing(join: Callable[[], Bus]) -> None:
    ours, their_bus, job = join(), join(), new_id()
    with their_bus.subscribe() as first:
        await until(lambda: their_bus.reach is not BusReach.AWAY)
    with their_bus.subscribe() as second:
        await until(lambda: their_bus.reach is not BusReach.AWAY)
        await ours.publish(job, a_progress(1))
        await receive_progress(second, job)

    assert first.take() == ({}, False)


async def test_publishing_does_not_wait_for_subscribers(join: Callable[[], Bus]) -> None:
    bus = join()
    numbers = count(1)
    with bus.subscribe():
        for number in range(100):
            at_once(bus.publish(f"job {number % 10}", a_progress(next(numbers))))
            at_once(bus.notify_events_stored())
