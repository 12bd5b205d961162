"""Events are followed without gaps or repeats, across broken connections."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing

import httpx
import pytest

from crawlyard import connect, sync
from crawlyard.api.follow import EventCursor, Message
from crawlyard.core.access.credential import CredentialKind
from crawlyard.core.access.user import LOCAL
from crawlyard.core.jobs.answers import EventOut
from crawlyard.errors import Unauthenticated, Unavailable
from crawlyard.services.events.event_feed import EventFeed
from crawlyard.services.surface import Surface
from crawlyard.store.db.in_memory import open_in_memory
from tests.web.live_rig import PATIENCE_S, LiveRig, a_live_rig


@pytest.fixture
async def live() -> AsyncIterator[LiveRig]:
    async with a_live_rig(open_in_memory()) as rig:
        yield rig


def server_of(live: LiveRig) -> tuple[str, str]:
    """Return the URL of the instance, and the token of its admin."""
    return str(live.client.base_url).rstrip("/"), live.rig.secrets["local"]


async def last(yard: Surface) -> int:
    """Return the seq of the newest event."""
    return (await yard.events.list(limit=1)).items[0].seq


async def some(events: AsyncIterator[EventOut], count: int) -> list[EventOut]:
    async with asyncio.timeout(PATIENCE_S):
        return [await anext(events) for _ in range(count)]


async def test_events_are_streamed_from_a_given_position(live: LiveRig) -> None:
    await live.job()
    async with connect(*server_of(live)) as yard:
        after = await last(yard)
        first, second = await live.job(), await live.job()
        async with aclosing(yard.events.stream(after=after)) as events:
            received = await some(events, 2)
            third = await live.job()
            received += await some(events, 1)

    assert [event.job_id for event in received] == [first, second, third]
    assert {event.name for event in received} == {"job.created"}
    assert [event.seq for event in received] == sorted({event.seq for event in received})


async def test_one_job_can_be_followed(live: LiveRig) -> None:
    job_id = await live.job()
    async with connect(*server_of(live)) as yard:
        followed = yard.events.stream(job=job_id, after=await last(yard))
        async with aclosing(followed) as events:
            waiting = asyncio.create_task(some(events, 1))
            other = await live.job()
            await yard.jobs.pause(other)
            await yard.jobs.pause(job_id)
            [event] = await waiting

    assert (event.name, event.job_id) == ("job.paused", job_id)


async def test_a_connection_that_breaks_off_costs_nothing(live: LiveRig) -> None:
    hub = live.rig.site.live
    async with connect(*server_of(live)) as yard:
        after = await last(yard)
        async with aclosing(yard.events.stream(after=after)) as events:
            jobs = [await live.job()]
            received = await some(events, 1)
            for _ in range(3):
                for stream in hub.streams:
                    stream.end()
                jobs.append(await live.job())
                received += await some(events, 1)

    assert [event.job_id for event in received] == jobs


async def test_without_streaming_the_event_list_is_polled(live: LiveRig) -> None:
    class Proxy(httpx.AsyncHTTPTransport):
        """Answers by itself where a stream is asked for."""

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/stream"):
                request.url = request.url.copy_with(path="/healthz")
            return await super().handle_async_request(request)

    async with connect(*server_of(live), transport=Proxy()) as yard:
        after = await last(yard)
        async with aclosing(yard.events.stream(after=after)) as events:
            jobs = [await live.job()]
            received = await some(events, 1)
            jobs.append(await live.job())
            received += await some(events, 1)

    assert [event.job_id for event in received] == jobs


async def test_a_follower_whose_token_is_revoked_gets_an_error(live: LiveRig) -> None:
    site = live.rig.site
    secret = await live.rig.token(LOCAL.id)
    caller = await site.yard.services.access.caller(secret, CredentialKind.TOKEN)
    base, _ = server_of(live)
    async with connect(base, secret) as yard, aclosing(yard.events.stream()) as events:
        waiting = asyncio.create_task(some(events, 1))
        await last(yard)
        await Surface(site.yard.services, LOCAL).tokens.revoke(caller.credential.id)

        with pytest.raises(Unauthenticated):
            await waiting


async def test_without_a_loop_it_is_the_same(live: LiveRig) -> None:
    received: list[str | None] = []
    server = server_of(live)

    def follow(after: int) -> None:
        with sync.connect(*server) as yard:
            events = yard.events.stream(after=after)
            received.extend(next(events).job_id for _ in range(2))

    async with connect(*server) as yard:
        after = await last(yard)
    jobs = [await live.job()]
    thread = threading.Thread(target=follow, args=(after,))
    thread.start()
    jobs.append(await live.job())
    await asyncio.to_thread(thread.join, PATIENCE_S)

    assert received == jobs


def event_place(seq: int) -> EventCursor:
    return EventCursor(EventFeed.__new__(EventFeed), seq)


def test_restarted_event_numbers_are_followed() -> None:
    place = event_place(90)
    hello = '{"seq":5,"server_time":"2027-01-01T00:00:00Z","version":"1","heartbeat_s":15,'

    missed = place.signals_gap(Message(event="hello", id=None, data=hello + '"progress_hz":2}'))

    assert (missed, place.seq) == (False, 5)
    assert place.advance(6)
    assert not place.advance(6)


@pytest.mark.parametrize(("id_", "asks"), [("95", True), ("50", False)])
def test_a_gap_is_read_from_the_list_and_a_restart_is_not(id_: str, asks: bool) -> None:
    place = event_place(90)

    assert place.signals_gap(Message(event="resync", id=id_, data='{"reason":"gap"}')) is asks
    assert place.seq == (90 if asks else 50)


def test_a_connection_that_cannot_be_had_is_tried_more_and_more_seldom() -> None:
    place = event_place(1)
    tried = []

    for _ in range(5):
        place.note_failure(Unavailable("away"))
        skipped = 0
        while not place.should_connect():
            skipped += 1
        tried.append(skipped)

    assert tried == sorted(tried)
    assert place.pause_s <= 1.25
