"""Crawls with Redis: other processes see them at once; without it, no crawl is lost or slower."""

from pathlib import Path

import pytest
from redis import Redis

from crawlyard import State
from crawlyard.messaging.bus import BusReach
from tests.conformance.buses import receive_progress, until
from tests.engine.rig import a_spec, opened, outcome, published
from tests.engine.test_crawl import paths, tree
from tests.engine.test_operator_commands import running
from tests.jobs import submit
from tests.redis_server import RedisServer
from tests.site import GraphSite, Serve, refetched

pytestmark = pytest.mark.redis

FAULTS = ("kill", "hang", "flush", "kill and start")


def strike(server: RedisServer, fault: str) -> None:
    match fault:
        case "kill":
            server.kill()
        case "hang":
            server.hang()
        case "flush":
            Redis(port=server.port).flushall()
        case _:
            server.kill()
            server.start()


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_crawl_completes_through_any_failure_of_redis(
    tmp_path: Path, site_server: Serve, redis_server: RedisServer, fault: str
) -> None:
    site = GraphSite(tree(5, 3))
    served = await site_server(site, latency_s=0.02)
    async with opened(tmp_path, redis_url=redis_server.url) as yard:
        job = await submit(yard, a_spec(f"{served.url}/", concurrency=4))
        async with running(yard, job.id, done=20) as work:
            strike(redis_server, fault)
            await published(yard, job.id, done=100)  # it is known here, at least
            await work

        run = await outcome(yard, job.id)

    assert run.job.state is State.COMPLETED
    assert paths(served, run.ok) == site.reachable()
    assert not refetched(served.hits)


async def test_a_crawl_begins_and_ends_while_redis_hangs(
    tmp_path: Path, site_server: Serve, redis_server: RedisServer
) -> None:
    redis_server.hang()
    site = GraphSite(tree(3, 3))
    served = await site_server(site)
    async with opened(tmp_path, redis_url=redis_server.url) as yard:
        job = await submit(yard, a_spec(f"{served.url}/"))
        await yard.worker(only=job.id).run()

        run = await outcome(yard, job.id)

    assert run.job.state is State.COMPLETED
    assert paths(served, run.ok) == site.reachable()


async def test_other_processes_hear_of_a_crawl(
    tmp_path: Path, site_server: Serve, redis_server: RedisServer
) -> None:
    served = await site_server(GraphSite(tree(5, 3)), latency_s=0.02)
    url, where = redis_server.url, str(tmp_path / "yard.db")
    async with (
        opened(tmp_path, database_url=where, redis_url=url) as works,
        opened(tmp_path, database_url=where, redis_url=url) as listens,
    ):
        job = await submit(works, a_spec(f"{served.url}/"))
        with listens.bus.subscribe() as subscription:
            await until(lambda: listens.bus.reach is BusReach.YARD)
            await works.worker(only=job.id).run()
            messages = await receive_progress(subscription, job.id)

        usage = (await outcome(works, job.id)).usage
        latest = await listens.progress.latest(job.id)
    assert 0 < messages[job.id].done <= usage.done
    assert latest is not None
    assert latest.done == usage.done
