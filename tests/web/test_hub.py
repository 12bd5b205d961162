"""The hub over a clock that stands still: what is told, how often, and what is left out."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from crawlyard.core.access.credential import Caller, CredentialKind
from crawlyard.core.access.user import LOCAL, PERMITS_OF, Permit, Role
from crawlyard.core.crawl.page import StoredPage
from crawlyard.core.endpoints.stream_messages import PingOut, StateCountsOut
from crawlyard.core.events.event import TOPIC_OF, Event, EventName, Topic, topics_for
from crawlyard.core.jobs.checkpoint import Asker, Claim
from crawlyard.core.jobs.lifecycle import State
from crawlyard.errors import StoreUnavailable
from crawlyard.services.surface import Surface
from crawlyard.store.crawl.pages import PageStore
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.store.events.events import EventLog
from crawlyard.store.queries import EVERY_EVENT, EventQuery
from crawlyard.web.live.hub import PING_EVERY, POLL_EVERY, SNAPSHOT_EVERY
from crawlyard.web.live.sse import Frame, frame
from crawlyard.web.live.stream import MAX_QUEUED, Stream, Subscription
from tests.builders import LEASE, NOW, a_batch, a_job, a_target, done
from tests.builders_serve import a_report
from tests.conformance.steps import added
from tests.web.rig import Rig, a_rig

JOBS = frozenset({Topic.JOBS})
EVERY = frozenset(Topic)


@dataclass(slots=True)
class Ear:
    """Collects what one stream is told, as a task of its own."""

    stream: Stream
    told: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    async def listen(self, portions: AsyncIterator[bytes]) -> None:
        async for portion in portions:
            for text in portion.decode().split("\n\n")[:-1]:
                fields = dict(line.split(": ", 1) for line in text.split("\n"))
                self.told.append((fields["event"], json.loads(fields["data"])))

    def take(self, event: str) -> list[dict[str, object]]:
        """Return the messages of an event since the last call, and clear them."""
        messages = [data for name, data in self.told if name == event]
        self.told.clear()
        return messages


async def caller(rig: Rig, name: str = LOCAL.id) -> Caller:
    secret = rig.secrets.get(name) or await rig.user(name)
    return await rig.site.yard.services.access.caller(secret, CredentialKind.TOKEN)


@asynccontextmanager
async def listening(
    rig: Rig,
    name: str = LOCAL.id,
    topics: frozenset[Topic] = JOBS,
    job: str | None = None,
    after: int | None = None,
) -> AsyncIterator[Ear]:
    hub = rig.site.live
    ear = Ear(
        await hub.open(await caller(rig, name), Subscription(topics=topics, job=job, after=after))
    )
    task = asyncio.create_task(ear.listen(hub.messages(ear.stream)))
    await rig.clock.advance(timedelta(0))
    try:
        yield ear
    finally:
        task.cancel()
        hub.leave(ear.stream)
        await rig.clock.advance(timedelta(0))


async def running(rig: Rig, owner: str = LOCAL.id) -> Claim:
    """Return the claim of a new job that runs now."""
    job = await added(rig.yard.store, a_job(owner=owner))
    claim = await rig.yard.store.leases.claim(Asker("w", only=job.id), rig.clock.now(), LEASE)
    assert claim is not None
    return claim


async def checkpoint(rig: Rig, claims: Sequence[Claim], path: str) -> list[Claim]:
    """Record one page more of each, and return what to go on with."""
    target = a_target(path)
    batch = a_batch(found=[target], outcomes=[done(target)])
    entries = [(claim.lease, batch) for claim in claims]
    answers = await rig.yard.store.frontier.record(entries, rig.clock.now(), LEASE)
    return [
        Claim(lease=answer.lease, job=claim.job, shard=claim.shard)
        for claim, answer in zip(claims, answers, strict=True)
    ]


def progress(ear: Ear) -> list[list[tuple[object, object]]]:
    """Return id and pages done of each message of progress since the last time."""
    updates: list[list[tuple[object, object]]] = []
    for data in ear.take("jobs.progress"):
        jobs = data["jobs"]
        assert isinstance(jobs, list)
        updates.append([(job["id"], job["done"]) for job in jobs])
    return updates


async def test_changed_progress_is_sent_twice_a_second(rig: Rig) -> None:
    still, busy = await running(rig), await running(rig)
    async with listening(rig) as ear:
        first = progress(ear)
        moving = [busy]
        for n in range(5):
            moving = await checkpoint(rig, moving, str(n))
            await rig.clock.advance(SNAPSHOT_EVERY / 10)
        early = progress(ear)
        await rig.clock.advance(SNAPSHOT_EVERY / 2)
        changed = progress(ear)
        await rig.clock.advance(4 * SNAPSHOT_EVERY)
        later = progress(ear)

    assert [sorted(jobs, key=repr) for jobs in first] == [
        sorted([(still.job.id, 0), (busy.job.id, 0)], key=repr)
    ]
    assert (early, changed, later) == ([], [[(busy.job.id, 5)]], [])


async def test_progress_is_of_what_one_may_see(rig: Rig) -> None:
    for name in ("ada", "bob"):
        await rig.user(name)
    hers, his = await running(rig, "ada"), await running(rig, "bob")
    async with (
        listening(rig) as admin,
        listening(rig, "ada") as ada,
        listening(rig, job=his.job.id) as follower,
    ):
        await rig.clock.advance(2 * SNAPSHOT_EVERY)
        for ear in (admin, ada, follower):
            ear.told.clear()
        await checkpoint(rig, [hers, his], "x")
        await rig.clock.advance(SNAPSHOT_EVERY)

        assert progress(ada) == [[(hers.job.id, 1)]]
        assert progress(follower) == [[(his.job.id, 1)]]
        assert sorted(map(len, progress(admin))) == [2]


def tails(ear: Ear) -> list[list[object]]:
    """Return the paths of each message of latest pages since the last time."""
    pages_by_message: list[list[object]] = []
    for data in ear.take("job.pages"):
        pages = data["pages"]
        assert isinstance(pages, list)
        pages_by_message.append([page["url"].rpartition("/")[2] for page in pages])
    return pages_by_message


async def test_a_subscriber_of_one_job_gets_its_latest_pages_twice_a_second(rig: Rig) -> None:
    claims = await checkpoint(rig, [await running(rig)], "old")
    job = claims[0].job.id
    async with listening(rig, job=job) as ear, listening(rig) as all_jobs:
        first = tails(ear)
        for n in range(10):
            claims = await checkpoint(rig, claims, str(n))
            await rig.clock.advance(SNAPSHOT_EVERY / 5)
        messages = tails(ear)
        await rig.clock.advance(4 * SNAPSHOT_EVERY)
        async with listening(rig, job=job) as late:
            await rig.clock.advance(SNAPSHOT_EVERY)
            assert tails(late) == [list("98765432")]

        assert first == [["old"]]
        assert 2 <= len(messages) <= 3
        assert messages[-1] == list("98765432")
        assert tails(ear) == tails(all_jobs) == []


async def test_latest_pages_are_for_those_who_may_read_pages(rig: Rig) -> None:
    [claim] = await checkpoint(rig, [await running(rig)], "x")
    token = await Surface(rig.yard.services, LOCAL).tokens.create(
        "narrow", scopes=(Permit.JOBS_READ,)
    )
    rig.secrets["narrow"] = token.token or ""
    async with listening(rig, "narrow", job=claim.job.id) as ear:
        await rig.clock.advance(2 * SNAPSHOT_EVERY)
        assert [name for name, _ in ear.told if name == "jobs.progress"]
        assert tails(ear) == []


async def test_pages_of_jobs_without_subscribers_are_not_read(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed, other = await running(rig), await running(rig)
    read: list[str] = []
    latest = PageStore.latest

    async def noted(store: PageStore, job_id: str, after: int, limit: int) -> list[StoredPage]:
        read.append(job_id)
        return await latest(store, job_id, after, limit)

    monkeypatch.setattr(PageStore, "latest", noted)
    async with listening(rig):
        await checkpoint(rig, [followed, other], "x")
        await rig.clock.advance(4 * SNAPSHOT_EVERY)
        unasked = list(read)
        async with listening(rig, job=followed.job.id), listening(rig, job=followed.job.id):
            await rig.clock.advance(4 * SNAPSHOT_EVERY)

    assert unasked == []
    assert set(read) == {followed.job.id}
    assert len(read) <= 6


async def test_those_who_see_the_same_are_sent_the_same_bytes(rig: Rig) -> None:
    await running(rig)
    streams = [
        await rig.site.live.open(await caller(rig), Subscription(topics=JOBS)) for _ in range(3)
    ]
    await rig.clock.advance(timedelta(0))

    sent = [[message.data for message in stream._waiting] for stream in streams]

    assert len(sent[0]) == 2
    for first, *rest in zip(*sent, strict=True):
        assert all(other is first for other in rest)
    for stream in streams:
        rig.site.live.leave(stream)


async def test_changed_counts_are_sent_at_most_once_a_second(rig: Rig) -> None:
    async with listening(rig) as ear:
        first = ear.take("counts")
        for _ in range(3):
            for _ in range(10):
                await added(rig.yard.store)
            await rig.clock.advance(timedelta(seconds=1))
        counted = [data["pending"] for data in ear.take("counts")]
        await rig.clock.advance(timedelta(seconds=5))

        assert [data["pending"] for data in first] == [0]
        assert counted[-1] == 30
        assert len(counted) <= 3
        assert ear.take("counts") == []


def test_counts_have_a_number_for_each_state() -> None:
    assert list(StateCountsOut.__struct_fields__) == [state.value for state in State]


def worker_states(data: dict[str, object], name: str) -> list[object]:
    """Return a field of each worker."""
    workers = data["workers"]
    assert isinstance(workers, list)
    return [worker[name] for worker in workers]


async def test_the_worker_list_is_sent_when_a_worker_starts_or_dies(rig: Rig) -> None:
    store = rig.yard.store.workers
    async with listening(rig, topics=frozenset({Topic.WORKERS})) as ear:
        first = ear.take("workers")
        await store.save_heartbeat(a_report(id="w1", beat_at=rig.clock.now()))
        await rig.clock.advance(timedelta(seconds=2))
        come = ear.take("workers")
        await rig.clock.advance(timedelta(seconds=5))
        quiet = ear.take("workers")
        await rig.clock.advance(timedelta(minutes=1))
        departures = ear.take("workers")

    assert first == [{"workers": []}]
    assert [worker_states(data, "id") for data in come] == [["w1"]]
    assert quiet == []
    assert [worker_states(data, "alive") for data in departures] == [[False]]


async def test_a_ping_comes_every_fifteen_seconds(rig: Rig) -> None:
    async with listening(rig) as ear:
        await rig.clock.advance(4 * PING_EVERY)
        assert len(ear.take("ping")) == 4


async def test_without_subscribers_nothing_is_read(rig: Rig) -> None:
    async with listening(rig):
        pass
    assert rig.site.live.streams == frozenset()

    woken = len(rig.clock._sleepers)
    await rig.clock.advance(timedelta(hours=1))

    assert rig.site.live._task is None
    assert len(rig.clock._sleepers) <= woken


async def test_a_token_that_expires_ends_its_streams_within_a_second(rig: Rig) -> None:
    token = await Surface(rig.yard.services, LOCAL).tokens.create("short", expires_in_s=30)
    rig.secrets["short"] = token.token or ""
    async with listening(rig, "short") as ear, listening(rig) as other:
        await rig.clock.advance(timedelta(seconds=29))
        before = [name for name, _ in ear.told]
        await rig.clock.advance(timedelta(seconds=2))

        assert "bye" not in before
        assert ear.told[-1] == ("bye", {"reason": "auth"})
        assert ear.stream.ended
        assert not other.stream.ended


async def test_what_costs_a_right_ends_streams_within_a_second(rig: Rig) -> None:
    for name in ("ada", "bob"):
        await rig.user(name)
    async with listening(rig, "ada") as ada, listening(rig, "bob") as bob, listening(rig) as admin:
        token = ada.stream.caller.credential.id
        await Surface(rig.yard.services, ada.stream.caller.actor).tokens.revoke(token)
        await Surface(rig.yard.services, LOCAL).users.edit("bob", disabled=True)
        await rig.clock.advance(timedelta(seconds=1))

        assert ada.told[-1] == bob.told[-1] == ("bye", {"reason": "auth"})
        assert not admin.stream.ended


async def test_a_subscriber_ahead_of_the_hub_gets_no_event_twice(rig: Rig) -> None:
    async with listening(rig) as first:
        jobs = [await added(rig.yard.store) for _ in range(3)]
        last = await rig.yard.store.events.last()
        async with listening(rig, after=last) as second, listening(rig, after=last - 1) as third:
            jobs.append(await added(rig.yard.store))
            await rig.clock.advance(POLL_EVERY)

            subjects = [
                [data["job_id"] for data in ear.take("job.created")]
                for ear in (first, second, third)
            ]

    ids = [job.id for job in jobs]
    assert subjects == [ids, ids[3:], ids[2:]]


async def test_a_session_that_was_ended_elsewhere_ends_its_streams(rig: Rig) -> None:
    session = await rig.site.yard.services.access.sign_in(rig.secrets[LOCAL.id])
    caller = await rig.site.yard.services.access.caller(session.secret, CredentialKind.SESSION)
    stream = await rig.site.live.open(caller, Subscription(topics=JOBS))

    await rig.yard.store.credentials.revoke(session.credential.id, rig.clock.now())
    await rig.clock.advance(timedelta(seconds=6))

    assert stream.ended
    rig.site.live.leave(stream)


class Log:
    """An event log in whose place another may come, and that may be away or broken."""

    def __init__(self, inner: EventLog) -> None:
        self.inner = inner
        self.error: Exception | None = None

    async def events(
        self, query: EventQuery = EVERY_EVENT, after: int = 0, limit: int = 1000
    ) -> list[Event]:
        return await self.inner.events(query, after, limit)

    async def last(self) -> int:
        if self.error is not None:
            raise self.error
        return await self.inner.last()


@pytest.fixture
def log() -> Log:
    return Log(open_in_memory().events)


@pytest.fixture
async def faulty(log: Log) -> Rig:
    """A server whose event log is *log*, on a store of its own."""
    store = open_in_memory()
    log.inner = store.events
    return await a_rig(store.with_parts(events=log))


async def test_a_restarted_event_table_triggers_a_resync(faulty: Rig, log: Log) -> None:
    for _ in range(5):
        await added(faulty.yard.store)
    other = open_in_memory()
    async with listening(faulty) as ear:
        log.inner = other.events
        await added(other)
        await faulty.clock.advance(POLL_EVERY)
        resync = ear.take("resync")
        job = await added(other)
        await faulty.clock.advance(POLL_EVERY)

        assert resync == [{"reason": "restart"}]
        assert [data["job_id"] for data in ear.take("job.created")] == [job.id]


async def test_a_store_that_is_away_delays_streams_and_loses_nothing(
    faulty: Rig, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(faulty) as ear:
        log.error = StoreUnavailable("the database is away")
        job = await added(faulty.yard.store)
        await faulty.clock.advance(timedelta(seconds=3))
        meanwhile = ear.take("job.created")
        log.error = None
        await faulty.clock.advance(timedelta(seconds=1))

        assert meanwhile == []
        assert [data["job_id"] for data in ear.take("job.created")] == [job.id]
    assert "store unavailable" in caplog.text


async def test_a_ping_says_at_once_that_the_store_is_away_or_back(faulty: Rig, log: Log) -> None:
    async with listening(faulty) as ear:
        for error in (StoreUnavailable("the database is away"), None):
            log.error = error
            await faulty.clock.advance(timedelta(seconds=3))
            assert [ping["stale"] for ping in ear.take("ping")] == [error is not None]


async def test_a_failure_ends_all_streams_so_that_clients_reconnect(
    faulty: Rig, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(faulty) as ear:
        log.error = ZeroDivisionError()
        await faulty.clock.advance(timedelta(seconds=1))
        log.error = None

        assert ear.stream.ended
    async with listening(faulty) as again:
        assert again.take("counts")
    assert "stream loop failed" in caplog.text


class TestRoom:
    """Messages that a client does not read."""

    PING = frame("ping", PingOut(at=NOW))

    @pytest.fixture
    async def stream(self, rig: Rig) -> Stream:
        return Stream(await caller(rig), Subscription(topics=JOBS), 0, 0.0)

    @staticmethod
    def durable(seq: int) -> Frame:
        return frame("job.created", PingOut(at=NOW), seq)

    @staticmethod
    def seqs(stream: Stream) -> list[int | None]:
        return [waiting.seq for waiting in stream._waiting]

    async def test_what_is_not_durable_is_left_out_first(self, stream: Stream) -> None:
        stream.fresh = False
        for seq in range(1, MAX_QUEUED):
            stream.enqueue(self.durable(seq))
        stream.enqueue(self.PING)
        stream.enqueue(self.PING)
        stream.enqueue(self.durable(MAX_QUEUED))

        assert self.seqs(stream) == list(range(1, MAX_QUEUED + 1))
        assert stream.fresh

    async def test_then_all_gives_way_to_the_word_that_something_is_missing(
        self, stream: Stream
    ) -> None:
        for seq in range(1, 2 * MAX_QUEUED):
            stream.enqueue(self.durable(seq))
        first, *rest = stream._waiting
        assert b'"slow_consumer"' in first.data
        assert first.seq == MAX_QUEUED + 1
        assert [frame.seq for frame in rest] == list(range(MAX_QUEUED + 2, 2 * MAX_QUEUED))

    async def test_it_never_takes_more(self, stream: Stream) -> None:
        for seq in range(1, 5 * MAX_QUEUED):
            stream.enqueue(self.durable(seq))
            stream.enqueue(self.PING)
            assert stream.waiting <= MAX_QUEUED

    async def test_what_one_may_not_see_any_more_is_not_sent(self, stream: Stream) -> None:
        stream.enqueue(self.durable(1))
        stream.end(because_of_auth=True)
        stream.enqueue(self.durable(2))
        sent = b"".join([portion async for portion in stream.messages()])
        assert sent.startswith(b"event: bye\n")
        assert sent.count(b"event:") == 1


class TestTopics:
    def test_every_event_has_a_topic_and_a_role_gets_what_it_may_read(self) -> None:
        assert {name.kind for name in EventName} <= set(TOPIC_OF)
        for role in Role:
            assert topics_for(PERMITS_OF[role], limited=False) == EVERY, role
        permits = frozenset({Permit.JOBS_READ, Permit.SCHEDULES_READ})
        assert topics_for(permits, limited=True) == {Topic.JOBS, Topic.SCHEDULES}

    def test_a_scoped_token_gets_account_events_only_as_an_admin_with_read_scopes(self) -> None:
        admin, reads = frozenset({Permit.ADMIN}), {Permit.TOKENS_READ, Permit.USERS_READ}
        assert topics_for(admin, limited=True) == {Topic.SETTINGS}
        assert topics_for(reads, limited=True) == frozenset()
        assert topics_for(admin | reads, limited=True) == {
            Topic.SETTINGS,
            Topic.TOKENS,
            Topic.USERS,
        }
