"""Counts by tag and by origin are those of the jobs, at every moment of their lives."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, delete, func, select, update

from crawlyard.core.checkpoint import Asker
from crawlyard.core.event import EventName
from crawlyard.core.filter import parse
from crawlyard.core.job import Job, Origin
from crawlyard.core.lifecycle import Move, State
from crawlyard.core.priority import Priority
from crawlyard.store.base import JobQuery, Store
from crawlyard.store.sql.agreeing import agrees
from crawlyard.store.sql.tallies import sum_up
from crawlyard.store.tables.jobs import job_tags
from crawlyard.store.tables.tallies import tally_steps, term_tallies
from tests.builders import LEASE, NOW, a_job, a_spec, its_event
from tests.conformance.conftest import Backend
from tests.conformance.statements import planned
from tests.conformance.steps import added, claimed, ended, moved, requeued
from tests.conformance.test_counts import counted
from tests.conformance.test_intake import entered

OF_TEMPLATE = Origin(template_id="a-template", template_version=1)
OF_SCHEDULE = replace(OF_TEMPLATE, schedule_id="a-schedule", tick_at=NOW)

FILTERS = (
    "tag:daily",
    "-tag:daily",
    "tag:shop",
    "tag:none",
    "-tag:none",
    "tag:daily owner:ada",
    "-tag:daily state:pending,completed",
    "tag:daily -owner:ada priority_gte:high",
    "tag:daily,shop",
    "tag:daily tag:shop",
    "tag:daily origin:schedule",
    "origin:direct",
    "origin:template",
    "origin:schedule",
    "origin:retry",
    "-origin:direct",
    "origin:schedule,retry state:running",
    "-origin:retry,retry owner:bob",
)
QUERIES = [
    *(JobQuery(where=parse(text)) for text in FILTERS),
    JobQuery(tags=frozenset({"daily"})),
    JobQuery(tags=frozenset({"daily", "shop"})),
    JobQuery(owner="ada", tags=frozenset({"daily"}), states=frozenset({State.PENDING})),
    JobQuery(owner="bob", where=parse("-tag:daily")),
    JobQuery(priorities=frozenset({Priority.URGENT}), where=parse("origin:direct")),
]

SQL = ("sqlite", pytest.param("postgres", marks=pytest.mark.postgres))

IDLE = NOW - timedelta(days=1)
LATER = NOW + 2 * LEASE


def database_of(store: Store) -> Any:
    """Return what a store on SQL works on."""
    return store.upkeep._database  # type: ignore[attr-defined]  # of the SQL stores


def tagged(*tags: str, **fields: Any) -> Job:
    """Return a job with *tags*."""
    return a_job(spec=a_spec(tags=tags), **fields)


async def some_jobs(store: Store) -> list[Job]:
    """Add jobs of two users from everywhere, with tags and without."""
    first = await added(store, tagged("daily", "shop", owner="ada"))
    urgent = a_job(spec=a_spec(tags=("daily",), priority=Priority.URGENT), owner="bob")
    return [
        first,
        await added(store, urgent),
        await added(store, owner="bob"),
        await added(store, tagged("shop", owner="bob", origin=OF_TEMPLATE)),
        await added(store, tagged("daily", owner="ada", origin=OF_SCHEDULE)),
        await added(store, tagged("daily", "shop", owner="ada", retry_of=first.id)),
    ]


async def retagged(store: Store, job: Job, *tags: str) -> Job:
    """Return a job after an edit of its tags."""
    changed = replace(job, spec=replace(job.spec, tags=tags), version=job.version + 1)
    await store.jobs.save(changed, its_event(changed, EventName.EDITED))
    return changed


async def check(store: Store) -> None:
    """Check that each count is that of the jobs that the list shows."""
    for query in QUERIES:
        counts = await store.jobs.counts(query)
        assert counts == await counted(store, query), query
        assert await store.jobs.count_to(1000, query) == sum(counts.values()), query


async def claims(store: Store, jobs: list[Job]) -> None:
    await claimed(store, jobs[0])
    await claimed(store, jobs[4])


async def ends(store: Store, jobs: list[Job]) -> None:
    claim = await claimed(store, jobs[0])
    await ended(store, claim.lease)
    await moved(store, jobs[1].id, Move.CANCEL)


async def retries(store: Store, jobs: list[Job]) -> None:
    claim = await claimed(store, jobs[4])
    job = await ended(store, claim.lease, Move.COMPLETE)
    again, event = job.moved(Move.RETRY_FAILED, NOW, actor="local")
    await store.jobs.retry_failed(again, event, ())
    again = tagged("daily", owner="ada", retry_of=job.id)
    await store.jobs.add(again, its_event(again), like=(await store.jobs.get(job.id)).job)


async def lost(store: Store, jobs: list[Job]) -> None:
    await claimed(store, jobs[0])
    await store.leases.take_back(LATER, (), requeued)


async def edits(store: Store, jobs: list[Job]) -> None:
    paused = await moved(store, jobs[0].id, Move.PAUSE)
    await retagged(store, paused, "shop")
    await retagged(store, jobs[2], "none", "daily")
    await retagged(store, jobs[4])


async def reorders(store: Store, jobs: list[Job]) -> None:
    await retagged(store, jobs[0], "shop", "daily", "shop")


async def deletes(store: Store, jobs: list[Job]) -> None:
    for job in jobs[1:5]:
        await store.jobs.delete(job.id, job.version, its_event(job, EventName.DELETED))


async def purges(store: Store, jobs: list[Job]) -> None:
    await deletes(store, jobs)
    while await store.upkeep.purge(rows=3):
        await check(store)


async def many_come(store: Store, _jobs: list[Job]) -> None:
    await entered(store, *(tagged("daily", f"run-{n}", owner="ada") for n in range(5)))


LIVES = (claims, ends, retries, lost, edits, reorders, deletes, purges, many_come)


@pytest.mark.parametrize("happens", LIVES)
async def test_counts_by_tag_and_origin_follow_a_job_through_its_life(
    store: Store, happens: Callable[[Store, list[Job]], Awaitable[None]]
) -> None:
    jobs = await some_jobs(store)
    await check(store)

    await happens(store, jobs)
    await check(store)
    await store.upkeep.tidy()

    await check(store)


@pytest.mark.parametrize("backend", SQL, indirect=True)
@pytest.mark.parametrize("happens", LIVES)
@pytest.mark.parametrize("summed_up", [False, True])
async def test_the_janitor_sums_up_and_finds_nothing_to_make_right(
    store: Store, happens: Callable[[Store, list[Job]], Awaitable[None]], *, summed_up: bool
) -> None:
    database = database_of(store)
    jobs = await some_jobs(store)
    if summed_up:
        await database.write(sum_up)

    await happens(store, jobs)
    before = await database.read(agrees)
    await database.write(sum_up)

    await check(store)
    assert before
    assert await database.read(agrees)


ODD = (
    'a,"tag:daily"',
    '","tag:daily","',
    "back\\",
    '\\","tag:daily',
    "Daily",
    "ä",
    "%",
    "_",
    "",
    " ",
    "two\nlines",
    "nul\x00",
    "\ufffd",
    "\ud800",
    "🦀" * 200,
    "l" * 201,
    "daily ",
)


async def test_a_tag_is_counted_whatever_characters_it_has(store: Store) -> None:
    for tag in ODD:
        await added(store, tagged(tag, "daily", tag))
    await added(store, tagged(*ODD))

    for janitor in (False, True):
        for tag in (*ODD, "daily"):
            query = JobQuery(tags=frozenset({tag}))
            assert await store.jobs.counts(query) == await counted(store, query), (tag, janitor)
        await store.upkeep.tidy()


async def test_what_a_refused_transaction_would_have_made_is_not_counted(store: Store) -> None:
    job = await added(store, tagged("daily"))
    stale = replace(job, version=7, spec=replace(job.spec, tags=("shop",)))

    with pytest.raises(Exception, match=job.id):
        await store.jobs.save(stale.moved(Move.PAUSE, NOW, actor="local")[0])
    with pytest.raises(Exception, match=job.id):
        await store.jobs.add(job, its_event(job))

    await check(store)


async def test_at_no_moment_does_a_count_miss_what_others_write(backend: Backend) -> None:
    stores = [await backend.open() for _ in range(3)]
    every = tuple(JobQuery(where=parse(text)) for text in ("tag:daily", "-tag:daily", ""))
    seen: list[tuple[int, ...]] = []

    async def work(store: Store, tag: str) -> None:
        for _ in range(8):
            await added(store, tagged(tag, owner="ada"))
            claim = await store.leases.claim(Asker(f"w-{tag}"), NOW, LEASE)
            if claim is not None:
                await ended(store, claim.lease)

    async def look(store: Store) -> None:
        for _ in range(12):
            counts = [sum((await store.jobs.counts(query)).values()) for query in every]
            seen.append(tuple(counts))
            await store.upkeep.tidy()

    await asyncio.gather(work(stores[0], "daily"), work(stores[1], "shop"), look(stores[2]))

    assert all(a + b <= every for a, b, every in seen)  # each is asked later than the one before
    assert all(max(numbers) <= 16 and min(numbers) >= 0 for numbers in seen)
    await check(stores[0])
    for store in stores[1:] if backend.sql else ():
        await store.close()
    await stores[0].close()


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "text", ["tag:daily", "-tag:daily", "origin:retry owner:ada", "-origin:direct"]
)
async def test_to_count_by_a_tag_or_an_origin_no_job_is_looked_at(
    backend: Backend, text: str
) -> None:
    store = await backend.open()
    await some_jobs(store)
    await store.upkeep.tidy()
    await store.close()

    async def ask(store: Store) -> None:
        await store.jobs.counts(JobQuery(where=parse(text)))
        await store.jobs.count_to(10, JobQuery(where=parse(text)))

    steps = [step for _, plan in await planned(backend.where, ask) for step in plan]

    assert any("term_tallies USING PRIMARY KEY (term=?" in step for step in steps)
    assert not [step for step in steps if "jobs" in step or "job_tags" in step]


@pytest.mark.parametrize("backend", SQL, indirect=True)
async def test_jobs_with_many_tags_of_their_own_are_summed_up_by_and_by(store: Store) -> None:
    jobs = [tagged("daily", *(f"{n}-{tag}" for tag in range(49))) for n in range(130)]
    await entered(store, *jobs)
    left = select(func.count()).select_from(tally_steps)

    more = await database_of(store).write(sum_up)
    steps = await database_of(store).read(lambda conn: conn.scalar(left))
    half = await store.jobs.counts(JobQuery(where=parse("tag:daily")))
    await store.upkeep.tidy()

    assert more
    assert 0 < steps < len(jobs)
    assert half == await store.jobs.counts(JobQuery(where=parse("tag:daily")))
    assert half == {(State.PENDING, Priority.NORMAL): 130}
    assert await database_of(store).read(lambda conn: conn.scalar(left)) == 0


@pytest.mark.parametrize("backend", SQL, indirect=True)
async def test_sums_that_have_come_to_nothing_do_not_stay(store: Store) -> None:
    for run in range(5):
        job = await added(store, tagged(f"run-{run}"))
        await store.upkeep.tidy()
        await store.jobs.delete(job.id, job.version, its_event(job, EventName.DELETED))

    await store.upkeep.tidy(rows=2)

    left = await database_of(store).read(
        lambda c: c.scalar(select(func.count()).select_from(term_tallies))
    )
    assert left == 0


@pytest.mark.parametrize("backend", SQL, indirect=True)
@pytest.mark.parametrize("summed_up", [False, True])
async def test_counts_by_term_that_others_have_made_wrong_are_made_right_by_and_by(
    store: Store, *, summed_up: bool
) -> None:
    jobs = await some_jobs(store)
    if summed_up:
        await store.upkeep.tidy()

    def by_hand(conn: Connection) -> None:
        conn.execute(update(tally_steps).values(terms=',"tag:eve","origin:retry"'))
        conn.execute(update(term_tallies).values(jobs=term_tallies.c.jobs + 1))
        conn.execute(delete(job_tags).where(job_tags.c.tag == "shop"))

    await database_of(store).write(by_hand)
    with pytest.raises(AssertionError):
        await check(store)
    await moved(store, jobs[0].id, Move.PAUSE)
    await store.upkeep.tidy()

    await check(store)
    await store.upkeep.tidy()
    await check(store)


@pytest.mark.parametrize("backend", SQL, indirect=True)
async def test_the_steps_of_a_program_that_knows_no_terms_are_counted_by_and_by(
    store: Store,
) -> None:
    await some_jobs(store)
    await database_of(store).write(lambda conn: conn.execute(update(tally_steps).values(terms="")))
    every = await store.jobs.counts()
    await store.upkeep.tidy()

    await check(store)
    assert every == await store.jobs.counts() == await counted(store)
