"""A run sends nothing once its lease may be another's, by its own clock."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard import LOCAL, State, Yard
from crawlyard.clock import SystemClock
from crawlyard.core.checkpoint import Asker, Claim, Order
from crawlyard.engine.fetch import Response
from crawlyard.errors import StoreUnavailable
from crawlyard.services.leash import Leash, LeashedFetcher, Licence
from crawlyard.services.obeying import watch_orders
from crawlyard.services.recorder import Recorder
from crawlyard.services.run import JobRun
from tests.clock import FakeClock
from tests.conformance.steps import requeued
from tests.engine.rig import a_spec, opened, outcome
from tests.engine.test_crawl import tree
from tests.engine.test_worker import around
from tests.site import GraphSite, Serve

SECOND = timedelta(seconds=1)


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    async with opened(tmp_path) as there:
        yield there


@dataclass
class Counting:
    """A fetcher that counts."""

    fetched: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)

    async def fetch(self, url: str, headers: Mapping[str, str], max_body: int) -> Response:
        self.fetched += 1
        return Response(200, (), b"", 0, "", 0)

    async def close(self) -> None: ...


async def test_a_leash_ends_with_its_lease_and_is_renewed() -> None:
    clock = FakeClock()
    leash = Leash(Licence(), clock, clock.now() + SECOND)
    before = leash.good()

    await clock.advance(SECOND)
    after = leash.good()
    leash.renew(clock.now() + SECOND)

    assert (before, after, leash.good()) == (True, False, True)


async def test_a_lease_that_is_lost_ends_the_leash_at_once() -> None:
    clock = FakeClock()
    leash = Leash(Licence(), clock, clock.now() + SECOND)

    leash.revoke()

    assert not leash.good()


async def test_no_request_is_sent_without_a_licence_and_all_are_with_it() -> None:
    clock, licence, counting = FakeClock(), Licence(good=False), Counting()
    leash = Leash(licence, clock, clock.now() + 60 * SECOND)
    fetcher = LeashedFetcher(counting, leash)
    asked = asyncio.create_task(fetcher.fetch("https://example.com/", {}, 1))
    await clock.advance(SECOND)
    held = counting.fetched

    licence.good = True
    await clock.advance(SECOND)
    await asked

    assert (held, counting.fetched) == (0, 1)


async def a_run(yard: Yard, server_url: str, lease: timedelta, **changes: Any) -> JobRun:
    """Return a run of a job that was just claimed."""
    job = await yard.jobs.submit(LOCAL, a_spec(f"{server_url}/", concurrency=2, **changes))
    clock = SystemClock()
    recorder = Recorder(yard.store.frontier, clock, lease)
    shop = replace(yard.workshop(), clock=clock, recorder=recorder)
    claim = await yard.store.leases.claim(Asker("w"), clock.now(), lease)
    assert isinstance(claim, Claim)
    assert claim.job.id == job.id
    return JobRun(claim, shop)


async def test_a_run_whose_store_does_not_answer_stops_sending_when_its_lease_ends(
    yard: Yard, site_server: Serve
) -> None:
    site = GraphSite(tree(6, 3))
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
    async with asyncio.timeout(30):
        # the first may come before the lease ends; two more are half a second apart each
        while len(tried) < 4:  # noqa: ASYNC110 - a list tells of nothing
            await asyncio.sleep(0)
    away.set()
    await running

    ended = await outcome(yard, run.job_id)
    assert tried[2] == tried[3] < len(site.reachable())
    assert ended.job.state is State.COMPLETED
    assert len(ended.ok) == len(site.reachable())


async def test_a_run_that_hears_that_its_lease_is_lost_sends_nothing_before_its_next_checkpoint(
    yard: Yard, site_server: Serve
) -> None:
    site = GraphSite(tree(6, 3))
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
    async with asyncio.timeout(30):
        while len(server.hits) < 10:  # noqa: ASYNC110 - a list tells of nothing
            await asyncio.sleep(0)

        away.set()
        run.obey(Order.LOST)
        while len(tried) < 3:  # noqa: ASYNC110 - a list tells of nothing
            await asyncio.sleep(0)
    away.clear()
    await running

    assert tried[1] == tried[2] < len(site.reachable())
    assert len((await outcome(yard, run.job_id)).ok) == len(site.reachable())


async def test_a_run_whose_job_was_taken_back_lets_go_without_waiting_for_its_requests(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite(tree(2, 2)), latency_s=60)
    run = await a_run(yard, server.url, timedelta(seconds=60), ignore_robots=True)
    running = asyncio.create_task(run.run())
    shop = yard.workshop()
    watching = asyncio.create_task(watch_orders(shop, lambda: [run], timedelta(seconds=0.05)))
    async with asyncio.timeout(10):
        while not server.hits:  # noqa: ASYNC110 - a list tells of nothing
            await asyncio.sleep(0)

        # as for a worker that was stopped for longer than its lease
        [taken] = await yard.store.leases.take_back(yard.clock.now(), ["w"], requeued)
        await running
    watching.cancel()

    standing = await yard.jobs.get(LOCAL, run.job_id)
    assert taken.id == run.job_id
    assert (standing.job.state, standing.shard.worker) == (State.PENDING, None)
