"""Events of a crawl: each one once, and a single end."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from crawlyard import LOCAL, Event, EventName, Limits, State, Yard
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.lifecycle import Move
from tests.docs import undocumented
from tests.engine.rig import a_spec, crawled, opened, run
from tests.engine.test_crawl import tree
from tests.jobs import events_of, submit
from tests.site import GraphSite, Serve

ENDS = {EventName.COMPLETED, EventName.FAILED, EventName.CANCELLED}


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    async with opened(tmp_path, database_url="") as yard:
        yield yard


async def documented_events_of(yard: Yard, job_id: str) -> Sequence[Event]:
    events = await events_of(yard, job_id)
    assert undocumented(events) == []
    return events


async def test_a_reached_limit_is_an_event_before_the_end(yard: Yard, site_server: Serve) -> None:
    server = await site_server(GraphSite(tree(3, 4)))

    run = await crawled(yard, a_spec(server.url, limits=Limits(pages=7)))

    *_, reached, ended = await documented_events_of(yard, run.job.id)
    assert (reached.name, ended.name) == (EventName.LIMIT_REACHED, EventName.COMPLETED)
    assert reached.data["limit"] == "pages"
    assert "7" in str(reached.data["detail"])
    assert ended.data["reason"] == "limit_pages"
    assert (reached.owner, reached.at) == ("local", ended.at)


async def test_a_crawl_that_runs_out_of_urls_reaches_no_limit(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite({"/": []}))

    run = await crawled(yard, a_spec(server.url, limits=Limits(pages=7)))

    names = [e.name for e in await documented_events_of(yard, run.job.id)]
    assert names == [EventName.CREATED, EventName.STARTED, EventName.COMPLETED]


WIDE = {"/": [f"/{n}" for n in range(120)]} | {f"/{n}": [] for n in range(120)}


def percents(events: Sequence[Event]) -> list[int]:
    return [int(str(e.data["percent"])) for e in events if e.name is EventName.PROGRESSED]


async def test_each_quarter_of_progress_is_reported_once_in_order(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite(WIDE))
    spec = a_spec(server.url, delay_s=0.06, per_host=1)

    run = await crawled(yard, spec)

    assert percents(await documented_events_of(yard, run.job.id)) == [25, 50, 75]
    assert run.job.state is State.COMPLETED


async def test_quarters_of_a_limit_are_reported_while_links_still_grow(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite(tree(6, 4)))
    limits = Limits(pages=80)
    spec = a_spec(server.url, delay_s=0.02, per_host=1, limits=limits)

    run = await crawled(yard, spec)

    events = await documented_events_of(yard, run.job.id)
    at = [int(str(e.data["done"])) for e in events if e.name is EventName.PROGRESSED]
    assert percents(events) == [25, 50, 75]
    assert [20 <= at[0] < 40, 40 <= at[1] < 60, 60 <= at[2] < 80] == [True] * 3


async def test_a_job_that_is_cancelled_with_much_before_it_has_one_end(
    yard: Yard, site_server: Serve
) -> None:
    links = {"/": [f"/{n}" for n in range(10_000)]}
    server = await site_server(GraphSite(links))
    spec = a_spec(server.url, limits=Limits(pages=1))
    finished = await crawled(yard, spec)
    await yard.services.writer.edit(LOCAL, finished.job.id, {"limits": Limits()})
    await yard.services.writer.move(LOCAL, finished.job.id, Move.RESUME)
    before = await yard.store.events.last()

    await yard.services.writer.move(LOCAL, finished.job.id, Move.CANCEL)
    await run(yard, finished.job.id)

    after = [e for e in await documented_events_of(yard, finished.job.id) if e.seq > before]
    assert [e.name for e in after] == [EventName.CANCELLED]


async def test_what_an_attempt_that_failed_an_edit_and_a_note_carry_is_documented(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite({"/": []}))
    job = await submit(yard, a_spec(server.url))
    await yard.services.writer.edit(LOCAL, job.id, {"name": "new"})
    now = yard.clock.now()
    claim = await yard.store.leases.claim(Asker("w", only=job.id), now, timedelta(seconds=8))
    assert claim is not None

    retried = claim.job.fail_attempt(now, now + timedelta(hours=1), actor="w", detail="no")
    await yard.store.leases.settle(claim.lease, *retried)

    *_, edited, _, requeued = await documented_events_of(yard, job.id)
    assert edited.data["changed"] == {"name": "new"}
    assert requeued.data["attempt"] == 1
    assert str(requeued.data["due_at"]).endswith("+00:00")


async def test_a_lost_worker_is_reported(yard: Yard, site_server: Serve) -> None:
    server = await site_server(GraphSite({"/": []}))
    job = await submit(yard, a_spec(server.url))
    lease = timedelta(seconds=8)
    now = yard.clock.now()
    await yard.store.leases.claim(Asker("a-worker-that-dies", only=job.id), now, lease)

    await yard.store.leases.take_back(
        now, ["a-worker-that-dies"], lambda j: j.lose_worker(now, actor="worker:w", in_child=False)
    )
    claim = await yard.store.leases.claim(Asker("another", only=job.id), now, lease)

    names = Counter(e.name for e in await documented_events_of(yard, job.id))
    assert names[EventName.WORKER_LOST] == 1
    assert names[EventName.REQUEUED] == 0
    assert claim is not None
    await yard.store.leases.settle(
        claim.lease, *claim.job.apply_move(Move.COMPLETE, now, actor="w")
    )
    assert sum(e.name in ENDS for e in await documented_events_of(yard, job.id)) == 1
