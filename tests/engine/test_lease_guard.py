"""A run sends nothing once its lease may be another's, by its own clock."""

import asyncio
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard import LOCAL, Move, State, Yard
from crawlyard.clock import Clock, SystemClock
from crawlyard.core.jobs.checkpoint import Asker, Claim, Order
from crawlyard.engine.http.client import HttpFetcher
from crawlyard.engine.http.dns import Infos, Resolver, look_up
from crawlyard.engine.http.fetch import Fetcher
from crawlyard.engine.http.guard import Guard
from crawlyard.engine.http.proxy import Proxies
from crawlyard.errors import StoreUnavailable
from crawlyard.services.jobs.lookup import find_job
from crawlyard.services.workers.lease_guard import LeaseGuard, RoundTrip, SendPermit
from crawlyard.services.workers.order_watch import read_orders
from crawlyard.services.workers.recorder import Recorder
from crawlyard.services.workers.run import JobRun, WorkerContext
from tests.clock import FakeClock
from tests.conformance.steps import requeued
from tests.engine.rig import a_spec, outcome, watched
from tests.engine.test_crawl import tree
from tests.engine.test_worker import around
from tests.jobs import submit
from tests.site import JITTER_S, GraphSite, Serve

SECOND = timedelta(seconds=1)


def a_leash(clock: FakeClock, permit: SendPermit | None = None) -> LeaseGuard:
    return LeaseGuard(permit or SendPermit(), clock, clock.now() + SECOND, clock.now() + SECOND)


async def test_a_leash_ends_with_its_lease_and_is_renewed() -> None:
    clock = FakeClock()
    leash = a_leash(clock)
    before = leash.good()

    await clock.advance(SECOND)
    after = leash.good()
    leash.renew(clock.now() + SECOND, clock.now())

    assert (before, after, leash.good()) == (True, False, True)


async def test_a_lease_that_is_lost_ends_the_leash_at_once() -> None:
    clock = FakeClock()
    leash = a_leash(clock)

    leash.revoke()

    assert not leash.good()


async def test_nothing_is_sent_on_orders_requested_400_ms_ago() -> None:
    clock = FakeClock()
    leash = LeaseGuard(SendPermit(), clock, clock.now() + 60 * SECOND, clock.now())

    await clock.advance(timedelta(milliseconds=399))
    good = [leash.good()]
    await clock.advance(timedelta(milliseconds=1))
    good.append(leash.good())
    leash.refresh(clock.now() - timedelta(milliseconds=250))  # its answer took so long
    good.append(leash.good())
    await clock.advance(timedelta(milliseconds=150))
    leash.refresh(clock.now() - SECOND)  # asked for earlier, and answered later
    good.append(leash.good())

    assert good == [True, False, True, False]


def test_orders_may_be_older_where_the_store_is_far_away_but_not_where_it_was_slow_once() -> None:
    near, far = RoundTrip(), RoundTrip()
    for took_s in (0.002, 3.0, 0.001):
        near.took(took_s)
    for took_s in (0.2, 0.25, 3.0):
        far.took(took_s)

    assert RoundTrip().oldest == near.oldest == timedelta(seconds=0.4)
    assert far.oldest == timedelta(seconds=0.65)


@pytest.mark.parametrize("away_s", [0.0, 0.1, 0.2, 0.5])
async def test_a_distant_store_does_not_make_a_run_stutter(yard: Yard, away_s: float) -> None:
    await submit(yard, a_spec("https://example.com/"))
    clock = FakeClock(yard.clock.now())
    claim = await yard.store.leases.claim(Asker("w"), clock.now(), 60 * SECOND)
    assert claim is not None
    recorder = Recorder(yard.store.frontier, clock, 60 * SECOND)
    shop = replace(yard.worker_context(), clock=clock, recorder=recorder)
    around(yard, "leases", "orders", lambda: clock.sleep(timedelta(seconds=away_s)))
    run = JobRun(claim, shop)
    good = []

    async with watched(run, shop):
        await clock.advance(2 * SECOND)
        for _ in range(200):
            await clock.advance(SECOND / 100)
            good.append(run.may_send())

    assert set(good) == {True}


async def test_the_age_of_orders_counts_from_the_start_of_their_read(yard: Yard) -> None:
    await submit(yard, a_spec("https://example.com/"))
    clock = FakeClock(yard.clock.now())
    claim = await yard.store.leases.claim(Asker("w"), clock.now(), 60 * SECOND)
    assert claim is not None
    recorder = Recorder(yard.store.frontier, clock, 60 * SECOND)
    shop = replace(yard.worker_context(), clock=clock, recorder=recorder)
    run = JobRun(claim, shop)
    await read_orders(shop, [run])  # at once: the store is near
    around(yard, "leases", "orders", lambda: clock.sleep(timedelta(milliseconds=300)))

    reading = asyncio.create_task(read_orders(shop, [run]))
    await clock.advance(timedelta(milliseconds=300))
    await reading
    good = []
    for _ in range(2):
        await clock.advance(timedelta(milliseconds=99))
        good.append(run.may_send())

    assert good == [True, False]


