"""A job's log is followed to its last line, without losses or repeats."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing

import httpx
import pytest

from crawlyard import connect, sync
from crawlyard.core.access.credential import CredentialKind
from crawlyard.core.access.user import LOCAL
from crawlyard.core.jobs.job_log import Level, LevelWord
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.core.jobs.log_answers import LineOut
from crawlyard.errors import NotFound, Unauthenticated
from crawlyard.services.surface import Surface
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.web.live import hub
from tests.scribe import Scribe, scribe_of
from tests.web.live_rig import PATIENCE_S, LiveRig, a_live_rig


@pytest.fixture
async def live() -> AsyncIterator[LiveRig]:
    async with a_live_rig(open_in_memory()) as rig:
        yield rig


@pytest.fixture
async def scribe(live: LiveRig) -> Scribe:
    """Return a writer of the log of a new job."""
    yard = live.rig.yard
    return await scribe_of(yard.store, yard.clock, await live.job())


def server_of(live: LiveRig) -> tuple[str, str]:
    """Return the URL of the instance, and the token of its admin."""
    return str(live.client.base_url).rstrip("/"), live.rig.secrets["local"]


async def some(lines: AsyncIterator[LineOut], count: int) -> list[int]:
    async with asyncio.timeout(PATIENCE_S):
        return [(await anext(lines)).n for _ in range(count)]


async def rest(lines: AsyncIterator[LineOut]) -> list[int]:
    """Return the numbers of all lines up to the end."""
    async with asyncio.timeout(PATIENCE_S):
        return [line.n async for line in lines]


async def test_a_log_is_streamed_to_its_end_from_a_given_position_and_level(
    live: LiveRig, scribe: Scribe
) -> None:
    await scribe.say(5, Level.WARNING)
    async with connect(*server_of(live)) as yard:
        followed = yard.jobs.log_stream(scribe.lease.job_id, level=LevelWord.WARNING, after=2)
        async with aclosing(followed) as lines:
            numbers = await some(lines, 3)
            await scribe.say(2)
            await scribe.say(1, Level.ERROR)
            numbers += await some(lines, 1)
            await scribe.end()
            numbers += await rest(lines)

    assert numbers == [3, 4, 5, 8]


async def test_a_connection_that_breaks_off_costs_nothing(live: LiveRig, scribe: Scribe) -> None:
    async with (
        connect(*server_of(live)) as yard,
        aclosing(yard.jobs.log_stream(scribe.lease.job_id)) as lines,
    ):
        await scribe.say(150)
        numbers = await some(lines, 120)
        for _ in range(3):
            for stream in live.rig.site.live.streams:
                stream.end()
            await scribe.say(110)
            numbers += await some(lines, 100)
        await scribe.end(Move.FAIL)
        numbers += await rest(lines)

    assert numbers == list(range(1, scribe.lines + 1))


class Proxy(httpx.AsyncHTTPTransport):
    """Answers by itself where a stream is asked for."""

    lists = 0  # requests for one

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.lists += request.url.path.endswith("/log")
        if request.url.path.endswith("/stream"):
            request.url = request.url.copy_with(path="/healthz")
        return await super().handle_async_request(request)


async def test_without_streaming_the_log_list_is_polled_to_its_end(
    live: LiveRig, scribe: Scribe
) -> None:
    proxy = Proxy()
    async with (
        connect(*server_of(live), transport=proxy) as yard,
        aclosing(yard.jobs.log_stream(scribe.lease.job_id)) as lines,
    ):
        await scribe.say(3)
        numbers = await some(lines, 3)
        await yard.jobs.cancel(scribe.lease.job_id)
        waiting = asyncio.create_task(rest(lines))
        list_requests = proxy.lists
        while proxy.lists < list_requests + 2 and not waiting.done():
            await yard.jobs.get(scribe.lease.job_id)
        await scribe.say(2, last=True)  # the last batch of a worker that was stopped
        numbers += await waiting

    assert numbers == [1, 2, 3, 4, 5]


async def test_with_too_many_open_streams_the_log_list_is_polled(
    live: LiveRig, scribe: Scribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "MAX_STREAMS_EACH", 0)
    await scribe.say(3)
    await scribe.end()

    async with (
        connect(*server_of(live)) as yard,
        aclosing(yard.jobs.log_stream(scribe.lease.job_id)) as lines,
    ):
        assert await rest(lines) == [1, 2, 3]


async def test_a_follower_whose_token_is_revoked_gets_an_error(
    live: LiveRig, scribe: Scribe
) -> None:
    access = live.rig.site.yard.services.access
    secret = await live.rig.token(LOCAL.id)
    caller = await access.caller(secret, CredentialKind.TOKEN)
    async with (
        connect(server_of(live)[0], secret) as yard,
        aclosing(yard.jobs.log_stream(scribe.lease.job_id)) as lines,
    ):
        await scribe.say()
        await some(lines, 1)
        await Surface(live.rig.yard.services, LOCAL).tokens.revoke(caller.credential.id)
        with pytest.raises(Unauthenticated):
            await rest(lines)


async def test_a_job_that_is_not_there_cannot_be_followed(live: LiveRig) -> None:
    async with connect(*server_of(live)) as yard:
        with pytest.raises(NotFound):
            await rest(yard.jobs.log_stream("0192"))


async def test_without_a_loop_it_is_the_same(live: LiveRig, scribe: Scribe) -> None:
    numbers: list[int] = []

    def follow() -> None:
        with sync.connect(*server_of(live)) as yard:
            numbers.extend(line.n for line in yard.jobs.log_stream(scribe.lease.job_id))

    await scribe.say(3)
    thread = threading.Thread(target=follow)
    thread.start()
    while not numbers:
        await live.rig.get("auth/me")
    await scribe.say(2)
    await scribe.end()
    await asyncio.to_thread(thread.join, PATIENCE_S)

    assert numbers == [1, 2, 3, 4, 5]
