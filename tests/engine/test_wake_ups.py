"""Work that appears wakes a worker at once: here none finds it by a look of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from crawlyard import LOCAL, Priority, Scope, State, Yard
from crawlyard.services.jobs.lookup import find_job
from crawlyard.services.workers import worker as working
from tests.engine.rig import a_spec, opened, until_state
from tests.engine.test_crawl import tree
from tests.jobs import submit
from tests.listening import wait_for_listeners
from tests.many_hosts import ManyHosts
from tests.site import GraphSite, Serve

STORES = ["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
AN_HOUR = timedelta(hours=1)


@pytest.fixture(params=STORES)
def where(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "memory":
        return {}
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    return {"database_url": url}


@pytest.fixture
async def yards(
    where: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[tuple[Yard, Yard, str]]:
    """Two yards as two processes open them, and where their database is, if that is Postgres."""
    monkeypatch.setattr(working, "POLL_EVERY", AN_HOUR)
    async with AsyncExitStack() as stack:
        opened_yard = await stack.enter_async_context(opened(tmp_path, **where))
        other = await stack.enter_async_context(opened(tmp_path, **where)) if where else opened_yard
        yield opened_yard, other, where.get("database_url", "")


@asynccontextmanager
async def at_work(url: str, hear: int, *workers: working.Worker) -> AsyncIterator[None]:
    """Let workers work until the end of the block, which begins once *hear* hear of what comes."""
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        if url:
            await wait_for_listeners(url, hear)
        yield
    finally:
        for worker in workers:
            worker.stop()
        await asyncio.gather(*tasks)


async def test_a_reserved_slot_is_notified_of_an_urgent_job(
    yards: tuple[Yard, Yard, str], site_server: Serve
) -> None:
    yard, other, url = yards
    server = await site_server(GraphSite(tree(7, 3)), latency_s=0.05)

    async with at_work(url, 1, yard.worker(slots=2, reserved=1)):
        first = await submit(other, a_spec(f"{server.url}/", concurrency=1))
        await until_state(yard, first.id, State.RUNNING)
        second = await submit(other, a_spec(f"{server.url}/1"))
        spec = a_spec(f"{server.url}/2", priority=Priority.URGENT, concurrency=1)
        urgent = await submit(other, spec)
        await until_state(yard, urgent.id, State.RUNNING)
        waits = (await find_job(yard.store, LOCAL, second.id)).job.state

    assert waits is State.PENDING


async def test_workers_at_rest_join_a_job_as_soon_as_it_has_something_for_them(
    yards: tuple[Yard, Yard, str], site_server: Serve
) -> None:
    yard, other, url = yards
    site = ManyHosts(40, 12)
    server = await site_server(site, host="0.0.0.0", latency_s=0.05)
    # a free slot of who begins it may not take another shard, and must not keep the word
    workers = [yard.worker(slots=2), other.worker(slots=2), other.worker(slots=2)]

    async with at_work(url, 3, *workers):
        fields = {"scope": Scope.ANY, "spread": 3, "ignore_robots": True}
        spec = a_spec(site.start(server.port), **fields)
        job = await submit(yard, spec)
        # on a slow machine a joiner may have a second shard before the third worker asks
        shard_holders: dict[int, str] = {}
        async with asyncio.timeout(120):
            while len(shard_holders) < 3 or len({*shard_holders.values()}) < 2:
                shard_holders |= await holders(yard, job.id)
                await asyncio.sleep(0.01)


async def holders(yard: Yard, job_id: str) -> dict[int, str]:
    """Return the holders of the claimed shards of a job."""
    shards = await yard.store.spread.shards(job_id)
    return {number: shard.worker for number, shard in shards.items() if shard.worker is not None}
