"""Pages that had not changed: they share the bodies of an earlier run, which outlive it."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from msgspec.structs import replace

from crawlyard.core.crawl.page import Body, Outcome, Target, TargetState
from crawlyard.core.jobs.checkpoint import Claim
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.engine.urls import packed_fingerprints
from crawlyard.store.queries import PageQuery
from crawlyard.store.store import Store
from tests.builders import NOW, a_batch, a_job, a_page, a_spec, a_target, done
from tests.conformance.conftest import Backend
from tests.conformance.purging import deleted, purged
from tests.conformance.steps import added, claimed, database_of, ended, moved, recorded, urls

TARGETS = [a_target(str(n)) for n in range(4)]


def texts(targets: Sequence[Target]) -> dict[str, bytes]:
    return {target.url: f"text of {target.url}".encode() for target in targets}


async def first(store: Store) -> Claim:
    """Return the claim of a job that has a text of each target, and links to the first."""
    claim = await claimed(store)
    links = packed_fingerprints([TARGETS[0].url])
    outcomes = [
        replace(done(t, {Body.TEXT: texts([t])[t.url], Body.LINKS: b"[]"}), targets=links)
        for t in TARGETS
    ]
    answer = await recorded(store, claim.lease, a_batch(TARGETS, outcomes))
    return replace(claim, lease=answer.lease)


async def later(store: Store, before: Claim, targets: Sequence[Target] = TARGETS) -> Claim:
    """Return the claim of a job that has found *targets* as they were in an earlier one."""
    claim = await claimed(store, await added(store, spec=a_spec(since=before.job.id)))
    stored_pages = await store.pages.of_targets(before.job.id, [t.fp for t in targets])
    outcomes = [
        Outcome(t, TargetState.DONE, a_page(t, unchanged_since=NOW), body_of=stored_pages[t.fp][1])
        for t in targets
    ]
    answer = await recorded(store, claim.lease, a_batch(targets, outcomes))
    return replace(claim, lease=answer.lease)


async def read(store: Store, claim: Claim) -> dict[str, bytes]:
    """Return the texts of a job's pages."""
    pages = await store.pages.pages(claim.job.id, PageQuery(), 100)
    bodies = await store.pages.bodies([page.id for page in pages], [Body.TEXT])
    return {p.page.url: bodies[p.id, Body.TEXT] for p in pages if (p.id, Body.TEXT) in bodies}


async def count(store: Store) -> int:
    """Return how many bodies are stored."""
    return int(
        await database_of(store).read(
            lambda conn: conn.exec_driver_sql("SELECT count(*) FROM bodies").scalar_one()
        )
    )


async def test_a_page_is_found_by_its_target_with_the_key_of_its_bodies(store: Store) -> None:
    first_run = await first(store)
    two = await later(store, first_run)

    old = await store.pages.of_targets(first_run.job.id, [t.fp for t in TARGETS])
    new = await store.pages.of_targets(two.job.id, [TARGETS[0].fp, TARGETS[2].fp, 1])

    assert {fp: key for fp, (_, key) in old.items()} == {fp: s.id for fp, (s, _) in old.items()}
    assert {fp: key for fp, (_, key) in new.items()} == {fp: old[fp][1] for fp in new}
    assert new.keys() == {TARGETS[0].fp, TARGETS[2].fp}
    assert new[TARGETS[2].fp][0].page.url == TARGETS[2].url
    await deleted(store, await ended(store, two.lease))
    assert not await store.pages.of_targets(two.job.id, [TARGETS[0].fp])


async def test_shared_bodies_are_read_and_searched_as_any_other(store: Store) -> None:
    first_run = await first(store)
    two = await later(store, first_run, TARGETS[:2])

    assert await read(store, two) == texts(TARGETS[:2])
    linking = await store.pages.pages(two.job.id, PageQuery(links_to=TARGETS[0].fp), 100)
    assert urls(p.page for p in linking) == [t.url for t in TARGETS[:2]]
    assert await count(store) == 3 * len(TARGETS)


