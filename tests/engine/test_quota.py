"""A quota that is used up while a job runs: it waits, and goes on the next day."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from crawlyard import Job, Settings, State, StateReason, Yard
from crawlyard.clock import SystemClock
from crawlyard.core.access.user import Actor, Quota
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.waiting import WaitReason, reason_shown
from crawlyard.services.jobs.answers import waits_of
from crawlyard.services.jobs.lookup import find_job
from tests.builders_serve import about, kept_user
from tests.engine.rig import a_spec, outcome, until_state
from tests.engine.test_crawl import paths, tree
from tests.jobs import submit
from tests.site import GraphSite, Serve, refetched

ADA = Actor(id="ada", trusted=True)


class LateClock(SystemClock):
    """The machine's clock, until it is put forward."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.ahead


@pytest.fixture
def clock() -> LateClock:
    return LateClock()


@pytest.fixture
async def yard(tmp_path: Path, clock: LateClock) -> AsyncIterator[Yard]:
    async with Yard.open(Settings(data_dir=tmp_path / "data"), clock) as yard:
        yield yard


async def begun(yard: Yard, url: str, quota: Quota) -> Job:
    """Return a job of Ada's with that quota, which a worker runs until she has no more."""
    await kept_user(yard.store, id="ada", quota=quota)
    return await submit(yard, a_spec(url, concurrency=1), actor=ADA)


async def reason(yard: Yard, job: Job) -> StateReason:
    """Return why a job waits, as it is shown."""
    standing = await find_job(yard.store, ADA, job.id)
    waits = await waits_of(yard.store, yard.clock.now(), [standing])
    return reason_shown(standing.job, waits.get(job.id, ()))


@pytest.mark.parametrize("quota", [Quota(pages_per_day=12), Quota(bytes_per_day=1_000)])
async def test_a_job_waits_when_the_day_is_used_up_and_goes_on_on_the_next_one(
    yard: Yard, clock: LateClock, site_server: Serve, quota: Quota
) -> None:
    site = GraphSite(tree(4, 2))
    server = await site_server(site, latency_s=0.1)
    job = await begun(yard, f"{server.url}/", quota)
    worker = yard.worker(slots=1)
    working = asyncio.create_task(worker.run())
    await until_state(yard, job.id, State.RUNNING)
    await until_state(yard, job.id, State.PENDING)

    current = await find_job(yard.store, ADA, job.id)
    detail = await reason(yard, job)
    clock.ahead = timedelta(days=1)
    await until_state(yard, job.id, State.COMPLETED)
    worker.stop()
    await working

    assert (current.job.state_reason, detail) == (StateReason.WAITING_QUOTA,) * 2
    assert current.job.failures == 0
    assert 0 < current.shard.usage.pages < len(site.reachable())
    assert paths(server, (await outcome(yard, job.id)).ok) == site.reachable()
    assert not refetched(server.hits)


async def test_a_quota_that_is_raised_lets_it_go_on_at_once(yard: Yard, site_server: Serve) -> None:
    site = GraphSite(tree(4, 2))
    server = await site_server(site, latency_s=0.1)
    job = await begun(yard, f"{server.url}/", Quota(pages_per_day=3))
    worker = yard.worker(slots=1)
    working = asyncio.create_task(worker.run())
    await until_state(yard, job.id, State.RUNNING)
    await until_state(yard, job.id, State.PENDING)

    user = replace(await yard.store.users.get("ada"), quota=Quota(pages_per_day=1_000), version=2)
    await yard.store.users.save(user, about(user, EventName.USER_UPDATED))
    detail = await reason(yard, job)
    await until_state(yard, job.id, State.COMPLETED)
    worker.stop()
    await working

    assert detail is not StateReason.WAITING_QUOTA
    assert paths(server, (await outcome(yard, job.id)).ok) == site.reachable()


async def test_a_worker_that_drains_leaves_a_job_that_waits_for_the_quota_of_tomorrow(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite(tree(4, 2)), latency_s=0.1)
    job = await begun(yard, f"{server.url}/", Quota(pages_per_day=3))
    worker = yard.worker(slots=1)

    async with asyncio.timeout(30):
        await worker.run(drain=True)

    current = await find_job(yard.store, ADA, job.id)
    assert (current.job.state, current.shard.worker) == (State.PENDING, None)
    assert current.job.state_reason is StateReason.WAITING_QUOTA
    assert await worker.waits() == {WaitReason.QUOTA: 1}
