"""Streams of events and logs in the process, without a server in between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from crawlyard.config import Settings
from crawlyard.core.access.user import LOCAL, Actor, Permit
from crawlyard.core.events.event import Topic
from crawlyard.core.jobs.lifecycle import State
from crawlyard.errors import Forbidden, Invalid, NotFound
from crawlyard.services.surface import Surface
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.yard import IN_MEMORY, Yard
from tests.clock import FakeClock
from tests.scribe import scribe_of

FORM = {"urls": ["https://example.com/"]}
READER = frozenset({Permit.JOBS_READ})


@pytest.fixture
def yard() -> Yard:
    return Yard(Settings(database_url=IN_MEMORY), open_in_memory(), FakeClock())


async def first(events: AsyncIterator[object], count: int) -> list[object]:
    labels: list[object] = []
    async with asyncio.timeout(120), aclosing(events) as stream:  # type: ignore[type-var]
        async for event in stream:
            labels.append(getattr(event, "name", None) or getattr(event, "n", None))
            if len(labels) == count:
                return labels
    return labels


async def test_past_events_come_first_and_can_be_limited_to_one_job(yard: Yard) -> None:
    surface = Surface(yard.services, LOCAL)
    paused, other = await surface.jobs.create(FORM), await surface.jobs.create(FORM)
    await surface.jobs.pause(paused.id)

    assert await first(surface.events.stream(after=0), 3) == [
        "job.created",
        "job.created",
        "job.paused",
    ]
    assert await first(surface.events.stream(job=paused.id, after=0), 2) == [
        "job.created",
        "job.paused",
    ]
    assert await first(surface.events.stream_of_job(other.id, after=0), 1) == ["job.created"]
    assert await first(surface.events.stream(after=0, last_event_id=2), 1) == ["job.paused"]


async def test_what_was_shown_may_be_good_for_less(yard: Yard) -> None:
    await Surface(yard.services, LOCAL).jobs.create(FORM)
    limited = Surface(yard.services, LOCAL, READER).events
    deaf = Surface(yard.services, LOCAL, frozenset()).events

    assert (await limited.resolve_topics(None, None))[0] == {Topic.JOBS}
    with pytest.raises(Forbidden, match="users, workers"):
        await limited.resolve_topics(("workers", "users"), None)
    assert await first(deaf.stream(after=0), 1) == []
    assert (await deaf.list()).items == []
    with pytest.raises(Invalid, match="job"):
        await deaf.resolve_topics(None, "x")


async def test_a_job_of_another_cannot_be_followed(yard: Yard) -> None:
    job = await Surface(yard.services, LOCAL).jobs.create(FORM)
    adas = Surface(yard.services, Actor(id="ada"))
    with pytest.raises(NotFound):
        await first(adas.events.stream_of_job(job.id), 1)
    with pytest.raises(NotFound):
        await first(adas.jobs.log_stream(job.id), 1)


async def test_a_log_is_streamed_line_by_line_after_a_position(yard: Yard) -> None:
    surface = Surface(yard.services, LOCAL)
    job = await surface.jobs.create(FORM)
    assert isinstance(yard.clock, FakeClock)
    scribe = await scribe_of(yard.store, yard.clock, job.id)
    await scribe.say(3)

    assert (await surface.jobs.get(job.id)).state == State.RUNNING
    assert await first(surface.jobs.log_stream(job.id), 3) == [1, 2, 3]
    assert await first(surface.jobs.log_stream(job.id, after=1), 2) == [2, 3]
    assert await first(surface.jobs.log_stream(job.id, after=1, last_event_id=2), 1) == [3]