@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
async def test_a_body_lives_as_long_as_any_run_has_it(
    store: Store, step: int, order: tuple[int, ...]
) -> None:
    first_run = await first(store)
    two = await later(store, first_run, TARGETS[:3])
    three = await later(store, two, TARGETS[:2])
    runs = [first_run, two, three]
    jobs = [await ended(store, run.lease) for run in runs]
    expected_texts = [texts(TARGETS), texts(TARGETS[:3]), texts(TARGETS[:2])]

    for n, deleted_run in enumerate(order):
        await deleted(store, jobs[deleted_run])
        assert max(freed.rows for freed in await purged(store, step)) <= step
        remaining_runs = order[n + 1 :]
        for other in remaining_runs:
            assert await read(store, runs[other]) == expected_texts[other]
        needed = max((len(expected_texts[other]) for other in remaining_runs), default=0)
        assert await count(store) == 3 * needed


async def test_a_job_is_purged_when_no_run_is_based_on_it_any_more(store: Store) -> None:
    first_run = await first(store)
    waits = await added(store, spec=a_spec(since=first_run.job.id))
    job = await ended(store, first_run.lease)
    two = await claimed(store, await added(store, spec=a_spec(since=first_run.job.id)))
    pages = await store.pages.of_targets(first_run.job.id, [t.fp for t in TARGETS])
    await deleted(store, job)

    assert await purged(store) == []
    outcomes = [
        Outcome(t, TargetState.DONE, a_page(t), body_of=pages[t.fp][1]) for t in TARGETS[:2]
    ]
    await moved(store, two.job.id, Move.CANCEL)
    assert await purged(store) == []  # its last pages are still to come
    batch = replace(a_batch(TARGETS[:2], outcomes), last=True)
    await recorded(store, two.lease, batch)

    assert await purged(store)
    assert await read(store, two) == texts(TARGETS[:2])
    assert await count(store) == 3 * 2
    assert (await store.jobs.get(waits.id)).job.state == "pending"


async def test_two_janitors_leave_no_body_behind(backend: Backend) -> None:
    store = await backend.open()
    first_run = await first(store)
    two = await later(store, first_run)
    for run in (first_run, two):
        await deleted(store, await ended(store, run.lease))

    assert await purged(store, 2)
    assert await count(store) == 0
    await store.close()


async def test_the_next_run_is_based_on_the_last_that_completed(store: Store) -> None:
    base, since = store.ticks.base, None
    job_ids: list[str] = []

    async def run(move: Move, *, full: bool = False) -> None:
        nonlocal since
        spec = a_spec(since=None if full else since)
        at = NOW + timedelta(minutes=len(job_ids))
        job = a_job(spec=spec, created_at=at)
        job = replace(job, origin=replace(job.origin, schedule_id="s", tick_at=at))
        claim = await claimed(store, await added(store, job))
        await ended(store, claim.lease, move)
        job_ids.append(job.id)
        if move is Move.COMPLETE:
            since = job.id

    assert await base("s", None) is None
    await run(Move.COMPLETE)
    await run(Move.FAIL)
    assert await base("s", None) == await base("s", 2) == await base("s", 3) == job_ids[0]
    assert await base("s", 1) is await base("other", None) is None
    await run(Move.COMPLETE)
    assert await base("s", None) == await base("s", 3) == job_ids[2]
    assert await base("s", 2) is None
    await run(Move.COMPLETE)
    assert await base("s", 4) == job_ids[3]
    assert await base("s", 3) is await base("s", 2) is None
    await run(Move.COMPLETE, full=True)
    assert await base("s", 3) == await base("s", 2) == job_ids[4]
    await deleted(store, (await store.jobs.get(job_ids[4])).job)
    assert await base("s", None) == job_ids[3]


async def test_the_links_of_a_page_that_has_not_changed_are_those_of_the_earlier_one(
    store: Store,
) -> None:
    first_run = await first(store)
    two = await later(store, first_run)

    fps = [TARGETS[0].fp, TARGETS[1].fp]
    for claim in (first_run, two):
        assert await store.pages.filter_linked(claim.job.id, fps) == {TARGETS[0].fp}
        linking = await store.pages.pages(claim.job.id, PageQuery(links_to=fps[0]), 10)
        assert urls(stored.page for stored in linking) == urls(TARGETS)
