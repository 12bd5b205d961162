"""Unique keys: an owner has one job with each, also under concurrent submits."""

import asyncio

from crawlyard.core.events.event import Event
from crawlyard.core.jobs.job import Job
from crawlyard.store.queries import Entered, Entrant, IntakeRules, JobQuery
from crawlyard.store.store import Store
from tests.builders import a_job, a_spec, its_event
from tests.conformance.conftest import Backend
from tests.conformance.purging import deleted


def keyed(key: str | None, owner: str = "local") -> Job:
    return a_job(owner=owner, spec=a_spec(unique_key=key))


def entrant(job: Job) -> Entrant:
    def judge(_: IntakeRules) -> tuple[Job, Event]:
        return job, its_event(job)

    return Entrant(owner=job.owner, level=job.level, judge=judge, unique_key=job.spec.unique_key)


async def entered(store: Store, *jobs: Job) -> list[Entered]:
    return await store.intake.enter([entrant(job) for job in jobs])


async def stored(store: Store) -> list[str]:
    return [standing.job.id for standing in await store.jobs.find(JobQuery(oldest_first=True), 100)]


async def test_a_key_is_per_owner_and_compared_as_it_is(store: Store) -> None:
    keys = ["a", "A", "a ", "ä", "a\u0308", "%", "x" * 200]
    first = [keyed(key, owner) for owner in ("ada", "bob") for key in keys]
    again = [keyed(job.spec.unique_key, job.owner) for job in first]

    assert await entered(store, *first) == first
    assert await entered(store, *again) == first
    assert await stored(store) == [job.id for job in first]
    assert len(await store.events.events()) == len(first)
    for job in first:
        assert await store.jobs.with_unique_key(job.owner, job.spec.unique_key or "") == job.id
    assert await store.jobs.with_unique_key("eve", "a") is None


async def test_a_second_job_of_one_call_is_answered_with_the_first(store: Store) -> None:
    first, other, plain = keyed("k"), keyed("k"), a_job()
    assert await entered(store, first, other, plain) == [first, first, plain]
    assert await stored(store) == [first.id, plain.id]


async def test_a_key_is_free_once_its_job_is_deleted(store: Store) -> None:
    first, second, third = (keyed("k") for _ in range(3))
    await entered(store, first)
    await deleted(store, first)
    assert await entered(store, second, third) == [second, second]
    assert await store.jobs.with_unique_key(second.owner, "k") == second.id


async def test_of_many_callers_at_once_one_makes_the_job(backend: Backend) -> None:
    stores = [await backend.open() for _ in range(3)]
    jobs = [keyed(f"k{n % 5}") for n in range(40)]

    answers = await asyncio.gather(
        *(entered(stores[n % 3], job, keyed(f"k{(n + 3) % 5}")) for n, job in enumerate(jobs))
    )

    job_ids = await stored(stores[0])
    assert len(job_ids) == 5
    by_key: dict[str | None, set[str]] = {}
    for answer in (answer for pair in answers for answer in pair):
        assert isinstance(answer, Job)
        by_key.setdefault(answer.spec.unique_key, set()).add(answer.id)
    assert {len(ids) for ids in by_key.values()} == {1}
    assert set().union(*by_key.values()) == set(job_ids)
    if backend.sql:
        for store in stores:
            await store.close()
