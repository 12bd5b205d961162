"""Counts of jobs are kept as they change: they are those of the jobs, whatever has happened."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, func, insert, select, update

from crawlyard.core.event import EventName
from crawlyard.core.filter import fits, parse
from crawlyard.core.lifecycle import Move, State
from crawlyard.core.priority import Priority
from crawlyard.store.base import EVERY_JOB, JobQuery, Store
from crawlyard.store.tables.tallies import tally_steps
from tests.builders import LEASE, NOW, a_spec, its_event
from tests.conformance.steps import added, claimed, ended, in_state, moved, requeued

Counts = Mapping[tuple[State, Priority], int]

LATER = NOW + 2 * LEASE


async def counted(store: Store, query: JobQuery = EVERY_JOB) -> Counts:
    """Return the counts, one job after the other."""
    found = await store.jobs.find(query, 1000)
    return dict(Counter((s.job.state, s.job.priority) for s in found))


async def some_of_each(store: Store) -> None:
    """Add jobs of two users in all states, of several priorities."""
    for owner in ("ada", "bob"):
        for n, state in enumerate(State):
            for priority in list(Priority)[: n + 1]:
                spec = a_spec(priority=priority)
                await added(store, in_state(state, spec=spec, owner=owner))


async def test_a_job_is_counted_in_the_state_that_each_of_its_moves_leads_to(store: Store) -> None:
    claim = await claimed(store)
    running = await store.jobs.counts()
    await ended(store, claim.lease)
    completed = await store.jobs.counts()
    await moved(store, claim.job.id, Move.RESUME)

    assert running == {(State.RUNNING, Priority.NORMAL): 1}
    assert completed == {(State.COMPLETED, Priority.NORMAL): 1}
    assert await store.jobs.counts() == {(State.PENDING, Priority.NORMAL): 1}


async def test_a_job_that_is_taken_back_from_a_lost_worker_is_counted_as_waiting(
    store: Store,
) -> None:
    await claimed(store)

    await store.leases.take_back(LATER, (), requeued)

    assert await store.jobs.counts() == {(State.PENDING, Priority.NORMAL): 1}


async def test_a_job_of_another_priority_is_counted_there(store: Store) -> None:
    job = await added(store)
    spec = replace(job.spec, priority=Priority.URGENT)
    edited = replace(job, spec=spec, version=job.version + 1)

    await store.jobs.save(edited, its_event(edited, EventName.EDITED))

    assert await store.jobs.counts() == {(State.PENDING, Priority.URGENT): 1}


async def test_a_deleted_job_is_not_counted(store: Store) -> None:
    job, other = await added(store), await added(store)

    await store.jobs.delete(job.id, job.version, its_event(job, EventName.DELETED))
    await store.upkeep.purge()

    assert await store.jobs.counts() == {(other.state, other.priority): 1}


async def test_jobs_that_a_refused_transaction_would_have_made_are_not_counted(
    store: Store,
) -> None:
    job = await added(store)
    stale = replace(job, version=7)

    with pytest.raises(Exception, match=job.id):
        await store.jobs.save(stale.moved(Move.PAUSE, NOW, actor="local")[0])
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


@pytest.mark.parametrize(
    "query",
    [
        JobQuery(owner="ada"),
        JobQuery(owner="ada", states=frozenset({State.FAILED, State.RUNNING})),
        JobQuery(priorities=frozenset({Priority.LOW, Priority.URGENT})),
        JobQuery(owner="bob", where=parse("owner:ada")),
        JobQuery(states=frozenset({State.PENDING}), tags=frozenset({"none"})),
    ],
)
async def test_counts_are_those_of_the_jobs_that_a_query_finds(
    store: Store, query: JobQuery
) -> None:
    await some_of_each(store)

    assert await store.jobs.counts(query) == await counted(store, query)


async def test_counts_are_the_same_when_the_janitor_has_been_there(store: Store) -> None:
    await some_of_each(store)
    claim = await claimed(store, await added(store, owner="ada"))
    before = await store.jobs.counts()

    await store.upkeep.tidy()
    first = await store.jobs.counts()
    await ended(store, claim.lease)
    await store.upkeep.tidy()
    await store.upkeep.tidy()

    assert first == before
    assert await store.jobs.counts() == await counted(store)
    assert await store.jobs.counts(JobQuery(owner="ada")) == await counted(
        store, JobQuery(owner="ada")
    )


@pytest.mark.parametrize("backend", ["sqlite", "postgres"], indirect=True)
async def test_counts_that_others_have_made_wrong_are_made_right_by_and_by(store: Store) -> None:
    await some_of_each(store)
    database: Any = store.upkeep._database  # type: ignore[attr-defined]  # of the SQL stores

    def by_hand(conn: Connection) -> None:
        conn.execute(update(tally_steps).values(jobs=tally_steps.c.jobs + 1))
        group = {"owner": "eve", "state": "failed", "priority": 1}
        conn.execute(insert(tally_steps).values(**group, terms="", jobs=3))

    await database.write(by_hand)
    wrong = await store.jobs.counts()
    await store.upkeep.tidy()
    steps = await database.read(lambda conn: conn.scalar(select(func.count(tally_steps.c.no))))
    await store.upkeep.tidy()

    assert wrong != await counted(store)
    assert await store.jobs.counts() == await counted(store)
    assert steps > 0
    assert await database.read(lambda c: c.scalar(select(func.count(tally_steps.c.no)))) == 0
