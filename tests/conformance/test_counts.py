"""Counts of jobs: kept as jobs change, or read from the jobs as far as a bound."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, func, insert, select, update

from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.filter import fits, parse
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import Move, State
from crawlyard.core.jobs.spec import Priority
from crawlyard.store.jobs import counts
from crawlyard.store.jobs import jobs as counting
from crawlyard.store.jobs.counts import is_consistent, sum_up
from crawlyard.store.queries import EVERY_JOB, JobQuery
from crawlyard.store.store import Store
from crawlyard.store.tables.tallies import tally_steps
from tests.builders import LEASE, NOW, a_job, a_spec, its_event
from tests.conformance.conftest import Backend
from tests.conformance.statements import planned
from tests.conformance.steps import (
    added,
    claimed,
    database_of,
    ended,
    in_state,
    moved,
    requeued,
)
from tests.conformance.test_intake import entered

Counts = Mapping[tuple[State, Priority], int]

LATER = NOW + 2 * LEASE

KEPT = (
    EVERY_JOB,
    JobQuery(owner="ada"),
    JobQuery(owner="ada", states=frozenset({State.FAILED, State.RUNNING})),
    JobQuery(priorities=frozenset({Priority.LOW, Priority.URGENT})),
    JobQuery(owner="bob", where=parse("owner:ada")),
    JobQuery(where=parse("-owner:ada priority_gte:high state:pending,completed")),
)
"""Queries whose counts are kept."""


async def counted(store: Store, query: JobQuery = EVERY_JOB) -> Counts:
    """Return the counts, one job after the other."""
    standings = await store.jobs.find(query, 1000)
    return dict(Counter((s.job.state, s.job.priority) for s in standings))


async def check(store: Store) -> None:
    """Check that each count that is kept is that of the jobs."""
    for query in KEPT:
        assert await store.jobs.counts(query) == await counted(store, query), query


async def some_of_each(store: Store) -> None:
    """Add jobs of two users in all states, of several priorities."""
    for owner in ("ada", "bob"):
        for n, state in enumerate(State):
            for priority in list(Priority)[: n + 1]:
                spec = a_spec(priority=priority)
                await added(store, in_state(state, spec=spec, owner=owner))


async def test_jobs_that_a_refused_transaction_would_have_made_are_not_counted(
    store: Store,
) -> None:
    job = await added(store)
    stale = replace(job, version=7)

    with pytest.raises(Exception, match=job.id):
        await store.jobs.save(stale.apply_move(Move.PAUSE, NOW, actor="local")[0])
    with pytest.raises(Exception, match=job.id):
        await store.jobs.add(job, its_event(job))

    assert await store.jobs.counts() == {(State.PENDING, Priority.NORMAL): 1}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "state:failed",
        "-state:failed",
        "state:failed,pending owner:ada",
        "-owner:ada",
        "owner:ada,bob priority:urgent",
        "priority_gte:high -state:completed",
        "-priority_gte:normal",
        "owner:nobody",
        "state:failed state:pending",
        "origin:direct state:paused",
    ],
)
async def test_counts_are_those_of_the_jobs_that_a_filter_finds(store: Store, text: str) -> None:
    await some_of_each(store)
    query = JobQuery(where=parse(text))

    counts = await store.jobs.counts(query)

    assert counts == await counted(store, query)
    every = await store.jobs.find(EVERY_JOB, 1000)
    assert sum(counts.values()) == sum(all(fits(c, s.job) for c in query.where) for s in every)


async def test_counts_are_those_of_the_jobs_that_a_query_finds(store: Store) -> None:
    await some_of_each(store)

    await check(store)


async def claims(store: Store, jobs: list[Job]) -> None:
    claim = await claimed(store, jobs[0])
    await claimed(store, jobs[1])
    await ended(store, claim.lease)
    await moved(store, jobs[2].id, Move.CANCEL)


async def retries(store: Store, jobs: list[Job]) -> None:
    claim = await claimed(store, jobs[0])
    job = await ended(store, claim.lease)
    again, event = job.apply_move(Move.RETRY_FAILED, NOW, actor="local")
    await store.jobs.retry_failed(again, event, ())
    copy = a_job(owner="ada", retry_of=job.id)
    await store.jobs.add(copy, its_event(copy), like=(await store.jobs.get(job.id)).job)


async def lost(store: Store, jobs: list[Job]) -> None:
    await claimed(store, jobs[0])
    await store.leases.take_back(LATER, (), requeued)


async def edits(store: Store, jobs: list[Job]) -> None:
    paused = await moved(store, jobs[0].id, Move.PAUSE)
    for job, change in ((paused, {"priority": Priority.LOW}), (jobs[1], {"tags": ("daily",)})):
        edited = replace(job, spec=replace(job.spec, **change), version=job.version + 1)
        await store.jobs.save(edited, its_event(edited, EventName.EDITED))


async def deletes(store: Store, jobs: list[Job]) -> None:
    for job in jobs[1:3]:
        await store.jobs.delete(job.id, job.version, its_event(job, EventName.DELETED))
    while await store.upkeep.purge(rows=3):
        await check(store)


async def many_come(store: Store, _jobs: list[Job]) -> None:
    await entered(store, *(a_job(owner=owner) for owner in ("ada", "bob", "ada")))


@pytest.mark.parametrize("happens", [claims, retries, lost, edits, deletes, many_come])
async def test_counts_follow_jobs_through_their_lives(
    store: Store, happens: Callable[[Store, list[Job]], Awaitable[None]]
) -> None:
    jobs = [await added(store, owner="ada"), await added(store, owner="bob")]
    await store.upkeep.tidy()
    jobs += [await added(store, owner="ada")]  # this one is not summed up yet

    await happens(store, jobs)

    await check(store)
    assert await database_of(store).read(is_consistent)
    await store.upkeep.tidy()
    await check(store)


async def test_at_no_moment_does_a_count_miss_what_others_write(backend: Backend) -> None:
    stores = [await backend.open() for _ in range(3)]
    sums_read: list[tuple[int, ...]] = []

    async def work(store: Store, owner: str) -> None:
        for _ in range(8):
            await added(store, owner=owner)
            claim = await store.leases.claim(Asker(f"w-{owner}"), NOW, LEASE)
            if claim is not None:
                await ended(store, claim.lease)

    async def look(store: Store) -> None:
        for _ in range(12):
            queries = (JobQuery(owner="ada"), JobQuery(owner="bob"), EVERY_JOB)
            counts = [sum((await store.jobs.counts(query)).values()) for query in queries]
            sums_read.append(tuple(counts))
            await store.upkeep.tidy()

    await asyncio.gather(work(stores[0], "ada"), work(stores[1], "bob"), look(stores[2]))

    assert all(
        a + b <= every for a, b, every in sums_read
    )  # each is asked later than the one before
    assert all(max(numbers) <= 16 and min(numbers) >= 0 for numbers in sums_read)
    await check(stores[0])
    for store in stores[1:] if backend.sql else ():
        await store.close()
    await stores[0].close()


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_to_count_by_owner_state_and_priority_no_job_is_looked_at(backend: Backend) -> None:
    async def ask(store: Store) -> None:
        for query in KEPT:
            await store.jobs.counts(query)
            await store.jobs.counts(query, 1)

    steps = [step for _, plan in await planned(backend.where, ask) for step in plan]

    assert any("tallies" in step for step in steps)
    assert not [step for step in steps if "jobs" in step]


async def test_steps_are_summed_up_portion_by_portion(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "AT_ONCE", 3)
    for _ in range(5):
        await added(store)

    more = [await database_of(store).write(sum_up) for _ in range(2)]

    assert more == [True, False]
    assert await store.jobs.counts() == {(State.PENDING, Priority.NORMAL): 5}


@pytest.mark.parametrize("few", [2, 50])
async def test_counts_that_read_jobs_stop_at_the_bound(
    store: Store, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(counting, "_FEW_TO_COUNT", few)
    for n, state in enumerate(3 * [State.PENDING, State.FAILED, State.PAUSED]):
        spec = a_spec(tags=("daily", f"run-{n}"), priority=list(Priority)[n % 4])
        await added(store, in_state(state, spec=spec, owner="ada"))
    await added(store, owner="bob")

    for text in (
        "tag:daily",
        "tag:daily,none owner:ada",
        "-tag:none owner:ada",
        "owner:ada origin:direct,retry",
        "owner:ada example",
        "owner:ada created_after:2001-01-01",
    ):
        query = JobQuery(where=parse(text))
        every = await counted(store, query)
        for most in (1, 3, 8, 9):
            counts_read = await store.jobs.counts(query, most)
            assert sum(counts_read.values()) == most, (text, most)
            assert all(count <= every[group] for group, count in counts_read.items())
        for bound in (10, 100, None):
            assert await store.jobs.counts(query, bound) == every
    assert sum((await store.jobs.counts(JobQuery(owner="ada"), 1)).values()) == 9


@pytest.mark.parametrize("backend", ["sqlite", "postgres"], indirect=True)
async def test_counts_that_others_have_made_wrong_are_made_right_by_and_by(store: Store) -> None:
    await some_of_each(store)
    database = database_of(store)

    def by_hand(conn: Connection) -> None:
        conn.execute(update(tally_steps).values(jobs=tally_steps.c.jobs + 1))
        group = {"owner": "eve", "state": "failed", "priority": 1}
        conn.execute(insert(tally_steps).values(**group, jobs=3))

    await database.write(by_hand)
    wrong = await store.jobs.counts()
    await store.upkeep.tidy()
    steps = await database.read(lambda conn: conn.scalar(select(func.count(tally_steps.c.no))))
    await store.upkeep.tidy()

    assert wrong != await counted(store)
    assert await store.jobs.counts() == await counted(store)
    assert steps > 0
    assert await database.read(lambda c: c.scalar(select(func.count(tally_steps.c.no)))) == 0
