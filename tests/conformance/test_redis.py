"""The bus over a Redis that dies, hangs, is flushed, comes back: only news are slower."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from crawlyard.clock import SystemClock
from crawlyard.errors import Invalid
from crawlyard.ids import new_id
from crawlyard.messaging.bus import PROGRESS_KEPT_FOR, BusReach
from crawlyard.messaging.redis_bus import CHANNEL, PREFIX, RedisBus
from tests.conformance.buses import a_progress, at_once, receive_progress, until, until_latest
from tests.redis_server import RedisServer

pytestmark = pytest.mark.redis

DOCS = Path(__file__).parents[2] / "docs" / "howto" / "redis.md"

Join = Callable[[], RedisBus]


@pytest.fixture
async def join(redis_server: RedisServer) -> AsyncIterator[Join]:
    """Return how a process joins."""
    async with AsyncExitStack() as stack:

        def joined() -> RedisBus:
            bus = RedisBus(redis_server.url, SystemClock())
            stack.push_async_callback(bus.close)
            return bus

        yield joined


@pytest.fixture
def raw(redis_server: RedisServer) -> Redis:
    """The server, asked by another client."""
    return Redis(port=redis_server.port)


def first_words(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the first three words of each logged warning about Redis."""
    records = [
        record for record in caplog.records if record.name == "crawlyard.messaging.redis_bus"
    ]
    return [" ".join(r.getMessage().split()[:3]) for r in records if r.levelno >= logging.WARNING]


def strike(server: RedisServer, fault: str) -> None:
    """Let that become of a server; nothing without a *fault*."""
    if fault == "kill":
        server.kill()
    elif fault == "hang":
        server.hang()


async def there(bus: RedisBus) -> None:
    await until(lambda: bus.reach is BusReach.YARD)


async def away(bus: RedisBus) -> None:
    await until(lambda: bus.reach is BusReach.AWAY)


async def speaks(ours: RedisBus, their_bus: RedisBus) -> None:
    """Check that what one publishes comes to the other's subscribers."""
    job = new_id()
    with their_bus.subscribe() as subscription:
        await there(their_bus)
        await ours.publish(job, a_progress(7))
        assert (await receive_progress(subscription, job))[job] == a_progress(7)


@pytest.mark.parametrize("fault", ["", "kill", "hang"])
async def test_a_check_returns_the_state_of_redis(
    join: Join, redis_server: RedisServer, fault: str
) -> None:
    strike(redis_server, fault)

    assert await join().check() is (BusReach.AWAY if fault else BusReach.YARD)


