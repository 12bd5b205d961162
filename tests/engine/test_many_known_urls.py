"""A job that knows millions of URLs reads them for longer than its lease lasts, and keeps it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from crawlyard import LOCAL, Move, State, Yard
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.checkpoint import Asker, Claim, Lease
from crawlyard.core.jobs.limits import Limits
from crawlyard.services.workers.recorder import Recorder
from crawlyard.services.workers.run import JobRun
from tests.builders import its_event
from tests.clock import LeapingClock
from tests.conformance.steps import requeued
from tests.engine.rig import a_spec, begun, outcome
from tests.engine.test_crawl import tree
from tests.jobs import submit
from tests.site import GraphSite, Serve

LEASE = timedelta(seconds=5)
A_CHUNK = timedelta(seconds=3)
CHUNKS = 4


@dataclass
class LongFrontier:
    """A frontier whose known URLs come slowly; all else is that of the *inner* one."""

    inner: Any
    clock: LeapingClock
    meanwhile: Callable[[], Awaitable[None]]
    read: int = 0

    async def read_known_fps(self, _lease: Lease) -> AsyncIterator[Sequence[int]]:
        for chunk in range(CHUNKS):
            self.clock.leapt += A_CHUNK
            self.read += 1
            yield [chunk]
            await self.meanwhile()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@dataclass
class Long:
    """A run of a job that knows much."""

    run: JobRun
    clock: LeapingClock
    frontier: LongFrontier


async def a_long_run(yard: Yard, url: str, meanwhile: Callable[[Long], Awaitable[None]]) -> Long:
    """Return a run whose job has been recorded before; *meanwhile* is called after each chunk."""
    job = await submit(yard, a_spec(url))
    clock = LeapingClock()
    await begun(yard)
    claim = await yard.store.leases.claim(Asker("w1"), clock.now() + timedelta(minutes=1), LEASE)
    assert isinstance(claim, Claim)
    assert claim.job.id == job.id
    clock.leapt += timedelta(minutes=1)

    async def called() -> None:
        await meanwhile(long)

    frontier = LongFrontier(yard.store.frontier, clock, called)
    recorder = Recorder(yard.store.frontier, clock, LEASE)
    store = yard.store.with_parts(frontier=frontier)
    shop = replace(yard.worker_context(), clock=clock, recorder=recorder, store=store)
    long = Long(JobRun(claim, shop), clock, frontier)
    return long


async def test_a_job_keeps_its_lease_while_it_reads_what_it_knows(
    yard: Yard, site_server: Serve
) -> None:
    site = GraphSite(tree(2, 2))
    server = await site_server(site)
    lost: list[bool] = []

    async def look(long: Long) -> None:
        until = (await yard.store.jobs.get(long.run.job_id)).shard.lease_until
        lost.append(until is None or until <= long.clock.now())

    long = await a_long_run(yard, f"{server.url}/", look)
    await long.run.run()

    ended = await outcome(yard, long.run.job_id)
    assert lost == [False] * CHUNKS
    assert ended.job.state is State.COMPLETED
    assert len(ended.ok) == len(site.reachable())


async def test_a_job_that_is_lost_meanwhile_is_let_go_at_once(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite(tree(2, 2)))

    async def take_it(long: Long) -> None:
        if long.frontier.read == 1:
            later = long.clock.now() + 2 * LEASE
            await yard.store.leases.take_back(later, (), requeued)
            await yard.store.leases.claim(Asker("w2"), later + timedelta(minutes=2), LEASE)

    long = await a_long_run(yard, f"{server.url}/", take_it)
    await long.run.run()

    standing = await yard.store.jobs.get(long.run.job_id)
    assert long.frontier.read < CHUNKS
    assert (standing.job.state, standing.shard.worker) == (State.RUNNING, "w2")
    assert server.hits == []


async def test_an_edit_meanwhile_holds_for_the_crawl(yard: Yard, site_server: Serve) -> None:
    server = await site_server(GraphSite(tree(3, 3)), latency_s=0.02)

    async def edit(long: Long) -> None:
        if long.frontier.read == 1:
            job = (await yard.store.jobs.get(long.run.job_id)).job
            spec = replace(job.spec, limits=Limits(pages=1), concurrency=1)
            edited = replace(job, spec=spec, version=job.version + 1)
            await yard.store.jobs.save(edited, its_event(edited, EventName.EDITED))

    long = await a_long_run(yard, f"{server.url}/", edit)
    await long.run.run()

    assert (await yard.store.jobs.get(long.run.job_id)).job.spec.limits == Limits(pages=1)
    assert long.run.job.spec.limits == Limits(pages=1)


async def test_a_job_that_is_paused_meanwhile_sends_nothing(yard: Yard, site_server: Serve) -> None:
    server = await site_server(GraphSite(tree(2, 2)))

    async def pause(long: Long) -> None:
        if long.frontier.read == 1:
            await yard.services.writer.move(LOCAL, long.run.job_id, Move.PAUSE)

    long = await a_long_run(yard, f"{server.url}/", pause)
    await long.run.run()

    standing = await yard.store.jobs.get(long.run.job_id)
    assert (standing.job.state, standing.shard.worker) == (State.PAUSED, None)
    assert server.hits == []
