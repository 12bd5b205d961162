"""One job over several workers: every page once, limits exact, and it goes on as any other."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from crawlyard import LOCAL, Job, Limits, Move, Scope, State, StateReason, Yard
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.checkpoint import Claim
from crawlyard.core.jobs.spec import Spread
from crawlyard.core.jobs.spread import shard_of
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import Answer
from crawlyard.services.workers.worker import Worker
from crawlyard.store.jobs.spread import SpreadStore
from tests.engine.rig import a_spec, opened, outcome, published, until_state
from tests.jobs import events_of, submit
from tests.many_hosts import ManyHosts
from tests.site import GraphSite, Serve


@pytest.fixture
async def yard(database_url: str, tmp_path: Path) -> AsyncIterator[Yard]:
    async with opened(tmp_path, database_url=database_url) as yard:
        yield yard


async def spread(yard: Yard, server: SiteServer, site: ManyHosts, **fields: Any) -> Job:
    """Return a job over all hosts of a site, just submitted."""
    fields = {"scope": Scope.ANY, "spread": 4, "ignore_robots": True} | fields
    return await submit(yard, a_spec(site.start(server.port), **fields))


@asynccontextmanager
async def working(yard: Yard, count: int) -> AsyncIterator[list[Worker]]:
    """Give workers with one slot each, that work until the end of the block."""
    workers = [yard.worker(slots=1) for _ in range(count)]
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.stop()
        await asyncio.gather(*tasks)


async def event_counts(yard: Yard, job: Job) -> Counter[EventName]:
    """Count the events of a job by name; each should be announced once."""
    return Counter(event.name for event in await events_of(yard, job.id))


async def test_three_workers_crawl_one_job_and_ask_every_page_once(
    yard: Yard, site_server: Serve
) -> None:
    site = ManyHosts(40, 6)
    server = await site_server(site, host="0.0.0.0", latency_s=0.01)
    job = await spread(yard, server, site)

    async with working(yard, 3):
        await until_state(yard, job.id, State.COMPLETED)

    run = await outcome(yard, job.id)
    assert run.ok == site.urls(server.port)
    assert site.twice() == set()
    assert run.job.state_reason is StateReason.EXHAUSTED
    assert run.usage.pages == run.usage.discovered == run.usage.done == 240
    events = await event_counts(yard, job)
    assert events[EventName.STARTED] == events[EventName.COMPLETED] == 1
    shards = await yard.store.spread.shards(job.id)
    assert sum(shard.usage.pages for shard in shards.values()) == 240


async def test_one_worker_alone_crawls_all_shards_of_a_job(yard: Yard, site_server: Serve) -> None:
    site = ManyHosts(12, 3)
    server = await site_server(site, host="0.0.0.0")
    job = await spread(yard, server, site)

    async with working(yard, 1):
        await until_state(yard, job.id, State.COMPLETED)

    assert (await outcome(yard, job.id)).ok == site.urls(server.port)
    assert (await event_counts(yard, job))[EventName.STARTED] == 1


@pytest.mark.parametrize("pages", [1, 57])
async def test_a_limit_of_pages_is_met_to_the_page_by_all_shards_together(
    yard: Yard, site_server: Serve, pages: int
) -> None:
    site = ManyHosts(40, 6)
    server = await site_server(site, host="0.0.0.0", latency_s=0.01)
    job = await spread(yard, server, site, limits=Limits(pages=pages))

    async with working(yard, 3):
        await until_state(yard, job.id, State.COMPLETED)

    run = await outcome(yard, job.id)
    assert len(run.pages) == run.usage.pages == pages
    assert sum(site.requests.values()) == pages
    assert run.job.state_reason is StateReason.LIMIT_PAGES
    assert (await event_counts(yard, job))[EventName.LIMIT_REACHED] == 1


async def test_a_worker_that_stops_leaves_its_shard_to_the_others(
    yard: Yard, site_server: Serve
) -> None:
    site = ManyHosts(40, 6)
    server = await site_server(site, host="0.0.0.0", latency_s=0.02)
    job = await spread(yard, server, site, concurrency=2)
    async with working(yard, 3) as workers:
        await published(yard, job.id, done=60)
        while len(await yard.store.leases.holders()) < len(workers):
            await yard.clock.sleep(timedelta(milliseconds=10))

        workers[0].stop()
        await until_state(yard, job.id, State.COMPLETED)

    run = await outcome(yard, job.id)
    assert run.ok == site.urls(server.port)
    assert site.twice() == set()
    assert (await event_counts(yard, job))[EventName.REQUEUED] == 0


async def test_a_stop_between_two_shards_is_a_stop(
    yard: Yard, site_server: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = ManyHosts(20, 10)
    server = await site_server(site, host="0.0.0.0", latency_s=0.02)
    job = await spread(yard, server, site, concurrency=2)
    worker, leave = yard.worker(slots=1), SpreadStore.leave
    job_numbers: list[int] = []

    async def leave_and_stop(self: SpreadStore, *args: Any, **kwargs: Any) -> Claim | None:
        further = await leave(self, *args, **kwargs)
        if further is not None and not job_numbers:
            job_numbers.append(sum(site.requests.values()))
            worker.stop()
        return further

    monkeypatch.setattr(SpreadStore, "leave", leave_and_stop)
    async with asyncio.timeout(120):
        await worker.run()

    assert job_numbers == [sum(site.requests.values())]
    assert (await outcome(yard, job.id)).job.state is State.PENDING


async def test_a_paused_job_stops_in_all_workers_and_goes_on_where_it_stood(
    yard: Yard, site_server: Serve
) -> None:
    site = ManyHosts(40, 12)
    server = await site_server(site, host="0.0.0.0", latency_s=0.02)
    job = await spread(yard, server, site, concurrency=2)
    async with working(yard, 3):
        await published(yard, job.id, done=60)

        await yard.services.writer.move(LOCAL, job.id, Move.PAUSE)
        async with asyncio.timeout(120):
            while await yard.store.leases.holders():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        request_count = sum(site.requests.values())
        await yard.services.writer.move(LOCAL, job.id, Move.RESUME)
        await until_state(yard, job.id, State.COMPLETED)

    assert request_count < 480
    assert (await outcome(yard, job.id)).ok == site.urls(server.port)
    assert site.twice() == set()


async def test_a_job_of_few_hosts_is_not_spread_unasked(yard: Yard, site_server: Serve) -> None:
    site = ManyHosts(3, 3)
    server = await site_server(site, host="0.0.0.0")
    job = await spread(yard, server, site, spread=Spread.AUTO)

    async with working(yard, 1):
        await until_state(yard, job.id, State.COMPLETED)

    assert await yard.store.spread.shards(job.id) == {}
    assert (await outcome(yard, job.id)).ok == site.urls(server.port)


async def test_an_edit_holds_for_the_urls_that_wait_in_all_shards(
    yard: Yard, site_server: Serve
) -> None:
    site = ManyHosts(20, 4)
    server = await site_server(site, host="0.0.0.0", latency_s=0.02)
    job = await spread(yard, server, site, concurrency=2)
    async with working(yard, 2):
        await published(yard, job.id, done=15)
        await yard.services.writer.move(LOCAL, job.id, Move.PAUSE)
        async with asyncio.timeout(120):
            while await yard.store.leases.holders():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

        changes = {"exclude": ("/1",), "include": ("/0", "/1")}
        await yard.services.writer.edit(LOCAL, job.id, changes)
        before = Counter(site.requests)
        await yard.services.writer.move(LOCAL, job.id, Move.RESUME)
        await until_state(yard, job.id, State.COMPLETED)

    paths = {path for _, path in site.requests - before}
    assert paths <= {"/0"}
    run = await outcome(yard, job.id)
    assert set(run.rules.values()) == {"exclude: /1", "include: no pattern matches"}
    assert run.usage.waiting == 0


async def test_a_shard_keeps_no_url_out_that_a_redirect_in_another_has_let_in(
    tmp_path: Path, site_server: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Moved(GraphSite):
        async def _answer_late(self, reader: object, writer: Any) -> None:
            await gate.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

        def answer(self, method: str, path: str, host: str) -> Any:
            if host == busy:
                return self._answer_late
            if host == old:
                return Answer(302, (("Location", f"http://{new}/"),))
            return super().answer(method, path, host)

    def host_in(shard: int, domain: str) -> str:
        names = (f"h{n}.{domain}:{server.port}" for n in range(1000))
        return next(name for name in names if shard_of(name, 4) == shard)

    gate = asyncio.Event()
    look_up = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda _, *rest, **how: look_up("127.0.0.1", *rest, **how)
    )
    site = Moved({"/post": []})
    server = await site_server(site)
    old, busy = host_in(1, "old.test"), host_in(3, "busy.test")
    # a worker has the shard of the blog before any shard knows that the blog belongs to the job
    new, blog = host_in(2, "new.test"), host_in(3, "new.test")
    site.links = {"/": [f"http://{blog}/post"], "/post": []}
    async with opened(tmp_path) as yard:
        seeds = (f"http://{old}/", f"http://{busy}/")
        spec = a_spec(*seeds, scope=Scope.DOMAIN, spread=4, ignore_robots=True)
        job = await submit(yard, spec)
        async with working(yard, 3):
            await published(yard, job.id, done=2)
            gate.set()
            await until_state(yard, job.id, State.COMPLETED)
        run = await outcome(yard, job.id)

    assert f"http://{blog}/post" in run.ok
