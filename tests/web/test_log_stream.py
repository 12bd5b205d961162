"""Stream of a job's log: each line once, for clients that reconnect or read slowly."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from crawlyard.core.access.user import LOCAL
from crawlyard.core.jobs.job_log import MOST_LINES, Level, LogEnd, LogLine
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.errors import StoreUnavailable
from crawlyard.services.jobs.follow import PORTION
from crawlyard.store.crawl.journal import JournalStore
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.store.open import open_sql_store
from crawlyard.store.store import Store
from crawlyard.web.live import hub
from crawlyard.web.live.hub import PING_EVERY, POLL_EVERY
from crawlyard.web.live.stream import LogSubscription, Subscription
from tests.builders import LEASE
from tests.scribe import Scribe, scribe_of
from tests.web.live_rig import PATIENCE_S, Listener, LiveRig, ServerEvent, a_live_rig
from tests.web.rig import Rig, a_rig, problem
from tests.web.test_hub import Ear, Log, caller, listening
from tests.web.test_live import slow_reader, until_open


@pytest.fixture
async def live() -> AsyncIterator[LiveRig]:
    async with a_live_rig(open_in_memory()) as rig:
        yield rig


async def a_scribe(live: LiveRig, by: str = LOCAL.id, store: Store | None = None) -> Scribe:
    """Return a writer of the log of a new job, in *store* if given."""
    yard = live.rig.yard
    return await scribe_of(store or yard.store, yard.clock, await live.job(by))


def path(scribe: Scribe) -> str:
    return f"jobs/{scribe.lease.job_id}/log/stream"


def numbers_in(messages: Collection[ServerEvent]) -> list[int]:
    """Return the numbers of the lines that were heard, in their order."""
    spoken = [message.data["lines"] for message in messages if message.event == "job.log"]
    return [line["n"] for lines_ in spoken for line in lines_]


@asynccontextmanager
async def all_following(rig: Rig, scribe: Scribe, count: int) -> AsyncIterator[list[Ear]]:
    """Let so many streams follow a log for the block, over a clock that stands still."""
    live, subscription = rig.site.live, Subscription(log=LogSubscription(job=scribe.lease.job_id))
    ears = [Ear(await live.open(await caller(rig), subscription)) for _ in range(count)]
    tasks = [asyncio.create_task(ear.listen(live.messages(ear.stream))) for ear in ears]
    await rig.clock.advance(timedelta(0))
    try:
        yield ears
    finally:
        for ear, task in zip(ears, tasks, strict=True):
            task.cancel()
            live.leave(ear.stream)
        await rig.clock.advance(timedelta(0))


@asynccontextmanager
async def following(rig: Rig, scribe: Scribe) -> AsyncIterator[Ear]:
    """Let one stream do so."""
    async with all_following(rig, scribe, 1) as [ear]:
        yield ear


def numbers(ear: Ear) -> list[int]:
    """Return the numbers of the lines that were told, in their order."""
    numbers_: list[int] = []
    for name, data in ear.told:
        if name == "job.log":
            told_lines = data["lines"]
            assert isinstance(told_lines, list)
            numbers_ += [line["n"] for line in told_lines]
    return numbers_


async def lines(listener: Listener, count: int) -> list[int]:
    """Return the numbers of the next lines, at least so many."""
    numbers_: list[int] = []
    while len(numbers_) < count:
        numbers_ += numbers_in([await listener.until("job.log")])
    return numbers_


async def test_stored_lines_come_first_then_new_ones_then_the_end(live: LiveRig) -> None:
    scribe = await a_scribe(live)
    await scribe.say(2, Level.WARNING, url="https://example.com/x")

    async with live.listen(path(scribe)) as listener:
        hello = await listener.next()
        first = await listener.until("job.log")
        await scribe.say()
        second = await listener.until("job.log")
        await scribe.end()
        messages = await listener.ended()

    job_id = scribe.lease.job_id
    assert listener.answer.headers["content-type"].startswith("text/event-stream")
    assert (hello.event, hello.data["job_id"], hello.data["after"]) == ("hello", job_id, 0)
    assert (first.id, second.id, first.data["job_id"]) == (2, 3, job_id)
    listed = (await live.rig.get(f"jobs/{job_id}/log")).json()["items"]
    assert first.data["lines"] + second.data["lines"] == listed
    assert (messages[-1].event, messages[-1].id) == ("end", None)
    assert messages[-1].data == {"job_id": job_id, "state": "completed"}


async def test_the_log_of_an_ended_job_is_sent_whole_and_closed(live: LiveRig) -> None:
    scribe = await a_scribe(live)
    await scribe.say(250)
    await scribe.end(Move.FAIL)

    async with live.listen(path(scribe)) as listener:
        messages = await listener.ended()
    async with live.listen(path(scribe), after=250) as listener:
        again = await listener.ended()

    assert numbers_in(messages) == list(range(1, 251))
    assert [len(m.data["lines"]) for m in messages if m.event == "job.log"] == [
        PORTION,
        PORTION,
        50,
    ]
    assert [m.event for m in again] == ["hello", "end"]
    assert messages[-1].data["state"] == again[-1].data["state"] == "failed"


async def test_a_client_that_reconnects_gets_each_line_once(live: LiveRig) -> None:
    scribe = await a_scribe(live)
    numbers_: list[int] = []

    async def write() -> None:
        for n in range(120):
            await scribe.say(1 + n % 7)
            await live.rig.get("auth/me")  # so that others have their turns
        await scribe.end()

    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        group.create_task(write())
        again: dict[str, str] = {}
        ended = False
        while not ended:
            # as a browser does: the URL is that of the first time
            async with live.listen(path(scribe), headers=again, after=0) as listener:
                for _ in range(4):
                    message = await listener.next()
                    numbers_ += numbers_in([message])
                    if ended := message.event == "end":
                        break
            again = {"Last-Event-ID": str(numbers_[-1])} if numbers_ else {}

    assert numbers_ == list(range(1, scribe.lines + 1))
    assert len(numbers_) > 400


async def test_lines_from_a_worker_in_another_process_come_without_a_gap(tmp_path: Path) -> None:
    server, other = [await open_sql_store(tmp_path / "yard.db") for _ in range(2)]
    numbers_: list[int] = []
    async with a_live_rig(server) as live:
        scribe = await a_scribe(live, store=other)

        async def write() -> None:
            for _ in range(60):
                await scribe.say(3)

        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            group.create_task(write())
            while len(numbers_) < 180:
                async with live.listen(
                    path(scribe), after=numbers_[-1] if numbers_ else 0
                ) as listener:
                    numbers_ += await lines(listener, min(40, 180 - len(numbers_)))
    for store in (server, other):
        await store.close()

    assert numbers_ == list(range(1, 181))


async def test_lines_below_the_level_are_left_out(live: LiveRig) -> None:
    scribe = await a_scribe(live)
    await scribe.say(150, Level.DEBUG)
    await scribe.say(1, Level.ERROR)

    async with (
        live.listen(path(scribe), level="warning") as grave,
        live.listen(path(scribe)) as usual,
        live.listen(path(scribe), level="debug") as every,
    ):
        await lines(grave, 1)
        await scribe.say(1)
        await scribe.say(120, Level.DEBUG)
        await scribe.say(1, Level.WARNING)
        await scribe.end()
        numbers_ = [numbers_in(await listener.ended()) for listener in (grave, usual, every)]

    assert numbers_ == [[151, 273], [151, 152, 273], list(range(1, 274))]


async def test_the_last_batch_of_a_cancelled_job_is_sent(rig: Rig) -> None:
    scribe = await scribe_of(rig.yard.store, rig.clock, (await rig.job())["id"])
    async with following(rig, scribe) as ear:
        await rig.post(f"jobs/{scribe.lease.job_id}/cancel")
        await rig.clock.advance(5 * POLL_EVERY)
        before = [name for name, _ in ear.told]
        await scribe.say(2, last=True)
        await rig.clock.advance(POLL_EVERY)

        assert before == ["hello"]
        assert numbers(ear) == [1, 2]
        assert ear.told[-1][0] == "end"
        assert ear.told[-1][1]["state"] == "cancelled"


async def test_a_worker_that_died_of_a_cancelled_job_is_not_waited_for(rig: Rig) -> None:
    scribe = await scribe_of(rig.yard.store, rig.clock, (await rig.job())["id"])
    async with following(rig, scribe) as ear:
        await rig.post(f"jobs/{scribe.lease.job_id}/cancel")
        await rig.clock.advance(LEASE + POLL_EVERY)
        assert ear.told[-1][0] == "end"


async def test_a_job_that_is_deleted_ends_the_stream(rig: Rig) -> None:
    job_id = (await rig.job())["id"]
    scribe = await scribe_of(rig.yard.store, rig.clock, job_id)
    async with following(rig, scribe) as ear:
        await scribe.end(Move.REQUEUE)
        await rig.post(f"jobs/{job_id}/pause")
        assert (await rig.ask("DELETE", f"jobs/{job_id}")).status_code == 204
        await rig.clock.advance(POLL_EVERY)

        assert ear.told[-1] == ("end", {"job_id": job_id, "state": None})


async def test_a_client_that_missed_deleted_lines_is_notified(live: LiveRig) -> None:
    scribe = await a_scribe(live)
    await scribe.say(MOST_LINES)
    await scribe.say(30)
    await scribe.end()

    async with live.listen(path(scribe), after=10) as late, live.listen(path(scribe)) as new:
        missed, begun = await late.ended(), await new.ended()

    stored = list(range(31, MOST_LINES + 31))
    assert [m.event for m in missed][:3] == ["hello", "resync", "job.log"]
    assert (missed[1].id, missed[1].data) == (30, {"reason": "gap"})
    assert numbers_in(missed) == numbers_in(begun) == stored
    assert "resync" not in {m.event for m in begun}


async def test_lines_are_sent_at_most_five_times_a_second_and_pings_every_15_s(rig: Rig) -> None:
    scribe = await scribe_of(rig.yard.store, rig.clock, (await rig.job())["id"])
    async with following(rig, scribe) as ear:
        for _ in range(40):
            await scribe.say()
            await rig.clock.advance(timedelta(milliseconds=50))
        await rig.clock.advance(POLL_EVERY)
        busy = [name for name, _ in ear.told].count("job.log")
        numbers_ = numbers(ear)
        await rig.clock.advance(2 * PING_EVERY)

        assert numbers_ == list(range(1, 41))
        assert busy <= 11
        assert [name for name, _ in ear.told][-2:] == ["ping", "ping"]


async def test_a_restarted_event_table_does_not_affect_a_log_stream() -> None:
    store = open_in_memory()
    log = Log(store.events)
    rig = await a_rig(store.with_parts(events=log))
    scribe = await scribe_of(store, rig.clock, (await rig.job())["id"])
    async with following(rig, scribe) as ear:
        log.inner = open_in_memory().events
        await rig.clock.advance(2 * POLL_EVERY)
        await scribe.say()
        await rig.clock.advance(POLL_EVERY)

        assert [name for name, _ in ear.told] == ["hello", "job.log"]


# --- who may, and how many


async def test_what_cannot_be_followed_is_refused(live: LiveRig) -> None:
    scribe = await a_scribe(live)
    for query in ["level=loud", "after=-1", "after=x", f"after={2**31}"]:
        async with live.listen(f"{path(scribe)}?{query}") as listener:
            assert problem(listener.answer) == (422, "validation_failed"), query


async def test_a_place_that_is_none_is_named_as_the_header_that_it_is(live: LiveRig) -> None:
    scribe = await a_scribe(live)
    for place in ["x", "-1", "1.5", str(2**31)]:
        async with live.listen(path(scribe), headers={"Last-Event-ID": place}) as listener:
            assert problem(listener.answer) == (422, "validation_failed"), place
            [fault] = listener.answer.json()["errors"]
        assert (fault["parameter"], fault["pointer"]) == ("Last-Event-ID", None), place


async def test_logs_and_events_share_the_streams_of_a_token(
    live: LiveRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "MAX_STREAMS_EACH", 2)
    scribe = await a_scribe(live)

    async with live.listen() as first, live.listen(path(scribe)) as two:
        await first.next()
        await two.next()
        async with live.listen(path(scribe)) as three, live.listen() as four:
            assert problem(three.answer) == (429, "limit_exceeded")
            assert problem(four.answer) == (429, "limit_exceeded")
    await until_open(live, 0)
    async with live.listen(path(scribe)) as again:
        assert (await again.next()).event == "hello"


async def test_a_server_that_ends_closes_logs_without_a_word_of_their_end(live: LiveRig) -> None:
    scribe = await a_scribe(live)
    async with live.listen(path(scribe)) as listener:
        await listener.until("hello")
        live.rig.site.live.close()
        messages = await listener.ended()
    assert {m.event for m in messages} <= {"hello", "ping"}


# --- what it costs


class CountedJournal:
    """A journal that counts what is read of it, and may be away."""

    def __init__(self, inner: JournalStore) -> None:
        self.inner = inner
        self.reads = 0
        self.lines_read = 0  # lines
        self.looks = 0
        self.away = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def lines(
        self, job_id: str, least: Level, after: int, limit: int, text: str = ""
    ) -> list[LogLine]:
        if self.away:
            raise StoreUnavailable("the database is away")
        lines_read = await self.inner.lines(job_id, least, after, limit, text)
        self.reads += 1
        self.lines_read += len(lines_read)
        return lines_read

    async def ends(self, job_ids: Collection[str]) -> Mapping[str, LogEnd]:
        if self.away:
            raise StoreUnavailable("the database is away")
        self.looks += 1
        return await self.inner.ends(job_ids)


@dataclass(frozen=True, slots=True)
class Costly:
    """A server whose journal is counted, over a clock that stands still."""

    rig: Rig
    journal: CountedJournal

    async def scribe(self) -> Scribe:
        return await scribe_of(self.rig.yard.store, self.rig.clock, (await self.rig.job())["id"])


def counted() -> tuple[Store, CountedJournal]:
    store = open_in_memory()
    journal = CountedJournal(store.journal)
    return store.with_parts(journal=journal), journal


@pytest.fixture
async def costly() -> Costly:
    store, journal = counted()
    return Costly(await a_rig(store), journal)


async def test_what_all_follow_is_looked_for_and_read_once(costly: Costly) -> None:
    scribe = await costly.scribe()
    async with all_following(costly.rig, scribe, 10) as ears:
        await scribe.say(3)
        await costly.rig.clock.advance(POLL_EVERY)
        costly.journal.reads = costly.journal.looks = 0
        await scribe.say(3)
        await costly.rig.clock.advance(POLL_EVERY)

        assert [numbers(ear) for ear in ears] == [[1, 2, 3, 4, 5, 6]] * 10
        assert (costly.journal.reads, costly.journal.looks) == (1, 1)


async def test_while_nothing_is_said_no_line_is_read(costly: Costly) -> None:
    scribe, other = await costly.scribe(), await costly.scribe()
    async with all_following(costly.rig, scribe, 3), following(costly.rig, other):
        costly.journal.reads = costly.journal.looks = 0
        await costly.rig.clock.advance(10 * POLL_EVERY)

        assert (costly.journal.reads, costly.journal.looks) == (0, 10)
    async with listening(costly.rig):
        costly.journal.looks = 0
        await costly.rig.clock.advance(timedelta(minutes=1))

        assert costly.journal.looks == 0  # the log has no followers any more


async def test_a_slow_client_uses_little_memory_and_gets_the_lines_still_stored(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "POLL_EVERY", timedelta(milliseconds=20))
    store, journal = counted()
    long = "https://example.com/" + "x" * 1500
    async with a_live_rig(store, send_buffer=4096) as live:
        scribe = await a_scribe(live)
        reader, writer = await slow_reader(live, path(scribe))
        await until_open(live, 1)
        [stream] = live.rig.site.live.streams
        while scribe.lines < 2 * MOST_LINES:
            looks = journal.looks
            await scribe.say(PORTION, url=long)
            while journal.looks < looks + 2:  # it would be notified of them
                await live.rig.get("auth/me")
        await scribe.end()
        lines_read, waiting = journal.lines_read, stream.waiting
        text = b""
        async with asyncio.timeout(120):
            while b"event: end" not in text:
                text += await reader.read(65536)
        writer.close()

    frames = [frame for frame in text.split(b"\n\n") if b"event: job.log" in frame]
    ids = [int(frame.partition(b"id: ")[2].partition(b"\n")[0]) for frame in frames]
    assert lines_read < 5 * PORTION  # buffered by the system and the server, of 4,000
    assert waiting < 3
    assert b'"reason":"gap"' in text
    assert ids == sorted(set(ids))
    assert ids[-1] == scribe.lines
    assert text.count(b'"n":') > MOST_LINES
    assert caplog.text == ""


async def test_a_store_that_is_away_ends_no_stream_that_waits(
    costly: Costly, caplog: pytest.LogCaptureFixture
) -> None:
    scribe = await costly.scribe()
    async with following(costly.rig, scribe) as ear:
        costly.journal.away = True
        await costly.rig.clock.advance(timedelta(seconds=3))
        await scribe.say()
        costly.journal.away = False
        await costly.rig.clock.advance(POLL_EVERY)

        assert numbers(ear) == [1]
    assert "store unavailable" in caplog.text


async def test_a_stream_whose_lines_cannot_be_read_ends_so_that_its_client_reconnects(
    costly: Costly, caplog: pytest.LogCaptureFixture
) -> None:
    scribe = await costly.scribe()
    costly.journal.away = True
    async with following(costly.rig, scribe) as ear:
        await costly.rig.clock.advance(POLL_EVERY)

        assert ear.stream.ended
        assert [name for name, _ in ear.told] == ["hello"]
    assert "closing a stream" in caplog.text
