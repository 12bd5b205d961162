"""Views of running jobs: workers, hosts, logs and courses."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crawlyard import LOCAL, Actor, Yard
from crawlyard.core.jobs.job_log import LevelWord
from crawlyard.errors import NotFound
from crawlyard.services.surface import Surface
from crawlyard.services.workers.status import Watching
from tests.engine.rig import a_spec, crawled, opened, published
from tests.engine.test_crawl import tree
from tests.jobs import submit
from tests.site import GraphSite, Serve

BOB = Actor(id="bob")


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    async with opened(tmp_path, database_url="") as yard:
        yield yard


def watching(yard: Yard) -> Watching:
    return Watching(yard.store, yard.clock)


async def test_a_crawl_leaves_a_log_and_a_course(yard: Yard, site_server: Serve) -> None:
    server = await site_server(GraphSite({"/": ["/a", "/missing"], "/a": []}))

    run = await crawled(yard, a_spec(server.url))

    looks = Surface(yard.services, LOCAL).jobs
    lines = (await looks.log(run.job.id)).items
    assert [line.message.partition(",")[0] for line in lines] == [
        lines[0].message.partition(",")[0],
        "http_4xx: answered 404",
        "ended: exhausted",
    ]
    assert lines[0].message.startswith("started by ")
    course = await looks.metrics(run.job.id)
    assert sum(point.pages for point in course.points) == run.usage.pages == 3
    assert course.points[-1].statuses == {"2xx": 2, "4xx": 1}
    warnings = await looks.log(run.job.id, level=LevelWord.WARNING)
    assert [line.url for line in warnings.items] == [f"{server.url}/missing"]


async def test_other_users_cannot_read_log_or_metrics(yard: Yard, site_server: Serve) -> None:
    server = await site_server(GraphSite({"/": []}))
    run = await crawled(yard, a_spec(server.url))

    looks = Surface(yard.services, BOB).jobs
    for look in (looks.log, looks.metrics):
        with pytest.raises(NotFound):
            await look(run.job.id)


async def test_workers_and_hosts_are_seen_while_they_are_at_it(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite(tree(3, 6)))
    job = await submit(yard, a_spec(server.url, per_host=3, delay_s=0.2))
    worker = yard.worker(reserved=1)
    running = asyncio.create_task(worker.run())
    await published(yard, job.id, done=3)

    async with asyncio.timeout(120):
        while not (hosts := await watching(yard).hosts(LOCAL)):  # noqa: ASYNC110
            await asyncio.sleep(0)
    [report] = await watching(yard).workers(LOCAL)
    narrowed = await watching(yard).workers(BOB)

    [host] = hosts
    assert (host.jobs, host.others, host.at_once) == ((job.id,), 0, 3)
    assert (report.id, report.slots, report.reserved) == (worker.id, 4, 1)
    assert await watching(yard).hosts(BOB) == []
    assert narrowed[0].running == ()
    worker.stop()
    await running
    assert await watching(yard).workers(LOCAL) == []
