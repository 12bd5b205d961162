"""A job in a child process: what its parent tells it, and what it is not blamed for."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from crawlyard import LOCAL, State, Yard
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.job import ISOLATED_FROM
from crawlyard.dispatch.local import LocalDispatcher
from crawlyard.errors import StoreUnavailable
from crawlyard.services.worker.isolation import IsolatedRun, Isolation
from crawlyard.services.worker.liveness import Liveness
from crawlyard.services.worker.reclaim import LATE, Reclaimer
from crawlyard.services.worker.recorder import Recorder
from crawlyard.services.worker.run import WorkerContext
from tests.clock import LeapingClock
from tests.engine.rig import a_spec, opened, outcome
from tests.engine.test_crawl import tree
from tests.engine.test_worker import around
from tests.site import GraphSite, Serve, until

LEASE = timedelta(seconds=60)
SITE = GraphSite(tree(5, 3))
CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children")


@dataclass
class Nursery:
    """A yard with one job, which a child is to run."""

    yard: Yard
    shop: WorkerContext
    run: IsolatedRun
    clock: LeapingClock  # of the parent

    async def seq(self) -> int:
        return (await self.yard.jobs.get(LOCAL, self.run.job_id)).shard.seq

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


def only_child() -> int:
    """Return the pid of the one child that runs a job."""
    pids = map(int, CHILDREN.read_text("ascii").split())
    (pid,) = [p for p in pids if b"crawlyard.child" in Path(f"/proc/{p}/cmdline").read_bytes()]
    return pid


async def a_nursery(yard: Yard, url: str, lease: timedelta = LEASE) -> Nursery:
    await yard.jobs.submit(LOCAL, a_spec(f"{url}/", concurrency=2))
    clock = LeapingClock()
    recorder = Recorder(yard.store.frontier, clock, lease)
    shop = replace(yard.worker_context(), recorder=recorder, clock=clock)
    claim = await yard.store.leases.claim(Asker("w"), yard.clock.now(), LEASE)
    assert claim is not None
    run = IsolatedRun(claim, shop, Isolation(yard.settings.model_dump(mode="json")))
    return Nursery(yard, shop, run, clock)


async def test_a_child_sends_nothing_while_it_is_held(yard: Yard, site_server: Serve) -> None:
    server = await site_server(SITE, latency_s=0.02)
    nursery = await a_nursery(yard, server.url)
    running = asyncio.create_task(nursery.run.run())
    await until(lambda: len(server.hits) > 10)

    nursery.run.hold(True)
    await nursery.after_checkpoints(2)
    held = len(server.hits)
    await nursery.after_checkpoints(1)
    still = len(server.hits)
    nursery.run.hold(False)
    await running

    assert held == still < len(SITE.reachable())
    found = await outcome(yard, nursery.run.job_id)
    assert found.job.state is State.COMPLETED
    assert len(found.ok) == len(SITE.reachable())


async def test_a_child_begins_held_if_nothing_may_be_sent(yard: Yard, site_server: Serve) -> None:
    server = await site_server(SITE)
    nursery = await a_nursery(yard, server.url)
    nursery.shop.permit.good = False
    running = asyncio.create_task(nursery.run.run())
    await until(lambda: nursery.run._begun)  # before, the checkpoints are the parent's
    await nursery.after_checkpoints(2)
    held = len(server.hits)

    nursery.run.hold(False)
    await running

    assert held == 0
    assert (await outcome(yard, nursery.run.job_id)).job.state is State.COMPLETED


async def test_a_child_that_hangs_is_blamed_by_its_parent(yard: Yard, site_server: Serve) -> None:
    server = await site_server(SITE, latency_s=0.02)
    nursery = await a_nursery(yard, server.url, timedelta(seconds=4))
    running = asyncio.create_task(nursery.run.run())
    await until(lambda: len(server.hits) > 10)

    os.kill(only_child(), signal.SIGSTOP)
    await running

    found = await outcome(yard, nursery.run.job_id)
    assert (found.job.state, found.job.losses) == (State.PENDING, ISOLATED_FROM + 1)


async def test_a_child_that_is_ended_after_it_gave_its_job_back_has_not_died_of_it(
    yard: Yard, site_server: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = await site_server(SITE, latency_s=0.02)
    nursery = await a_nursery(yard, server.url)
    running = asyncio.create_task(nursery.run.run())
    await until(lambda: len(server.hits) > 10)

    os.kill(only_child(), signal.SIGSTOP)
    await yard.store.leases.free(nursery.run.lease)
    await running

    assert "died" not in caplog.text


@pytest.mark.parametrize(
    ("away", "leap"), [(True, 1.5), (False, 30.0)], ids=["store-away", "parent-stopped"]
)
async def test_a_child_is_not_blamed_for_time_in_which_it_could_not_be_seen(
    yard: Yard, site_server: Serve, *, away: bool, leap: float
) -> None:
    server = await site_server(SITE, latency_s=0.02)
    nursery = await a_nursery(yard, server.url, timedelta(seconds=4))
    running = asyncio.create_task(nursery.run.run())
    await until(lambda: len(server.hits) > 10)
    child, looks = only_child(), 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 2:  # it has been seen as it is now
            nursery.clock.leapt += timedelta(seconds=leap)
            if away:
                raise StoreUnavailable("it is away")

    os.kill(child, signal.SIGSTOP)
    try:
        around(yard, "jobs", "get", look)
        await until(lambda: looks > 3)
    finally:
        os.kill(child, signal.SIGCONT)
    await running

    found = await outcome(yard, nursery.run.job_id)
    assert (found.job.state, found.job.losses) == (State.COMPLETED, 0)


@dataclass
class Troubled:
    """What a parent finds of a store in which nobody can write, or only slowly."""

    refuses: bool  # else all takes long
    clock: LeapingClock | None = None  # of the parent; until it is set, all is well
    writes: int = 0
    seen: int = 0

    async def write(self) -> None:
        if self.clock is not None:
            self.writes += 1
            self._trouble(self.clock)

    async def look(self) -> None:
        # right after a write that was refused it cannot be read either
        if self.clock is not None and (not self.refuses or self.seen < self.writes):
            self.seen = self.writes
            self._trouble(self.clock)

    def _trouble(self, clock: LeapingClock) -> None:
        if self.refuses:
            raise StoreUnavailable("it is away")
        clock.leapt += LATE


@pytest.mark.parametrize("refuses", [True, False], ids=["not-at-all", "slowly"])
async def test_a_child_is_not_blamed_where_nobody_can_write(
    yard: Yard, site_server: Serve, *, refuses: bool
) -> None:
    troubled = Troubled(refuses)
    around(yard, "frontier", "record", troubled.write)
    around(yard, "jobs", "get", troubled.look)
    server = await site_server(SITE, latency_s=0.02)
    nursery = await a_nursery(yard, server.url, timedelta(seconds=4))
    running = asyncio.create_task(nursery.run.run())
    await until(lambda: len(server.hits) > 10)
    child = only_child()

    os.kill(child, signal.SIGSTOP)
    try:
        troubled.clock = nursery.clock
        await until(lambda: troubled.writes > 2)
        troubled.clock = None
    finally:
        os.kill(child, signal.SIGCONT)
    await running

    found = await outcome(yard, nursery.run.job_id)
    assert (found.job.state, found.job.losses) == (State.COMPLETED, 0)


async def test_others_who_find_the_lease_of_a_child_lapsed_do_not_blame_it(yard: Yard) -> None:
    job = await yard.jobs.submit(LOCAL, a_spec("http://127.0.0.1:1/"))
    for _ in range(5):
        await yard.store.leases.claim(Asker("other"), yard.clock.now(), timedelta(0))
        rescue = Reclaimer("w", yard.store, yard.clock, Liveness("w", LocalDispatcher(), None))
        assert await rescue.take_back()

    left = (await yard.jobs.get(LOCAL, job.id)).job
    assert (left.state, left.losses) == (State.PENDING, ISOLATED_FROM)
