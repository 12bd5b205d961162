"""Workers that start later get shards of a job, also after each was replaced by another."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from crawlyard import Scope, State, StateReason, Yard
from crawlyard.demo.site import Answer
from tests.acceptance.test_faults import a_worker
from tests.acceptance.test_spread import DATABASES, until_ended, where
from tests.engine.rig import a_spec, opened, outcome
from tests.jobs import submit
from tests.many_hosts import ManyHosts, address
from tests.site import Serve, site_server

__all__ = ["site_server", "where"]

SHARDS, HOSTS = 4, 32
DELAY_S, LATENCY_S = 2.0, 0.1
OPTIONS = ("--jobs", "4", "--no-scheduler", "--no-webhooks", "--no-janitor")


class GrowingSite(ManyHosts):
    """A site that grows by a page with each request until it is complete."""

    def __init__(self) -> None:
        super().__init__(HOSTS, 1_000_000)
        self.complete = False
        self.linked: set[tuple[int, int]] = {(0, 0)}
        self.asked_at: dict[str, list[float]] = defaultdict(list)

    def answer(self, method: str, path: str, host: str) -> Answer:
        self.asked_at[host].append(time.monotonic())
        return super().answer(method, path, host)

    def links(self, host: int, page: int) -> Iterable[tuple[int, int]]:
        links = [] if self.complete else list(super().links(host, page))
        self.linked.update(links)
        return links

    def urls(self, port: int) -> set[str]:
        return {f"http://{address(host)}:{port}/{page}" for host, page in self.linked}

    def shortest_gap(self) -> float:
        """Return the fewest seconds between two requests to one host."""
        return min(b - a for times in self.asked_at.values() for a, b in pairwise(times))


async def shares(yard: Yard, job_id: str) -> list[int]:
    """Return how many shards each worker has, fewest first, without those being released."""
    shards = (await yard.store.spread.shards(job_id)).values()
    holders = [s.worker for s in shards if s.worker is not None and not s.yields]
    return sorted(Counter(holders).values())


async def until_shared(yard: Yard, job_id: str, expected: list[int]) -> None:
    """Return once the shards are distributed as *expected*."""
    async with asyncio.timeout(120):
        while await shares(yard, job_id) != expected:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("where", DATABASES, indirect=True)
async def test_four_workers_get_a_shard_each_although_three_start_later_and_all_are_replaced(
    where: str, tmp_path: Path, site_server: Serve
) -> None:
    site = GrowingSite()
    server = await site_server(site, host="0.0.0.0", latency_s=LATENCY_S)
    environment = {"CRAWLYARD_DATABASE_URL": where} if where else {}
    async with opened(tmp_path, database_url=where) as yard, AsyncExitStack() as stack:

        async def started() -> asyncio.subprocess.Process:
            worker = a_worker(tmp_path / "data", *OPTIONS, **environment)
            return await stack.enter_async_context(worker)

        spec = a_spec(
            site.start(server.port),
            scope=Scope.ANY,
            spread=SHARDS,
            ignore_robots=True,
            delay_s=DELAY_S,
            per_host=1,
        )
        job = await submit(yard, spec)
        workers = [await started()]
        await until_shared(yard, job.id, [SHARDS])
        workers += [await started() for _ in range(SHARDS - 1)]
        await until_shared(yard, job.id, [1] * SHARDS)
        for n, worker in enumerate(workers):
            worker.terminate()
            await worker.wait()
            workers[n] = await started()
        await until_shared(yard, job.id, [1] * SHARDS)
        site.complete = True
        await until_ended(yard, job.id)
        result = await outcome(yard, job.id)

    assert (result.job.state, result.job.state_reason) == (State.COMPLETED, StateReason.EXHAUSTED)
    assert result.ok == site.urls(server.port)
    assert max(result.stored.values()) == 1
    assert site.twice() == set()
    assert site.shortest_gap() > DELAY_S / 2
