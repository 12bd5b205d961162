"""A worker's edges: stops, edits and store faults at the worst moment."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from crawlyard import LOCAL, Limits, Scope, State, StateReason, Yard
from crawlyard.core.hosts.slots import LAST, SlotRequest
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.demo.site import Answer
from crawlyard.engine.crawl import Crawl
from crawlyard.errors import StoreUnavailable
from crawlyard.messaging.dispatcher import Presence
from crawlyard.messaging.local_dispatcher import LocalDispatcher, NoPresence
from crawlyard.services.jobs.lookup import find_job
from crawlyard.services.workers import worker as worker_module
from crawlyard.services.workers.liveness import HostLocks, Liveness
from crawlyard.services.workers.reclaim import EXCUSED, LATE, LOOK_EVERY, Reclaimer
from crawlyard.store.tables.hosts import host_seats
from tests.clock import FakeClock
from tests.engine.rig import a_spec, begun, crawled, outcome, published, run
from tests.engine.test_crawl import paths, tree
from tests.jobs import events_of, submit
from tests.site import GraphSite, Serve, until


class Around:
    """A part of a store with something happening before each call of one method."""

    def __init__(self, inner: Any, method: str, before: Callable[[], Any]) -> None:
        self._inner, self._method, self._before = inner, method, before

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._inner, name)
        if name != self._method:
            return attribute

        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            await self._before()
            return await attribute(*args, **kwargs)

        return wrapped


def around(yard: Yard, part: str, method: str, before: Callable[[], Any]) -> None:
    """Let *before* run ahead of each call of a store method."""
    inner = getattr(yard.store, part)
    vars(yard.store)[part] = Around(inner, method, before)


async def test_a_worker_claims_as_soon_as_others_see_it_and_not_at_its_next_poll(
    yard: Yard, site_server: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "POLL_EVERY", timedelta(hours=1))
    server = await site_server(GraphSite(tree(2, 1)))
    job = await submit(yard, a_spec(f"{server.url}/"))

    async with asyncio.timeout(120):
        await run(yard, job.id)

    assert (await outcome(yard, job.id)).job.state is State.COMPLETED


async def test_a_stop_during_a_claim_gives_the_job_back(yard: Yard, site_server: Serve) -> None:
    server = await site_server(GraphSite(tree(6, 4)), latency_s=0.02)
    job = await submit(yard, a_spec(f"{server.url}/", concurrency=1))
    worker = yard.worker()

    async def stop() -> None:
        worker.stop()

    around(yard, "leases", "claim", stop)
    async with asyncio.timeout(120):
        await worker.run()

    current = await find_job(yard.store, LOCAL, job.id)
    assert current.job.state is State.PENDING
    assert current.shard.worker is None


async def test_an_edit_at_the_very_end_is_no_loss(yard: Yard, site_server: Serve) -> None:
    server = await site_server(GraphSite(tree(2, 1)))
    job = await submit(yard, a_spec(f"{server.url}/"))
    edits = iter(["late"])

    async def edit() -> None:
        for name in edits:
            await yard.services.writer.edit(LOCAL, job.id, {"name": name})

    around(yard, "leases", "settle", edit)
    await run(yard, job.id)

    ended = await find_job(yard.store, LOCAL, job.id)
    reasons = [event.data.get("reason") for event in await events_of(yard, job.id)]
    assert ended.job.state is State.COMPLETED
    assert "worker_lost" not in reasons


async def test_a_store_that_stumbles_once_ends_no_crawl(yard: Yard, site_server: Serve) -> None:
    site = GraphSite(tree(4, 2))
    server = await site_server(site, latency_s=0.05)
    job = await submit(yard, a_spec(f"{server.url}/", concurrency=1))
    await begun(yard)
    stumbled = []
    for part, method in (("leases", "holders"), ("frontier", "load"), ("leases", "settle")):

        async def stumble(method: str = method) -> None:
            if method not in stumbled:
                stumbled.append(method)
                raise StoreUnavailable("the database is locked")

        around(yard, part, method, stumble)

    await run(yard, job.id)

    assert stumbled == ["holders", "load", "settle"]
    assert paths(server, (await outcome(yard, job.id)).ok) == site.reachable()


async def test_a_job_that_was_let_go_for_want_of_the_store_is_no_loss(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite(tree(2, 1)))
    job = await submit(yard, a_spec(f"{server.url}/"))
    await begun(yard)
    tried = count()

    async def stumble() -> None:
        if next(tried) == 0:
            raise StoreUnavailable("the server does not answer")

    around(yard, "frontier", "roots", stumble)
    async with asyncio.timeout(yard.settings.lease_s):  # it need not lapse
        await yard.worker().run(drain=True)

    ended = await find_job(yard.store, LOCAL, job.id)
    reasons = [event.data.get("reason") for event in await events_of(yard, job.id)]
    assert (ended.job.state, ended.shard.attempt) == (State.COMPLETED, 3)
    assert "worker_lost" not in reasons


async def test_a_lease_that_lapsed_while_the_store_was_away_is_no_loss_at_once(yard: Yard) -> None:
    job = await submit(yard, a_spec("http://127.0.0.1:1/"))
    await yard.store.leases.claim(Asker("other"), yard.clock.now(), timedelta(0))
    worker, looks = yard.worker(), count()

    async def stumble() -> None:
        look = next(looks)
        if look == 0:
            raise StoreUnavailable("the server does not answer")
        if look == 2:
            worker.stop()  # it has looked before, and the store was there

    around(yard, "leases", "holders", stumble)
    await worker.run()

    current = await find_job(yard.store, LOCAL, job.id)
    assert (current.job.state, current.shard.worker) == (State.RUNNING, "other")


async def test_a_lease_that_others_had_the_time_to_renew_is_a_loss(yard: Yard) -> None:
    job = await submit(yard, a_spec("http://127.0.0.1:1/"))
    await yard.store.leases.claim(Asker("other"), yard.clock.now(), timedelta(0))
    clock = FakeClock(yard.clock.now())
    rescue = Reclaimer("w", yard.store, clock, Liveness("w", LocalDispatcher(), None))
    rescue.excuse()

    assert await looks(rescue, clock) == [False] * (EXCUSED // LOOK_EVERY) + [True]
    assert (await find_job(yard.store, LOCAL, job.id)).job.state is State.PENDING


async def test_the_slots_of_a_dead_worker_are_freed_before_its_jobs(
    yard: Yard, tmp_path: Path
) -> None:
    files, hosts, host = HostLocks(tmp_path, "w"), yard.store.hosts, "a.example"
    wish, until = SlotRequest(host=host, wanted=4, at_once=4), yard.clock.now() + LAST
    await submit(yard, a_spec("http://127.0.0.1:1/"))
    await yard.store.leases.claim(Asker("other"), yard.clock.now(), LAST)
    for asker in ("other", "other/20"):
        await hosts.renew_slots(asker, [wish], yard.clock.now(), until)
    seats: list[int] = []

    async def sit() -> None:
        [terms] = await hosts.renew_slots("w", [wish], yard.clock.now(), until)
        seats.append(terms.slots)

    with files:
        (tmp_path / "other.lock").touch()  # of a process that has died
        around(yard, "leases", "take_back", sit)
        rescue = Reclaimer("w", yard.store, yard.clock, Liveness("w", LocalDispatcher(), files))
        took = await rescue.take_back()

    assert took
    assert seats[0] == 4


async def looks(rescue: Reclaimer, clock: FakeClock) -> list[bool]:
    """Look for lost workers as a worker does, until some seconds after an excuse would be over."""
    rescues = [await rescue.take_back()]
    while not rescues[-1] and len(rescues) * LOOK_EVERY < 2 * EXCUSED:
        await clock.advance(LOOK_EVERY)
        rescues.append(await rescue.take_back())
    return rescues


async def test_who_was_stopped_himself_takes_no_lapsed_lease_for_a_loss_at_once(yard: Yard) -> None:
    clock = FakeClock(yard.clock.now())
    rescue = Reclaimer("w", yard.store, clock, Liveness("w", LocalDispatcher(), None))
    await rescue.take_back()
    await submit(yard, a_spec("http://127.0.0.1:1/"))
    await yard.store.leases.claim(Asker("other"), yard.clock.now(), timedelta(0))

    await clock.advance(LATE + LOOK_EVERY)  # the other could not renew it meanwhile, perhaps

    assert await looks(rescue, clock) == [False] * (EXCUSED // LOOK_EVERY) + [True]


class OfMany(Liveness):
    """A worker of a large fleet."""

    fleet = 200


async def test_one_of_many_workers_looks_less_often_unless_it_notices_a_death(yard: Yard) -> None:
    clock = FakeClock(yard.clock.now())
    rescue = Reclaimer("w", yard.store, clock, OfMany("w", LocalDispatcher(), None))
    await rescue.take_back()
    await submit(yard, a_spec("http://127.0.0.1:1/"))
    await yard.store.leases.claim(Asker("other"), yard.clock.now(), timedelta(0))

    await clock.advance(2 * LOOK_EVERY)
    left_to_others = not await rescue.take_back()
    rescue.hasten()

    assert left_to_others
    assert await rescue.take_back()


async def test_who_is_always_slow_takes_lapsed_leases_back_all_the_same(yard: Yard) -> None:
    clock = FakeClock(yard.clock.now())
    rescue = Reclaimer("w", yard.store, clock, Liveness("w", LocalDispatcher(), None))
    await rescue.take_back()
    await submit(yard, a_spec("http://127.0.0.1:1/"))
    await yard.store.leases.claim(Asker("other"), yard.clock.now(), timedelta(0))

    rescues = []
    for _ in range(3):
        await clock.advance(LATE + LOOK_EVERY)
        rescues.append(await rescue.take_back())

    assert rescues == [False, False, True]


async def test_an_edit_keeps_the_scope_that_a_moved_start_url_widened(
    yard: Yard, site_server: Serve
) -> None:
    site = GraphSite(tree(5, 3))
    there = await site_server(site, host="127.0.0.2", latency_s=0.02)

    class Moved:
        def answer(self, method: str, path: str, host: str) -> Answer:
            return Answer(301 if path == "/" else 404, (("Location", f"{there.url}/"),))

    here = await site_server(Moved())
    job = await submit(yard, a_spec(f"{here.url}/", concurrency=2))
    task = asyncio.create_task(run(yard, job.id))
    await published(yard, job.id, done=8)

    await yard.services.writer.edit(LOCAL, job.id, {"name": "renamed"})
    await task

    assert paths(there, (await outcome(yard, job.id)).ok) == site.reachable()


async def test_a_limit_that_is_lifted_as_it_is_reached_lets_the_crawl_go_on(
    yard: Yard, site_server: Serve
) -> None:
    hold = asyncio.Event()

    class Slow(GraphSite):
        def answer(self, method: str, path: str, host: str) -> Any:
            return answer_late if path == "/0" else super().answer(method, path, host)

    async def answer_late(reader: object, writer: Any) -> None:
        await hold.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    site = Slow(tree(4, 2))
    server = await site_server(site)
    spec = a_spec(f"{server.url}/", limits=Limits(bytes=500), concurrency=2)
    job = await submit(yard, spec)
    task = asyncio.create_task(run(yard, job.id))
    await published(yard, job.id, done=2)

    await yard.services.writer.edit(LOCAL, job.id, {"limits.bytes": None})
    hold.set()
    await task

    finished = await outcome(yard, job.id)
    assert finished.job.state_reason is StateReason.EXHAUSTED
    assert finished.usage.done == finished.usage.discovered


async def test_a_given_up_host_does_not_overrun_the_limit_of_errors(
    yard: Yard, site_server: Serve, unused_tcp_port: int
) -> None:
    dead = [f"http://127.0.0.1:{unused_tcp_port}/{n}" for n in range(300)]
    server = await site_server(GraphSite({"/": dead}))
    spec = a_spec(f"{server.url}/", scope=Scope.ANY, limits=Limits(errors=5))

    run = await crawled(yard, spec)

    assert run.job.state_reason is StateReason.LIMIT_ERRORS
    assert run.usage.errors == 5
    assert run.usage.waiting == 295


async def test_slow_robots_files_leave_room_for_hosts_that_answer(
    yard: Yard, site_server: Serve
) -> None:
    async def never(reader: Any, writer: object) -> None:
        await reader.read()

    class Mute(GraphSite):
        def answer(self, method: str, path: str, host: str) -> Any:
            return never

    mutes = [await site_server(Mute({}), host=f"127.0.0.{n}") for n in range(10, 22)]
    site = GraphSite(tree(3, 2))
    quick = await site_server(site)
    urls = [f"{quick.url}/", *(f"{mute.url}/" for mute in mutes)]
    spec = a_spec(
        *urls,
        concurrency=4,
        timeout_s=2,
        limits=Limits(duration_s=3),
    )

    run = await crawled(yard, spec)

    assert paths(quick, run.ok) == site.reachable()
    assert sum(bool(mute.hits) for mute in mutes) <= 6  # half of four at a time


async def test_nothing_spins_while_a_limit_waits_for_what_is_in_flight(
    yard: Yard, site_server: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(reader: object, writer: Any) -> None:
        await asyncio.sleep(1)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    class Slow(GraphSite):
        def answer(self, method: str, path: str, host: str) -> Any:
            return slow if path == "/" else super().answer(method, path, host)

    server = await site_server(Slow({}))
    spec = a_spec(f"{server.url}/", limits=Limits(duration_s=0.1), ignore_robots=True)
    turns, until_due = count(), Crawl._wait_until_due

    async def counted(crawl: Crawl) -> None:
        next(turns)
        await until_due(crawl)

    monkeypatch.setattr(Crawl, "_wait_until_due", counted)

    run = await crawled(yard, spec)

    assert run.job.state_reason is StateReason.LIMIT_DURATION
    assert next(turns) < 50


class Locks(LocalDispatcher):
    """A dispatcher whose workers lose their locks when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.presence_of_all = NoPresence()
        self.changed: Callable[[], None] = lambda: None

    @asynccontextmanager
    async def presence(self, worker: str, changed: Callable[[], None]) -> AsyncIterator[Presence]:
        del worker
        self.changed = changed
        yield self.presence_of_all

    def hold(self, *, holding: bool) -> None:
        self.presence_of_all.holding = holding
        self.changed()


