"""One job on three workers with one killed: every page is stored once and limits are exact."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from crawlyard import LOCAL, Limits, Scope, State, StateReason, Yard
from crawlyard.services.jobs.lookup import find_job
from tests.acceptance.test_faults import a_worker
from tests.engine.rig import a_spec, opened, outcome
from tests.jobs import submit
from tests.many_hosts import ManyHosts
from tests.site import Serve, site_server

__all__ = ["site_server"]

ALONE = ("--jobs", "1", "--no-scheduler", "--no-webhooks", "--no-janitor")
AT_ONCE, LATENCY_S = 4, 0.1
DATABASES = ("sqlite", pytest.param("postgres", marks=pytest.mark.postgres))


@pytest.fixture
def where(request: pytest.FixtureRequest) -> str:
    """The URL of a database; "" is a file in the folder of the yard."""
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else ""


async def workers_of(yard: Yard, job_id: str) -> dict[str, int]:
    """Return the pages of a job's shards by worker."""
    shards = (await yard.store.spread.shards(job_id)).values()
    return {shard.worker: shard.usage.pages for shard in shards if shard.worker is not None}


async def until_all_work(yard: Yard, job_id: str, count: int) -> dict[str, int]:
    """Return the pages by worker once *count* workers have each recorded some."""
    async with asyncio.timeout(120):
        while True:
            pages = await workers_of(yard, job_id)
            if len(pages) == count and all(pages.values()):
                return pages
            await asyncio.sleep(0.05)


async def until_ended(yard: Yard, job_id: str) -> None:
    """Return once a job has ended."""
    async with asyncio.timeout(120):
        while not (await find_job(yard.store, LOCAL, job_id)).job.state.ended:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("where", DATABASES, indirect=True)
@pytest.mark.parametrize("most", [None, 500])
async def test_killing_one_of_three_workers_loses_no_page_and_exceeds_no_limit(
    where: str, tmp_path: Path, site_server: Serve, most: int | None
) -> None:
    site = ManyHosts(60, 12)
    server = await site_server(site, host="0.0.0.0", latency_s=LATENCY_S)
    async with opened(tmp_path, database_url=where) as yard, AsyncExitStack() as stack:
        spec = a_spec(
            site.start(server.port),
            scope=Scope.ANY,
            spread=6,
            ignore_robots=True,
            concurrency=AT_ONCE,
            limits=Limits(pages=most),
        )
        job = await submit(yard, spec)
        environment = {"CRAWLYARD_DATABASE_URL": where} if where else {}
        processes = [
            await stack.enter_async_context(a_worker(tmp_path / "data", *ALONE, **environment))
            for _ in range(3)
        ]
        await until_all_work(yard, job.id, 3)

        processes[0].kill()
        await until_ended(yard, job.id)

        result = await outcome(yard, job.id)
        assert await yard.store.leases.holders() == {}

    assert result.job.state is State.COMPLETED
    assert max(result.stored.values()) == 1
    assert result.usage.pages == len(result.pages)
    if most is None:
        assert result.ok == site.urls(server.port)
        assert result.job.state_reason is StateReason.EXHAUSTED
    else:
        assert len(result.pages) == most
        assert result.job.state_reason is StateReason.LIMIT_PAGES
    # in flight in the killed worker, or not stored yet: pages of the last second
    assert len(site.twice()) <= AT_ONCE / LATENCY_S