async def test_a_run_that_cannot_read_its_orders_stops_sending_and_goes_on_when_it_can(
    yard: Yard, site_server: Serve
) -> None:
    site = GraphSite(tree(5, 3))
    server = await site_server(site, latency_s=0.02)
    asked_at = [time.monotonic()]
    hangs, goes_on = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        if hangs.is_set():
            await goes_on.wait()
        else:
            asked_at.append(time.monotonic())

    around(yard, "leases", "orders", hang)
    around(yard, "frontier", "record", hang)
    run = await a_run(yard, server.url, timedelta(seconds=60))
    running = asyncio.create_task(run.run())
    async with asyncio.timeout(60), watched(run, yard.worker_context()):
        while len(server.hits) < 30:  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(0)
        hangs.set()
        await asyncio.sleep(1.5)
        sent = [hit.at for hit in server.hits]
        goes_on.set()
        await running

    assert max(sent) < asked_at[-1] + 0.4 + JITTER_S
    assert len(sent) < len(site.reachable())
    assert len((await outcome(yard, run.job_id)).ok) == len(site.reachable())


async def test_a_request_whose_name_is_looked_up_while_its_job_is_paused_is_not_sent(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite(tree(2, 2)))
    begun, resolved = threading.Event(), threading.Event()

    def slow(_: str, port: int) -> Infos:
        begun.set()
        resolved.wait(20)
        return look_up("127.0.0.1", port)

    def fetcher(
        guard: Guard, timeout: timedelta, clock: Clock, *, proxies: Proxies | None = None
    ) -> Fetcher:
        return HttpFetcher(guard, timeout, clock, Resolver(8, slow), proxies=proxies)

    shop = replace(yard.worker_context(), fetcher=fetcher)
    url = f"http://site.test:{server.port}"
    run = await a_run(yard, url, 60 * SECOND, shop=shop, ignore_robots=True)
    running = asyncio.create_task(run.run())
    async with asyncio.timeout(60), watched(run, shop):
        await asyncio.to_thread(begun.wait)
        await yard.services.writer.move(LOCAL, run.job_id, Move.PAUSE)
        await running
    resolved.set()

    assert server.hits == []
    finished = await outcome(yard, run.job_id)
    assert (finished.job.state, finished.pages) == (State.PAUSED, [])


async def a_run(
    yard: Yard,
    server_url: str,
    lease: timedelta,
    *,
    shop: WorkerContext | None = None,
    **changes: Any,
) -> JobRun:
    """Return a run of a job that was just claimed."""
    job = await submit(yard, a_spec(f"{server_url}/", concurrency=2, **changes))
    clock = SystemClock()
    recorder = Recorder(yard.store.frontier, clock, lease)
    shop = replace(shop or yard.worker_context(), clock=clock, recorder=recorder)
    claim = await yard.store.leases.claim(Asker("w"), clock.now(), lease)
    assert isinstance(claim, Claim)
    assert claim.job.id == job.id
    return JobRun(claim, shop)


async def test_a_run_whose_store_does_not_answer_stops_sending_when_its_lease_ends(
    yard: Yard, site_server: Serve
) -> None:
    site = GraphSite(tree(5, 3))
    server = await site_server(site, latency_s=0.02)
    tried: list[int] = []
    away = asyncio.Event()

    async def hide() -> None:
        if not away.is_set():
            tried.append(len(server.hits))
            raise StoreUnavailable("it is away")

    around(yard, "frontier", "record", hide)
    run = await a_run(yard, server.url, timedelta(seconds=0.5))
    running = asyncio.create_task(run.run())
    async with asyncio.timeout(30), watched(run, yard.worker_context()):
        # the first may come before the lease ends; two more are half a second apart each
        while len(tried) < 4:  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(0)
    away.set()
    await running

    ended = await outcome(yard, run.job_id)
    assert tried[2] == tried[3] < len(site.reachable())
    assert ended.job.state is State.COMPLETED
    assert len(ended.ok) == len(site.reachable())


async def test_a_run_notified_of_a_lost_lease_sends_nothing_before_its_next_checkpoint(
    yard: Yard, site_server: Serve
) -> None:
    site = GraphSite(tree(5, 3))
    server = await site_server(site, latency_s=0.02)
    tried: list[int] = []
    away = asyncio.Event()

    async def hide() -> None:
        if away.is_set():
            tried.append(len(server.hits))
            raise StoreUnavailable("it is away")

    around(yard, "frontier", "record", hide)
    run = await a_run(yard, server.url, timedelta(seconds=60))
    running = asyncio.create_task(run.run())
    async with asyncio.timeout(30), watched(run, yard.worker_context()):
        while len(server.hits) < 10:  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(0)

        away.set()
        run.apply_order(Order.LOST, yard.clock.now())
        while len(tried) < 3:  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(0)
    away.clear()
    await running

    assert tried[1] == tried[2] < len(site.reachable())
    assert len((await outcome(yard, run.job_id)).ok) == len(site.reachable())


async def test_a_run_whose_job_was_reclaimed_ends_without_waiting_for_requests(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite(tree(2, 2)), latency_s=60)
    run = await a_run(yard, server.url, timedelta(seconds=60), ignore_robots=True)
    running = asyncio.create_task(run.run())
    async with asyncio.timeout(50), watched(run, yard.worker_context()):
        while not server.hits:  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(0)

        # as for a worker that was stopped for longer than its lease
        [lease] = await yard.store.leases.take_back(yard.clock.now(), ["w"], requeued)
        await running

    standing = await find_job(yard.store, LOCAL, run.job_id)
    assert lease.id == run.job_id
    assert (standing.job.state, standing.shard.worker) == (State.PENDING, None)
