"""Progress from the bus is sent ahead of polls of the store, and never replaces them."""

from dataclasses import dataclass
from datetime import timedelta

import pytest
from msgspec.structs import replace

from crawlyard.config import Settings
from crawlyard.core.access.user import LOCAL
from crawlyard.core.jobs.checkpoint import Claim
from crawlyard.core.jobs.job import Standing
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.limits import Limits, Usage
from crawlyard.core.jobs.progress import progress_of
from crawlyard.core.jobs.pulse import Pulse
from crawlyard.messaging.bus import BusReach
from crawlyard.messaging.memory_bus import MemoryBus
from crawlyard.store.db.database import Database
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.store.jobs.jobs import JobStore
from crawlyard.store.queries import JobQuery
from crawlyard.web.live.hub import POLL_EVERY, RELAY_EVERY, SNAPSHOT_EVERY
from crawlyard.web.site import SiteOptions, open_site
from crawlyard.yard import IN_MEMORY, Yard
from tests.clock import FakeClock
from tests.conformance.steps import added
from tests.web.rig import Rig, an_app
from tests.web.test_hub import Ear, checkpoint, listening, progress, running

AN_INSTANT = timedelta(microseconds=1)


async def publish(rig: Rig, claim: Claim, done: int, seconds: float = 0.0) -> None:
    """Say over the bus that *done* URLs of a job are done."""
    usage = Usage(done=done, discovered=done, duration_s=seconds)
    update = progress_of(Limits(), usage, Pulse(), State.RUNNING)
    await rig.yard.bus.publish(claim.job.id, update)


async def settled(rig: Rig, *ears: Ear) -> None:
    """Deliver all pending messages, and clear them."""
    await rig.clock.advance(3 * SNAPSHOT_EVERY + AN_INSTANT)
    for ear in ears:
        ear.told.clear()


async def test_progress_is_sent_immediately(rig: Rig) -> None:
    claim = await running(rig)
    async with listening(rig) as ear:
        await settled(rig, ear)
        await publish(rig, claim, 7)
        await rig.clock.advance(AN_INSTANT)
        assert progress(ear) == [[(claim.job.id, 7)]]


async def test_frequent_progress_is_sent_at_most_ten_times_a_second(rig: Rig) -> None:
    claim = await running(rig)
    async with listening(rig) as ear:
        await settled(rig, ear)

        for done in range(1, 11):
            await publish(rig, claim, done)
            await rig.clock.advance(RELAY_EVERY / 5)

        assert progress(ear) == [[(claim.job.id, done)] for done in (1, 5, 10)]


async def test_progress_from_the_bus_is_not_sent_again_from_the_store(rig: Rig) -> None:
    claim = await running(rig)
    async with listening(rig) as ear:
        await settled(rig, ear)
        claims = await checkpoint(rig, [claim], "a")
        await publish(rig, claim, 1)
        await rig.clock.advance(2 * SNAPSHOT_EVERY)
        first = progress(ear)

        await checkpoint(rig, claims, "b")
        await rig.clock.advance(2 * SNAPSHOT_EVERY)

        assert (first, progress(ear)) == ([[(claim.job.id, 1)]], [[(claim.job.id, 2)]])


async def test_progress_older_than_what_was_sent_is_dropped(rig: Rig) -> None:
    claim = await running(rig)
    async with listening(rig) as ear:
        await checkpoint(rig, await checkpoint(rig, [claim], "a"), "b")
        await settled(rig, ear)

        await publish(rig, claim, 1)
        await rig.clock.advance(SNAPSHOT_EVERY)

        assert progress(ear) == []


async def test_an_older_snapshot_does_not_reset_newer_progress(rig: Rig) -> None:
    claim = await running(rig)
    async with listening(rig) as ear:
        await settled(rig, ear)
        await checkpoint(rig, [claim], "a")
        await publish(rig, claim, 5)
        await rig.clock.advance(2 * SNAPSHOT_EVERY)
        first = progress(ear)

        await publish(rig, claim, 4)
        await rig.clock.advance(2 * SNAPSHOT_EVERY)

        assert (first, progress(ear)) == ([[(claim.job.id, 5)]], [])


async def test_whose_a_job_is_says_the_store(rig: Rig) -> None:
    for name in ("ada", "bob"):
        await rig.user(name)
    hers, his = await running(rig, "ada"), await running(rig, "bob")
    async with listening(rig, "ada") as ada, listening(rig, job=his.job.id) as follower:
        await settled(rig, ada, follower)

        await publish(rig, hers, 3)
        await publish(rig, his, 4)
        await rig.clock.advance(AN_INSTANT)

        assert progress(ada) == [[(hers.job.id, 3)]]
        assert progress(follower) == [[(his.job.id, 4)]]


