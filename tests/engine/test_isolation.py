"""A job in a child process: what its parent tells it, and what it is not blamed for."""

import asyncio
import os
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from crawlyard import LOCAL, State, Yard
from crawlyard.core.checkpoint import Asker
from crawlyard.errors import StoreUnavailable
from crawlyard.services.isolation import IsolatedRun, Isolation
from crawlyard.services.recorder import Recorder
from crawlyard.services.run import Workshop
from tests.engine.rig import a_spec, opened, outcome
from tests.engine.test_crawl import tree
from tests.engine.test_worker import around
from tests.site import GraphSite, Serve, until

LEASE = timedelta(seconds=60)
SITE = GraphSite(tree(6, 3))
CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children")


@dataclass
class Nursery:
    """A yard with one job, which a child is to run."""

    yard: Yard
    shop: Workshop
    run: IsolatedRun

    async def seq(self) -> int:
        return (await self.yard.jobs.get(LOCAL, self.run.job_id)).shard.seq

    async def after_checkpoints(self, count: int) -> None:
        """Return when the child has made so many checkpoints more."""
        seq = await self.seq()
        async with asyncio.timeout(60):
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


async def a_nursery(yard: Yard, url: str) -> Nursery:
    await yard.jobs.submit(LOCAL, a_spec(f"{url}/", concurrency=2))
    recorder = Recorder(yard.store.frontier, yard.clock, LEASE)
    shop = replace(yard.workshop(), recorder=recorder)
    claim = await yard.store.leases.claim(Asker("w"), yard.clock.now(), LEASE)
    assert claim is not None
    run = IsolatedRun(claim, shop, Isolation(yard.settings.model_dump(mode="json")))
    return Nursery(yard, shop, run)


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
    nursery.shop.licence.good = False
    running = asyncio.create_task(nursery.run.run())
    await nursery.after_checkpoints(2)
    held = len(server.hits)

    nursery.run.hold(False)
    await running

    assert held == 0
    assert (await outcome(yard, nursery.run.job_id)).job.state is State.COMPLETED


async def test_a_child_is_not_blamed_for_a_lease_that_lapsed_while_the_store_was_away(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(SITE, latency_s=0.02)
    nursery = await a_nursery(yard, server.url)
    running = asyncio.create_task(nursery.run.run())
    await until(lambda: len(server.hits) > 10)
    child = only_child()
    looks: list[str] = []

    async def look() -> None:
        looks.append("away" if len(looks) == 0 else "back")
        if looks[-1] == "away":
            raise StoreUnavailable("it is away")

    await stopped_with_a_lapsed_lease(yard, child)
    try:
        around(yard, "jobs", "get", look)
        await until(lambda: looks.count("back") > 1)
    finally:
        os.kill(child, signal.SIGCONT)
    await running

    found = await outcome(yard, nursery.run.job_id)
    assert (found.job.state, found.job.losses) == (State.COMPLETED, 0)


async def stopped_with_a_lapsed_lease(yard: Yard, child: int) -> None:
    """Stop a child between two of its transactions, and let its lease end."""
    file = yard.settings.data_dir / "crawlyard.db"
    with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as other:
        async with asyncio.timeout(30):
            while True:
                os.kill(child, signal.SIGSTOP)
                try:
                    other.execute("UPDATE shards SET lease_until = 1")
                except sqlite3.OperationalError:  # it is in the midst of one
                    os.kill(child, signal.SIGCONT)
                    await asyncio.sleep(0)
                else:
                    return
