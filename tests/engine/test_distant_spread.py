"""One spread job far from its database: all workers crawl it, and no lease lapses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from crawlyard import LOCAL, Job, Limits, Move, Scope, State, StateReason, Yard
from crawlyard.services.jobs.lookup import find_job
from crawlyard.store.jobs.shard_rules import is_leased
from tests.acceptance.test_faults import a_worker
from tests.distance import distant
from tests.engine.rig import a_spec, opened, outcome
from tests.jobs import submit
from tests.many_hosts import ManyHosts, address
from tests.site import Serve

ROUND_TRIP_S = 0.1
SHARDS, HOSTS = 16, 64
SECONDS = 15.0
ALONE = ("--jobs", "1", "--no-scheduler", "--no-webhooks", "--no-janitor")

pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.alone]


@asynccontextmanager
async def distant_workers(tmp_path: Path, url: str, count: int) -> AsyncIterator[None]:
    """Run workers with one slot each, `ROUND_TRIP_S` away from the server of *url*."""
    async with distant(make_url(url), ROUND_TRIP_S) as far, AsyncExitStack() as stack:
        yards = [opened(tmp_path / f"{n}", database_url=far) for n in range(count)]
        entered = await asyncio.gather(*map(stack.enter_async_context, yards))
        workers = [yard.worker(slots=1) for yard in entered]
        tasks = [asyncio.create_task(worker.run()) for worker in workers]
        try:
            yield
        finally:
            for worker in workers:
                worker.stop()
            await asyncio.gather(*tasks)


async def submitted(yard: Yard, port: int, **fields: Any) -> Job:
    """Submit a job that is spread over many hosts."""
    urls = (f"http://{address(host)}:{port}/0" for host in range(HOSTS))
    fields |= {"scope": Scope.ANY, "spread": SHARDS, "ignore_robots": True, "concurrency": 1}
    return await submit(yard, a_spec(*urls, **fields))


async def watched(yard: Yard, job: Job, until_workers: int, seconds: float) -> tuple[int, int]:
    """Watch a job until so many workers have stored pages, and then some seconds, or until it ends.

    Return the pages of these seconds, and how many of its leases were seen to have lapsed.
    """
    lapsed: set[tuple[int, int]] = set()
    began, before, pages = None, 0, 0
    async with asyncio.timeout(120 + seconds):
        while began is None or yard.clock.monotonic() - began < seconds:
            shards = await yard.store.spread.shards(job.id)
            now, leased = yard.clock.now(), [n for n, s in shards.items() if s.worker is not None]
            lapsed |= {(n, shards[n].attempt) for n in leased if not is_leased(shards[n], now)}
            pages = sum(shard.usage.pages for shard in shards.values())
            at_work = [n for n in leased if shards[n].usage.pages]
            if began is None and len(at_work) >= until_workers:
                began, before = yard.clock.monotonic(), pages
            if (await find_job(yard.store, LOCAL, job.id)).job.state.ended:
                break
            await asyncio.sleep(0.1)
    return pages - before, len(lapsed)


async def test_pages_rise_with_the_number_of_processes_and_no_lease_lapses(
    postgres_url: str, tmp_path: Path, site_server: Serve
) -> None:
    server = await site_server(ManyHosts(HOSTS, 10_000), host="0.0.0.0", latency_s=0.2)
    pages, lapsed = {}, {}
    async with opened(tmp_path / "near", database_url=postgres_url) as yard:
        for count in (2, 8):
            async with distant(make_url(postgres_url), ROUND_TRIP_S) as far, AsyncExitStack() as up:
                # four hosts for each worker, which ask for a page each second
                job = await submitted(yard, server.port, delay_s=1.0)
                for n in range(count):
                    worker = a_worker(tmp_path / f"{count}-{n}", *ALONE, CRAWLYARD_DATABASE_URL=far)
                    await up.enter_async_context(worker)
                pages[count], lapsed[count] = await watched(yard, job, count, SECONDS)
                await yard.services.writer.move(LOCAL, job.id, Move.CANCEL)

    assert lapsed == {2: 0, 8: 0}
    assert pages[8] > 1.5 * pages[2]


async def test_all_of_eight_workers_store_pages_and_no_lease_lapses(
    postgres_url: str, tmp_path: Path, site_server: Serve
) -> None:
    server = await site_server(ManyHosts(HOSTS, 10_000), host="0.0.0.0", latency_s=0.2)
    async with opened(tmp_path / "near", database_url=postgres_url) as yard:
        job = await submitted(yard, server.port)
        async with distant_workers(tmp_path, postgres_url, 8):
            pages, lapsed = await watched(yard, job, 8, SECONDS)
            await yard.services.writer.move(LOCAL, job.id, Move.CANCEL)

    assert lapsed == 0
    assert pages > 0


async def test_a_limit_of_pages_is_exact_far_from_the_database(
    postgres_url: str, tmp_path: Path, site_server: Serve
) -> None:
    server = await site_server(ManyHosts(HOSTS, 10_000), host="0.0.0.0", latency_s=0.2)
    async with opened(tmp_path / "near", database_url=postgres_url) as yard:
        job = await submitted(yard, server.port, limits=Limits(pages=300))
        async with distant_workers(tmp_path, postgres_url, 6):
            _, lapsed = await watched(yard, job, 6, 120)
        run = await outcome(yard, job.id)

    assert (run.job.state, run.job.state_reason) == (State.COMPLETED, StateReason.LIMIT_PAGES)
    assert len(run.pages) == run.usage.pages == 300
    assert lapsed == 0