async def test_progress_of_an_unknown_job_is_not_sent(rig: Rig) -> None:
    claim = await running(rig)
    async with listening(rig) as ear:
        await settled(rig, ear)
        other = replace(claim.job, id="01890000-0000-7000-8000-000000000000")

        await publish(rig, Claim(lease=claim.lease, job=other, shard=claim.shard), 9)
        await rig.clock.advance(4 * SNAPSHOT_EVERY)

        assert progress(ear) == []


async def test_events_of_api_requests_are_sent_immediately(rig: Rig) -> None:
    async with listening(rig) as ear:
        await settled(rig, ear)
        job = await rig.job()
        await rig.clock.advance(AN_INSTANT)
        assert [data["job_id"] for data in ear.take("job.created")] == [job["id"]]


async def test_events_without_a_notification_are_sent_at_the_next_poll(rig: Rig) -> None:
    async with listening(rig) as ear:
        await settled(rig, ear)
        job = await added(rig.yard.store)
        await rig.clock.advance(POLL_EVERY)
        assert [data["job_id"] for data in ear.take("job.created")] == [job.id]


class Wide(MemoryBus):
    """A bus that reaches all processes, or has lost them."""

    away = False

    @property
    def reach(self) -> BusReach:
        return BusReach.AWAY if self.away else BusReach.YARD


class CountedJobs(JobStore):
    """Job store that counts reads of the running jobs."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.looks: list[JobQuery] = []

    async def find(self, query: JobQuery, limit: int) -> list[Standing]:
        if query.states == {State.RUNNING}:
            self.looks.append(query)
        return await JobStore.find(self, query, limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class WideRig:
    """A server whose bus reaches all processes."""

    rig: Rig
    bus: Wide
    jobs: CountedJobs

    async def looks(self, during: timedelta) -> int:
        """Return the number of reads of the running jobs meanwhile."""
        self.jobs.looks.clear()
        await self.rig.clock.advance(during)
        return len(self.jobs.looks)


@pytest.fixture
async def wide() -> WideRig:
    clock, store = FakeClock(), open_in_memory()
    assert isinstance(store.jobs, JobStore)
    jobs = CountedJobs(store.jobs._database)
    yard = Yard(Settings(database_url=IN_MEMORY), store.with_parts(jobs=jobs), clock)
    yard.bus = bus = Wide(clock)
    site = await open_site(yard, SiteOptions(rate_limits=False))
    rig = Rig(site=site, app=an_app(site), clock=clock)
    await rig.token(LOCAL.id)
    return WideRig(rig=rig, bus=bus, jobs=jobs)


async def test_while_the_bus_reaches_all_the_store_is_looked_at_less(wide: WideRig) -> None:
    async with listening(wide.rig) as ear:
        await settled(wide.rig, ear)
        while_well = await wide.looks(8 * SNAPSHOT_EVERY)
        wide.bus.away = True
        while_away = await wide.looks(8 * SNAPSHOT_EVERY)
    assert (while_well, while_away) == (2, 8)


async def test_a_job_that_is_new_is_looked_at_and_then_followed(wide: WideRig) -> None:
    async with listening(wide.rig) as ear:
        await settled(wide.rig, ear)
        claim = await running(wide.rig)

        await publish(wide.rig, claim, 1)
        looks = await wide.looks(SNAPSHOT_EVERY)
        progress_messages = progress(ear)
        await publish(wide.rig, claim, 2)
        await wide.rig.clock.advance(RELAY_EVERY)

    assert looks == 1
    assert progress_messages == [[(claim.job.id, 0)]]
    assert progress(ear) == [[(claim.job.id, 2)]]


async def test_a_new_subscriber_gets_the_progress_of_all_jobs(wide: WideRig) -> None:
    claim = await running(wide.rig)
    async with listening(wide.rig) as first:
        await settled(wide.rig, first)
        async with listening(wide.rig) as second:
            await wide.rig.clock.advance(SNAPSHOT_EVERY)
            assert progress(second) == [[(claim.job.id, 0)]]


async def test_a_process_that_says_nothing_is_found_by_the_store(wide: WideRig) -> None:
    claim = await running(wide.rig)
    async with listening(wide.rig) as ear:
        await settled(wide.rig, ear)
        await checkpoint(wide.rig, [claim], "a")
        await wide.rig.clock.advance(4 * SNAPSHOT_EVERY)
        assert progress(ear) == [[(claim.job.id, 1)]]
