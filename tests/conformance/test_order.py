"""The order of many jobs that several workers claim at once: no inversion but by overlap."""

import asyncio
from bisect import bisect_left
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate, count
from random import Random

from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.queue import PriorityQueue, claim_key
from crawlyard.core.jobs.spec import Priority
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_job, its_event
from tests.builders_schedules import a_firing, a_schedule, schedule_event
from tests.conformance.conftest import Backend

OWNERS = ("ada", "bob", "cleo", "dora", "emil")
WORKERS = 8
Key = tuple[int, int, datetime, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One claim: the instants of a counter when it was asked for, and when it was answered."""

    asked: int
    answered: int
    job: Job


async def filled(store: Store, count: int) -> None:
    """Add that many jobs of all levels and owners, in a mixed order."""
    schedule = a_schedule()
    await store.schedules.add(schedule, schedule_event(schedule))
    chance = Random(count)
    jobs = [
        a_job(owner=chance.choice(OWNERS), priority=chance.choice(list(Priority)))
        for _ in range(count)
    ]
    assert await store.ticks.fire([a_firing(schedule, [], jobs)]) == [True]


async def worked(stores: list[Store]) -> list[Taken]:
    """Let as many workers as stores claim until nothing is left."""
    ticks = count()
    claims: list[Taken] = []

    async def work(store: Store, name: str) -> None:
        while True:
            tick = next(ticks)
            claim = await store.leases.claim(Asker(name), NOW, LEASE)
            if claim is None:
                return
            claims.append(Taken(asked=tick, answered=next(ticks), job=claim.job))

    await asyncio.gather(*(work(store, f"w{n}") for n, store in enumerate(stores)))
    return claims


def inversions(claims: list[Taken]) -> list[tuple[Taken, Key]]:
    """Return the claims that came after another had ended that took a job behind theirs."""
    by_end = sorted(claims, key=lambda claim: claim.answered)
    ends = [claim.answered for claim in by_end]
    furthest = list(accumulate((claim_key(claim.job) for claim in by_end), max))
    inverted = []
    for claim in claims:
        ended = bisect_left(ends, claim.asked)
        if ended and furthest[ended - 1] > claim_key(claim.job):
            inverted.append((claim, furthest[ended - 1]))
    return inverted


async def test_eight_workers_claim_ten_thousand_jobs_in_their_order(backend: Backend) -> None:
    # memory looks at every job for each claim, and no two of its claims ever overlap
    many = 10_000 if backend.sql else 1_000
    stores = [await backend.open() for _ in range(WORKERS)]
    await filled(stores[0], many)

    claims = await worked(stores)

    assert len({claim.job.id for claim in claims}) == len(claims) == many
    assert inversions(claims) == []
    if backend.sql:
        for store in stores:
            await store.close()


async def test_the_queue_is_listed_in_the_order_of_claims(store: Store) -> None:
    await filled(store, 30)
    later = [a_job(owner="ada", due_at=NOW + timedelta(minutes=n)) for n in (2, 1)]
    for job in later:
        await store.jobs.add(job, its_event(job))

    every = [standing.job for standing in await store.queue.pending(NOW, 200)]
    some = [standing.job.id for standing in await store.queue.pending(NOW, 7)]
    adas = [standing.job.id for standing in await store.queue.pending(NOW, 200, "ada")]
    claimed = [claim.job.id for claim in await worked([store])]

    assert [job.id for job in every] == [*claimed, *(job.id for job in later[::-1])]
    assert some == claimed[:7]
    assert adas == [job.id for job in every if job.owner == "ada"]
    assert PriorityQueue(every).next(NOW) == every[0]


async def test_the_queue_has_those_first_that_are_due_and_not_marked_yet(store: Store) -> None:
    low = [a_job(priority=Priority.LOW, due_at=NOW + timedelta(seconds=1)) for _ in range(5)]
    urgent = a_job(priority=Priority.URGENT, due_at=NOW + timedelta(seconds=2))
    for job in (*low, urgent):
        await store.jobs.add(job, its_event(job))

    standings = await store.queue.pending(NOW + timedelta(minutes=5), 3)

    assert [standing.job.id for standing in standings] == [urgent.id, *(job.id for job in low[:2])]


def test_a_claim_that_was_passed_over_is_an_inversion() -> None:
    first, second = a_job(turn=0), a_job(turn=1)

    one_by_one = [
        Taken(asked=0, answered=1, job=second),
        Taken(asked=2, answered=3, job=first),
    ]
    overlapping = [
        Taken(asked=0, answered=2, job=second),
        Taken(asked=1, answered=3, job=first),
    ]

    assert [claim.job for claim, _ in inversions(one_by_one)] == [first]
    assert inversions(overlapping) == []
