"""Workers that are told to be quiet, to go on or to stop, while they crawl."""

import asyncio
from collections.abc import Callable

from crawlyard import LOCAL, Move, State, Yard
from crawlyard.core.workers.status import WorkerReport, WorkerState
from crawlyard.services.jobs.lookup import find_job
from crawlyard.services.surface import Surface
from crawlyard.services.workers.worker import Worker
from crawlyard.services.workers.workers import Workers
from tests.engine.rig import a_spec, outcome, published, run, until_state
from tests.engine.test_crawl import paths, tree
from tests.jobs import events_of, submit
from tests.site import GraphSite, Serve


def workers_of(yard: Yard) -> Workers:
    return Surface(yard.services, LOCAL).workers


async def until(yard: Yard, worker: Worker, holds: Callable[[WorkerReport], bool]) -> WorkerReport:
    """Return what *worker* says of itself once *holds* is true of it."""
    async with asyncio.timeout(120):
        while True:
            for report in await yard.store.workers.find():
                if report.id == worker.id and holds(report):
                    return report
            await asyncio.sleep(0.01)


async def test_a_quiet_worker_ends_its_job_and_takes_no_other_until_it_is_resumed(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite(tree(4, 2)), latency_s=0.02)
    first = await submit(yard, a_spec(f"{server.url}/", concurrency=1))
    worker = yard.worker(slots=2)
    working = asyncio.create_task(worker.run())
    await published(yard, first.id, done=1)

    await workers_of(yard).quiet(worker.id)
    quiet = await until(yard, worker, lambda report: report.quiet)
    second = await submit(yard, a_spec(f"{server.url}/"))
    await until_state(yard, first.id, State.COMPLETED)
    idle_report = await until(yard, worker, lambda report: not report.running)
    waits = (await find_job(yard.store, LOCAL, second.id)).job.state

    await workers_of(yard).resume(worker.id)
    await until_state(yard, second.id, State.COMPLETED)
    worker.stop()
    await working

    assert quiet.state(alive=True) is idle_report.state(alive=True) is WorkerState.QUIET
    assert waits is State.PENDING
    assert "lightpanda" in quiet.browsers


async def test_a_worker_that_gets_a_stop_command_releases_its_job_and_exits(
    yard: Yard, site_server: Serve
) -> None:
    site = GraphSite(tree(5, 3))
    server = await site_server(site, latency_s=0.02)
    job = await submit(yard, a_spec(f"{server.url}/", concurrency=1))
    worker = yard.worker()
    working = asyncio.create_task(worker.run())
    await published(yard, job.id, done=3)

    await workers_of(yard).stop(worker.id)
    async with asyncio.timeout(120):
        await working

    given_back = await find_job(yard.store, LOCAL, job.id)
    assert given_back.job.state is State.PENDING
    assert given_back.shard.worker is None
    assert await yard.store.workers.find() == []
    await run(yard, job.id)
    stored = await outcome(yard, job.id)
    assert paths(server, stored.ok) == site.reachable()
    assert set(stored.stored.values()) == {1}


async def test_a_quiet_worker_can_be_stopped(yard: Yard) -> None:
    worker = yard.worker()
    working = asyncio.create_task(worker.run())
    await until(yard, worker, lambda report: True)
    await workers_of(yard).quiet(worker.id)
    await until(yard, worker, lambda report: report.quiet)

    await workers_of(yard).stop(worker.id)
    async with asyncio.timeout(120):
        await working

    assert await yard.store.workers.find() == []


async def test_a_wish_is_of_one_worker_alone(yard: Yard, site_server: Serve) -> None:
    server = await site_server(GraphSite(tree(2, 1)))
    first, other = yard.worker(), yard.worker()
    working = [asyncio.create_task(worker.run()) for worker in (first, other)]
    await until(yard, other, lambda report: True)
    await until(yard, first, lambda report: True)

    await workers_of(yard).quiet(first.id)
    await until(yard, first, lambda report: report.quiet)
    job = await submit(yard, a_spec(f"{server.url}/"))
    await until_state(yard, job.id, State.COMPLETED)
    [took] = [e.actor for e in await events_of(yard, job.id) if e.name == "job.started"]
    for worker in (first, other):
        worker.stop()
    await asyncio.gather(*working)

    assert took == f"worker:{other.id}"


async def test_a_worker_shows_how_busy_its_processor_is(yard: Yard) -> None:
    worker = yard.worker()
    working = asyncio.create_task(worker.run())

    busy = await until(yard, worker, _spends)
    worker.stop()
    await working

    assert 0 < busy.cpu < 64


async def test_a_host_shows_how_many_urls_wait_for_it(yard: Yard, site_server: Serve) -> None:
    links = [f"/{n}" for n in range(30)]
    server = await site_server(GraphSite({"/": links, **{link: [] for link in links}}))
    spec = a_spec(f"{server.url}/", delay_s=1, per_host=1)
    job = await submit(yard, spec)
    worker = yard.worker()
    working = asyncio.create_task(worker.run())

    busy = await until(yard, worker, lambda report: any(h.waiting > 1 for h in report.hosts))
    host_report = await Surface(yard.services, LOCAL).hosts.get(busy.hosts[0].host)
    await yard.services.writer.move(LOCAL, job.id, Move.CANCEL)
    idle_report = await until(yard, worker, lambda report: not report.running)
    worker.stop()
    await working

    assert 20 < host_report.waiting <= 30
    assert not any(host.waiting for host in idle_report.hosts)


def _spends(report: WorkerReport) -> bool:
    sum(n * n for n in range(20_000))
    return report.cpu > 0
