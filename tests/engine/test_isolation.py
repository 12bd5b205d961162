"""A job in a child process: what its parent tells it, and what it is not blamed for."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from crawlyard import LOCAL, Move, State, StateReason, Yard
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.job import ISOLATED_FROM
from crawlyard.core.workers.status import WorkerReport
from crawlyard.engine.render.process import ProcessUsage, measure
from crawlyard.errors import StoreUnavailable, Unavailable
from crawlyard.messaging.local_dispatcher import LocalDispatcher
from crawlyard.services.jobs.lookup import find_job
from crawlyard.services.workers.fork_server import Fork, ForkServer
from crawlyard.services.workers.isolation import IsolatedRun, Isolation
from crawlyard.services.workers.liveness import Liveness
from crawlyard.services.workers.order_watch import watch_orders
from crawlyard.services.workers.reclaim import Reclaimer
from crawlyard.services.workers.recorder import Recorder
from crawlyard.services.workers.reporting import Reporter, WorkerTotals, _memory
from crawlyard.services.workers.run import WorkerContext
from tests.clock import LeapingClock
from tests.engine.rig import a_spec, opened, outcome, until_state
from tests.engine.test_crawl import tree
from tests.engine.test_worker import around
from tests.jobs import submit
from tests.site import GraphSite, Serve, until

LEASE = timedelta(seconds=60)
SITE = GraphSite(tree(5, 3))


@dataclass
class Nursery:
    """A yard with one job, for a child process to run."""

    yard: Yard
    shop: WorkerContext
    run: IsolatedRun
    clock: LeapingClock  # of the parent

    async def seq(self) -> int:
        return (await find_job(self.yard.store, LOCAL, self.run.job_id)).shard.seq

    async def after_checkpoints(self, count: int) -> None:
        """Return when the child has made so many checkpoints more."""
        seq = await self.seq()
        async with asyncio.timeout(120):
            while await self.seq() < seq + count:  # noqa: ASYNC110 - another process's doing
                await asyncio.sleep(0.01)


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    async with opened(tmp_path, database_url="") as there:
        yield there


@pytest.fixture
async def forks() -> AsyncIterator[ForkServer]:
    server = ForkServer("crawlyard.child")
    yield server
    await server.close()


@asynccontextmanager
async def a_nursery(
    yard: Yard, forks: ForkServer, url: str, lease: timedelta = LEASE
) -> AsyncIterator[Nursery]:
    await submit(yard, a_spec(f"{url}/", concurrency=2))
    clock = LeapingClock()
    recorder = Recorder(yard.store.frontier, clock, lease)
    shop = replace(yard.worker_context(), recorder=recorder, clock=clock)
    claim = await yard.store.leases.claim(Asker("w"), yard.clock.now(), LEASE)
    assert claim is not None
    run = IsolatedRun(claim, shop, Isolation(yard.settings, forks))
    watch = asyncio.create_task(watch_orders(shop, lambda: [run]))
    yield Nursery(yard, shop, run, clock)
    watch.cancel()


def only_child(nursery: Nursery) -> int:
    """Return the pid of the one child that runs a job."""
    assert nursery.run._child is not None
    return nursery.run._child.pid


def only_fork(forks: ForkServer) -> Fork:
    (fork,) = forks._forks.values()
    return fork


async def test_a_child_sends_nothing_while_it_is_held(
    yard: Yard, forks: ForkServer, site_server: Serve
) -> None:
    server = await site_server(SITE, latency_s=0.02)
    async with a_nursery(yard, forks, server.url) as nursery:
        running = asyncio.create_task(nursery.run.run())
        await until(lambda: len(server.hits) > 10)

        nursery.run.hold(True)
        await nursery.after_checkpoints(2)
        hits_before = len(server.hits)
        await nursery.after_checkpoints(1)
        still = len(server.hits)
        nursery.run.hold(False)
        await running

    assert hits_before == still < len(SITE.reachable())
    run = await outcome(yard, nursery.run.job_id)
    assert run.job.state is State.COMPLETED
    assert len(run.ok) == len(SITE.reachable())


async def test_a_child_begins_held_if_nothing_may_be_sent(
    yard: Yard, forks: ForkServer, site_server: Serve
) -> None:
    server = await site_server(SITE)
    async with a_nursery(yard, forks, server.url) as nursery:
        nursery.shop.permit.good = False
        running = asyncio.create_task(nursery.run.run())
        await until(lambda: nursery.run._channel is not None)  # before, the parent checkpoints
        await nursery.after_checkpoints(2)
        hits_before = len(server.hits)

        nursery.run.hold(False)
        await running

    assert hits_before == 0
    assert (await outcome(yard, nursery.run.job_id)).job.state is State.COMPLETED


async def test_a_child_that_hangs_is_blamed_by_its_parent(
    yard: Yard, forks: ForkServer, site_server: Serve
) -> None:
    server = await site_server(SITE, latency_s=0.02)
    async with a_nursery(yard, forks, server.url, timedelta(seconds=4)) as nursery:
        running = asyncio.create_task(nursery.run.run())
        await until(lambda: len(server.hits) > 10)

        os.kill(only_child(nursery), signal.SIGSTOP)
        await running

    run = await outcome(yard, nursery.run.job_id)
    assert (run.job.state, run.job.losses) == (State.PENDING, ISOLATED_FROM + 1)


async def test_a_child_that_is_ended_after_it_gave_its_job_back_has_not_died_of_it(
    yard: Yard, forks: ForkServer, site_server: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = await site_server(SITE, latency_s=0.02)
    async with a_nursery(yard, forks, server.url, timedelta(seconds=4)) as nursery:
        running = asyncio.create_task(nursery.run.run())
        await until(lambda: len(server.hits) > 10)

        os.kill(only_child(nursery), signal.SIGSTOP)
        await yard.store.leases.free(nursery.run.lease)
        await running

    assert "died" not in caplog.text


async def test_a_child_is_not_blamed_for_time_in_which_its_parent_was_stopped(
    yard: Yard, forks: ForkServer, site_server: Serve
) -> None:
    server = await site_server(SITE, latency_s=0.02)
    async with a_nursery(yard, forks, server.url, timedelta(seconds=4)) as nursery:
        running = asyncio.create_task(nursery.run.run())
        await until(lambda: len(server.hits) > 10)
        child = only_child(nursery)

        os.kill(child, signal.SIGSTOP)
        try:
            nursery.clock.leapt += timedelta(seconds=30)
            await asyncio.sleep(1.2)  # two looks of the parent
        finally:
            os.kill(child, signal.SIGCONT)
        await running

    run = await outcome(yard, nursery.run.job_id)
    assert (run.job.state, run.job.losses) == (State.COMPLETED, 0)


async def test_an_operator_pauses_a_job_in_a_child_at_once(
    yard: Yard, forks: ForkServer, site_server: Serve
) -> None:
    server = await site_server(SITE, latency_s=0.02)
    async with a_nursery(yard, forks, server.url) as nursery:
        running = asyncio.create_task(nursery.run.run())
        await until(lambda: len(server.hits) > 10)

        await yard.services.writer.move(LOCAL, nursery.run.job_id, Move.PAUSE)
        await running

    current = await find_job(yard.store, LOCAL, nursery.run.job_id)
    assert (current.job.state, current.job.losses, current.shard.worker) == (State.PAUSED, 0, None)
    assert len(server.hits) < len(SITE.reachable())


async def test_a_worker_that_stops_lets_a_child_store_what_is_in_flight(
    yard: Yard, forks: ForkServer, site_server: Serve
) -> None:
    server = await site_server(SITE, latency_s=0.1)
    async with a_nursery(yard, forks, server.url) as nursery:
        running = asyncio.create_task(nursery.run.run())
        await until(lambda: len(server.hits) > 10)

        nursery.run.drain(4.0)
        await running

    run = await outcome(yard, nursery.run.job_id)
    assert run.job.state_reason is StateReason.WORKER_STOPPED
    assert run.job.losses == 0
    assert len(run.ok) == len(server.hits) - 1  # all but robots.txt


async def test_a_fork_server_that_dies_takes_its_children_along_and_another_is_started(
    yard: Yard, forks: ForkServer, site_server: Serve
) -> None:
    server = await site_server(SITE, latency_s=0.02)
    async with a_nursery(yard, forks, server.url) as nursery:
        running = asyncio.create_task(nursery.run.run())
        await until(lambda: len(server.hits) > 10)
        child, process = only_child(nursery), forks._process
        assert process is not None

        os.kill(child, signal.SIGSTOP)
        process.kill()
        await running
        run = await outcome(yard, nursery.run.job_id)
        ours, child_end = socket.socketpair()
        with ours:
            another = await forks.fork(child_end)

    assert (run.job.state, run.job.losses) == (State.PENDING, 1)  # not blamed
    await until(lambda: not Path(f"/proc/{child}").exists())
    assert await another.exit_code == 0  # it has no job


@pytest.mark.parametrize("refuses", [True, False], ids=["not-at-all", "slowly"])
async def test_a_child_is_not_blamed_while_the_store_is_unavailable(
    yard: Yard, forks: ForkServer, site_server: Serve, *, refuses: bool
) -> None:
    """The store is away, or slow, for longer than a child may be silent."""
    lease, there = timedelta(seconds=3), asyncio.Event()
    there.set()

    async def write() -> None:
        if refuses and not there.is_set():
            raise StoreUnavailable("it is away")
        await there.wait()

    around(yard, "frontier", "record", write)
    server = await site_server(SITE, latency_s=0.02)
    async with a_nursery(yard, forks, server.url, lease) as nursery:
        running = asyncio.create_task(nursery.run.run())
        await until(lambda: len(server.hits) > 10)

        there.clear()
        await asyncio.sleep(lease.total_seconds())
        there.set()
        await running

    run = await outcome(yard, nursery.run.job_id)
    assert (run.job.state, run.job.losses) == (State.COMPLETED, 0)


async def reported(yard: Yard, holds: Callable[[WorkerReport], bool]) -> WorkerReport:
    """Return the first report of the only worker that *holds*."""
    async with asyncio.timeout(120):
        while True:
            for report in await yard.store.workers.find():
                if holds(report):
                    return report
            await asyncio.sleep(0.05)


async def lose(yard: Yard, times: int) -> None:
    """Let the job lose its worker so many times."""
    for _ in range(times):
        await yard.store.leases.claim(Asker("other"), yard.clock.now(), timedelta(0))
        rescue = Reclaimer("w", yard.store, yard.clock, Liveness("w", LocalDispatcher(), None))
        assert await rescue.take_back()


async def test_others_who_find_the_lease_of_a_child_lapsed_do_not_blame_it(yard: Yard) -> None:
    job = await submit(yard, a_spec("http://127.0.0.1:1/"))
    await lose(yard, 5)

    job_after = (await find_job(yard.store, LOCAL, job.id)).job
    assert (job_after.state, job_after.losses) == (State.PENDING, ISOLATED_FROM)


async def test_what_a_child_does_is_reported_by_its_worker(
    tmp_path: Path, site_server: Serve
) -> None:
    server = await site_server(SITE, latency_s=0.05)
    async with opened(tmp_path, database_url="") as yard:
        job = await submit(yard, a_spec(f"{server.url}/", concurrency=2))
        await lose(yard, ISOLATED_FROM)
        worker = yard.worker()
        working = asyncio.create_task(worker.run())
        report = await reported(yard, lambda r: r.pages > 0 and any(h.in_flight for h in r.hosts))
        live = await yard.bus.latest(job.id)
        await until_state(yard, job.id, State.COMPLETED)
        measures = yard.services.measures
        await until(lambda: measures.requests.statuses["2xx"] == len(SITE.reachable()))
        worker.stop()
        await working

    (host,) = report.hosts
    assert (host.host, host.jobs) == (server.authority, (job.id,))
    assert 0 < host.in_flight <= 2
    assert report.running == (job.id,)
    assert live is not None
    assert report.memory_bytes > _memory() + 20_000_000  # the fork server alone has 60 MB


async def test_the_memory_that_children_share_counts_once(
    yard: Yard, forks: ForkServer, site_server: Serve
) -> None:
    server = await site_server(SITE, latency_s=0.05)
    async with a_nursery(yard, forks, server.url) as nursery:
        running = asyncio.create_task(nursery.run.run())
        await until(lambda: bool(forks._forks) and only_fork(forks).usage.rss_bytes > 0)

        usage, child, process = forks.usage(), only_child(nursery), forks._process
        assert process is not None
        usages = [measure(pid, forks=False) for pid in (child, process.pid)]
        await nursery.yard.services.writer.move(LOCAL, nursery.run.job_id, Move.PAUSE)
        await running

    assert max(own.rss_bytes for own in usages) / 2 < usage.rss_bytes
    assert usage.rss_bytes < sum(own.rss_bytes for own in usages) * 0.8
    assert 0 < usage.cpu_s <= sum(own.cpu_s for own in usages)


async def test_the_processor_time_of_children_counts_for_their_worker(yard: Yard) -> None:
    clock, spent = LeapingClock(), [0.0]
    reporter = Reporter(
        *("w", yard.store.workers, tuple, WorkerTotals(), clock),
        children=lambda: ProcessUsage(cpu_s=spent[0], rss_bytes=0),
    )
    report = WorkerReport(
        id="w", host="h", pid=1, version="1", slots=1, started_at=clock.now(), beat_at=clock.now()
    )
    reporter.measure(report)
    clock.leapt += timedelta(seconds=1000)
    spent[0] += 500.0
    cpu = reporter.measure(report).cpu
    clock.leapt += timedelta(seconds=1000)
    spent[0] = 0.0  # their fork server has ended
    after = reporter.measure(report).cpu

    assert cpu == pytest.approx(0.5, abs=0.05)
    assert after >= 0


async def test_a_worker_whose_program_was_replaced_gives_an_isolated_job_back_and_stops(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path, database_url="") as yard:
        job = await submit(yard, a_spec("http://127.0.0.1:1/"))
        await lose(yard, ISOLATED_FROM)
        old = ForkServer("crawlyard.child", version="0.0.1")
        worker = yard.worker()
        worker._runs._isolation = Isolation(yard.settings, old)
        try:
            async with asyncio.timeout(60):
                with pytest.raises(Unavailable, match="another version of Crawlyard was installed"):
                    await worker.run()
        finally:
            await old.close()
        job_after = (await find_job(yard.store, LOCAL, job.id)).job

    assert (job_after.state, job_after.losses) == (State.PENDING, ISOLATED_FROM)
    # twice if the worker was claiming the job again at that moment
    assert caplog.text.count("no child can be started") in {1, 2}