@pytest.mark.parametrize("fault", ["kill", "hang"])
async def test_an_unavailable_redis_blocks_no_caller_and_is_used_again_when_it_returns(
    join: Join, redis_server: RedisServer, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    ours, their_bus, job = join(), join(), new_id()
    await speaks(ours, their_bus)
    await there(ours)

    strike(redis_server, fault)
    await away(ours)
    await away(their_bus)
    for done in range(1, 1000):
        at_once(ours.publish(job, a_progress(done)))
        at_once(ours.notify_events_stored())
    progress = await ours.latest(job)
    redis_server.go_on()

    assert progress == a_progress(999)
    await until_latest(their_bus, job, a_progress(999))
    await speaks(ours, their_bus)
    await there(ours)
    assert sorted(set(first_words(caplog))) == ["Redis is away", "Redis is back"]
    assert len(first_words(caplog)) == 4  # once of each, by either of the two


async def test_a_redis_that_is_not_there_at_the_start_is_found_when_it_comes(
    join: Join, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.kill()
    ours, their_bus, job = join(), join(), new_id()
    ours.begin()
    await until(lambda: bool(first_words(caplog)))
    at_once(ours.publish(job, a_progress(1)))
    with ours.subscribe() as subscription:
        at_once(ours.publish(job, a_progress(2)))

        assert subscription.take()[0] == {job: a_progress(2)}  # this process hears itself
    assert await ours.latest(job) == a_progress(2)
    for _ in range(2):  # the first may have been under way: the other has tried to send it
        assert await ours.check() is BusReach.AWAY

    redis_server.start()

    await until_latest(their_bus, job, a_progress(2))
    await speaks(ours, their_bus)


@asynccontextmanager
async def nonsense() -> AsyncIterator[tuple[str, list[int]]]:
    """A server that answers, but not as Redis does; its URL, and how often it was asked."""
    connections: list[int] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(len(await reader.read(100)))
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"redis://:secret-word@127.0.0.1:{port}", connections


async def test_it_is_said_once_that_redis_is_away_and_never_with_its_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with nonsense() as (url, connections):
        bus = RedisBus(url, SystemClock())
        bus.begin()
        await until(lambda: len(connections) >= 4)
        await bus.close()

    assert first_words(caplog) == ["Redis is away"]
    assert "secret-word" not in caplog.text


async def test_progress_lost_by_redis_is_kept_locally_and_published_again(
    join: Join, raw: Redis
) -> None:
    ours, their_bus, job = join(), join(), new_id()
    their_bus.begin()
    await ours.publish(job, a_progress(1))
    await until_latest(their_bus, job, a_progress(1))

    raw.flushall()

    assert await ours.latest(job) == a_progress(1)
    assert await their_bus.latest(job) is None
    await ours.publish(job, a_progress(2))
    await until_latest(their_bus, job, a_progress(2))
    await speaks(ours, their_bus)


async def test_every_key_is_ours_by_its_name_and_goes_after_a_day(join: Join, raw: Redis) -> None:
    raw.flushall()
    ours, their_bus, jobs = join(), join(), [new_id() for _ in range(3)]
    their_bus.begin()
    for job in jobs:
        await ours.publish(job, a_progress(1))
    for job in jobs:
        await until_latest(their_bus, job, a_progress(1))
    await speaks(ours, their_bus)

    keys = list(raw.scan_iter())
    ttls = [raw.ttl(key) for key in keys]

    assert len(keys) > len(jobs)
    assert all(key.startswith(PREFIX.encode()) for key in keys)
    assert CHANNEL.startswith(PREFIX)
    day = PROGRESS_KEPT_FOR.total_seconds()
    assert all(day - 600 < seconds <= day for seconds in ttls)


async def test_what_cannot_be_read_is_skipped(
    join: Join, raw: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    ours, their_bus, job = join(), join(), new_id()
    with their_bus.subscribe() as subscription:
        await there(their_bus)
        for word in (
            b"\xff",
            b"[]",
            b"{}",
            b'{"origin": 1}',
            b'{"later": ' + b"[" * 100_000,
            b'{"origin": "a", "progress": {"a": 1}}',
            b'{"origin": "a", "progress": {"a": {"done": 1}}}',
        ):
            raw.publish(CHANNEL, word)
        for word in (b'{"done": "many"}', b'{"later": ' + b"[" * 100_000):
            raw.set(f"{PREFIX}progress:{job}", word, ex=60)
            assert await their_bus.latest(job) is None

        await ours.publish(job, a_progress(7))
        assert (await receive_progress(subscription, job))[job] == a_progress(7)
    assert not first_words(caplog)


async def test_fields_of_another_version_are_ignored(join: Join, raw: Redis) -> None:
    bus, job = join(), new_id()
    message = msgspec.to_builtins(a_progress(7)) | {"later": [1]}
    with bus.subscribe() as subscription:
        await there(bus)
        raw.publish(CHANNEL, json.dumps({"origin": "a", "progress": {job: message}, "later": {}}))
        assert (await receive_progress(subscription, job))[job] == a_progress(7)
    raw.set(f"{PREFIX}progress:{job}", json.dumps(message), ex=60)
    assert await bus.latest(job) == a_progress(7)


async def test_the_user_of_the_docs_may_do_all_that_is_needed(
    redis_server: RedisServer, raw: Redis
) -> None:
    (line,) = re.findall(r"^user crawlyard on >SECRET (.*)$", DOCS.read_text(), re.MULTILINE)
    raw.execute_command("ACL", "SETUSER", "crawlyard", "reset", "on", ">SECRET", *line.split())  # type: ignore[no-untyped-call]  # it has no types
    url = redis_server.url.replace("redis://", "redis://crawlyard:SECRET@")
    ours, their_bus = RedisBus(url, SystemClock()), RedisBus(url, SystemClock())

    await speaks(ours, their_bus)
    await there(ours)
    await ours.close()
    await their_bus.close()

    with pytest.raises(NoPermissionError):
        Redis.from_url(url).get("another's")


async def test_a_subscription_that_is_cut_off_is_made_again(join: Join, raw: Redis) -> None:
    ours, their_bus = join(), join()
    with their_bus.subscribe():
        await there(their_bus)
        cut = raw.execute_command("CLIENT KILL TYPE pubsub")  # type: ignore[no-untyped-call]  # it has no types

        assert cut >= 1
        await away(their_bus)
        await there(their_bus)
        await speaks(ours, their_bus)


@dataclass(slots=True)
class RedisProxy:
    """A proxy between a bus and its Redis."""

    port: int
    muted: bool = False
    subscribed: int = 0

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", self.port)
        subscribes = False

        async def there() -> None:
            nonlocal subscribes
            while data := await reader.read(65_536):
                if b"SUBSCRIBE" in data:
                    subscribes = True
                    self.subscribed += 1
                outer.write(data)

        async def back() -> None:
            while data := await inner.read(65_536):
                if not (self.muted and subscribes):
                    writer.write(data)

        tasks = [asyncio.create_task(there()), asyncio.create_task(back())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            outer.close()
            writer.close()

    @asynccontextmanager
    async def url(self) -> AsyncIterator[str]:
        async with await asyncio.start_server(self._pass_on, "127.0.0.1", 0) as server:
            yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_subscription_over_which_nothing_comes_any_more_is_made_again(
    join: Join, redis_server: RedisServer
) -> None:
    ours, proxy = join(), RedisProxy(redis_server.port)
    async with proxy.url() as url:
        their_bus = RedisBus(url, SystemClock())
        with their_bus.subscribe():
            await there(their_bus)
            proxy.muted = True
            await away(their_bus)
            proxy.muted = False
            await until(lambda: proxy.subscribed >= 2)

            await speaks(ours, their_bus)
        await their_bus.close()


async def test_jobs_that_ended_while_redis_is_away_do_not_pile_up(
    join: Join, redis_server: RedisServer
) -> None:
    redis_server.kill()
    bus = join()
    for number in range(3000):
        at_once(bus.publish(f"job {number}", a_progress()))

    assert len(bus._waiting) == 1000
    assert "job 2999" in bus._waiting


def test_what_is_no_url_of_redis_is_refused_and_not_shown() -> None:
    with pytest.raises(Invalid, match="redis_url: expected redis://HOST") as refused:
        RedisBus("http://:secret@host", SystemClock())

    assert "secret" not in str(refused.value)
