"""A revoked grant pauses the jobs that need it, and loses no part of them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import pytest

from crawlyard import LOCAL, Actor, Move, Role, State, StateReason, Yard
from crawlyard.core.jobs.job import Job
from crawlyard.errors import Forbidden
from crawlyard.services.jobs.lookup import find_job
from crawlyard.services.surface import Surface
from tests.engine.rig import a_spec, opened, outcome, published, run, until_state
from tests.engine.test_crawl import paths, tree
from tests.engine.test_operator_commands import SOON_S, running
from tests.jobs import events_of, submit
from tests.site import GraphSite, Serve, after, refetched

ADA = Actor(id="ada")
TOLD = "allow_private: not granted on this server any more; once it is, resume the job"


@pytest.fixture
async def yard(database_url: str, tmp_path: Path) -> AsyncIterator[Yard]:
    """A yard that grants what is not public."""
    async with opened(tmp_path, database_url=database_url) as yard:
        await granted(yard, private=True)
        yield yard


async def granted(yard: Yard, **grants: bool) -> None:
    await Surface(yard.services, LOCAL).settings.put("grants", grants)


async def job_of(yard: Yard, job_id: str) -> Job:
    return (await find_job(yard.store, LOCAL, job_id)).job


async def names(yard: Yard, job_id: str) -> list[str]:
    return [event.name.value for event in await events_of(yard, job_id)]


async def test_a_running_job_is_paused_at_once_and_goes_on_once_it_is_granted_again(
    yard: Yard, site_server: Serve
) -> None:
    site = GraphSite(tree(5, 3))
    server = await site_server(site, latency_s=0.05)
    job = await submit(yard, a_spec(f"{server.url}/", concurrency=4), actor=ADA)
    async with running(yard, job.id, done=20):
        await granted(yard)
        withdrawn_at = monotonic()
    paused = await outcome(yard, job.id)

    assert (paused.job.state, paused.job.state_reason) == (State.PAUSED, StateReason.NOT_GRANTED)
    assert paused.job.detail == TOLD
    assert not after(server.hits, withdrawn_at + SOON_S)
    hits = [hit for hit in server.hits if hit.path != "/robots.txt"]
    assert len(paused.pages) == len(hits)  # pages in flight are stored
    event_names = [name for name in await names(yard, job.id) if name != "job.progressed"]
    assert event_names == ["job.created", "job.started", "job.paused"]
    advice = r"an admin can grant it in the settings \(grants: private\)$"
    with pytest.raises(Forbidden, match=f"allow_private: not granted on this server; {advice}"):
        await yard.services.writer.move(ADA, job.id, Move.RESUME)

    await granted(yard, private=True)
    await yard.services.writer.move(ADA, job.id, Move.RESUME)
    await run(yard, job.id)

    whole = await outcome(yard, job.id)
    assert whole.job.state is State.COMPLETED
    assert paths(server, whole.ok) == site.reachable()
    assert not refetched(server.hits)


async def test_a_queued_job_without_its_grant_is_paused_without_a_request(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite(tree(2, 2)))
    job = await submit(yard, a_spec(f"{server.url}/"), actor=ADA)
    await granted(yard)

    await run(yard, job.id)

    paused = await job_of(yard, job.id)
    assert (paused.state, paused.state_reason) == (State.PAUSED, StateReason.NOT_GRANTED)
    assert not server.hits
    assert await yard.store.leases.holders() == {}

    await granted(yard, private=True)
    await yard.services.writer.move(ADA, job.id, Move.RESUME)
    await run(yard, job.id)
    assert (await job_of(yard, job.id)).state is State.COMPLETED


async def test_only_the_jobs_that_need_what_is_withdrawn_are_held(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite(tree(4, 3)), latency_s=0.05)
    await granted(yard, private=True, addresses=True)
    asks = {"allow_private": False, "allow_addresses": (server.authority,)}
    url, few = f"{server.url}/", {"concurrency": 3}
    needs_it = await submit(yard, a_spec(url, **few), actor=ADA)
    needs_another = await submit(yard, a_spec(url, **few, **asks), actor=ADA)
    needs_none = await submit(yard, a_spec(url, **few))
    worker = yard.worker()
    working = asyncio.create_task(worker.run(drain=True))
    for job in (needs_it, needs_another, needs_none):
        await published(yard, job.id, done=3)

    await granted(yard, addresses=True)

    await until_state(yard, needs_it.id, State.PAUSED)
    await working
    states = [(await job_of(yard, job.id)).state for job in (needs_another, needs_none)]
    assert states == [State.COMPLETED] * 2


async def test_what_a_job_ignores_of_robots_txt_is_held_as_well(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite(tree(4, 3)), latency_s=0.05)
    await granted(yard, private=True, ignore_robots=True)
    spec = a_spec(f"{server.url}/", ignore_robots=True, concurrency=3)
    job = await submit(yard, spec, actor=ADA)
    async with running(yard, job.id, done=5):
        await granted(yard, private=True)

    paused = await job_of(yard, job.id)
    assert paused.state_reason is StateReason.NOT_GRANTED
    assert paused.detail.startswith("ignore_robots: not granted")


async def test_an_ended_job_is_not_taken_up_again_without_its_grant(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite({"/": ["/gone"]}))
    over_the_api = Actor(id=LOCAL.id, role=Role.ADMIN)
    job = await submit(yard, a_spec(f"{server.url}/"), actor=over_the_api)
    await run(yard, job.id)
    ended = await names(yard, job.id)
    await granted(yard)

    for again in (yard.services.writer.retry_failed, yard.services.writer.retry):
        # not even by a user who needs no grant: they have not vouched for the request
        for actor in (over_the_api, LOCAL):
            with pytest.raises(Forbidden, match="allow_private"):
                await again(actor, job.id)
    assert await names(yard, job.id) == ended