async def test_a_worker_that_lost_its_lock_requests_its_slots_again(
    yard: Yard, site_server: Serve
) -> None:
    locks, site = Locks(), GraphSite(tree(6, 3))
    async with a_yard_with(yard, locks) as mine:
        server = await site_server(site, latency_s=0.02)
        host = server.url.removeprefix("http://").partition(":")[0]
        job = await submit(mine, a_spec(f"{server.url}/", concurrency=2))
        worker = mine.worker()
        running = asyncio.create_task(worker.run(drain=True))
        await until(lambda: len(server.hits) > 10)

        locks.hold(holding=False)
        await yard.store.hosts.release_slots(worker.id)  # by who takes it for dead
        wish = SlotRequest(host=host, wanted=16, at_once=16)
        await yard.store.hosts.renew_slots(
            "other", [wish], yard.clock.now(), yard.clock.now() + LAST
        )
        await until(lambda: all(hit.answered_at for hit in server.hits))
        before = len(server.hits)
        locks.hold(holding=True)
        async with asyncio.timeout(120):
            while worker.id not in await askers(yard):  # noqa: ASYNC110 - a row
                await asyncio.sleep(0)
        after = len(server.hits)
        await yard.store.hosts.release_slots("other")
        await running

    assert before == after
    assert (await outcome(yard, job.id)).job.state is State.COMPLETED


@asynccontextmanager
async def a_yard_with(yard: Yard, dispatcher: LocalDispatcher) -> AsyncIterator[Yard]:
    """Return a yard on the same store whose workers are shown by *dispatcher*."""
    yard_with = Yard(yard.settings, yard.store, yard.clock, dispatcher)
    try:
        yield yard_with
    finally:
        await yard_with._close()


async def test_a_job_whose_claim_a_failover_lost_is_not_run_twice_at_once(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite(tree(2, 1)))
    await submit(yard, a_spec(f"{server.url}/"))
    worker = yard.worker()
    claim = await yard.store.leases.claim(Asker(worker.id), yard.clock.now(), LAST)
    assert claim is not None

    worker._runs.begin(claim)
    worker._runs.begin(claim)  # as the store, which has lost the first, gives it again
    runs = len(worker._runs)
    worker.stop()
    await worker._runs.wait()

    assert runs == 1


async def askers(yard: Yard) -> list[str]:
    """Return who has a row of seats at any host."""
    statement = select(host_seats.c.worker)
    return list(await yard.store.hosts._database.read(lambda conn: conn.scalars(statement).all()))
