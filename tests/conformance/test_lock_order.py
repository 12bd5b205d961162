"""On Postgres, transactions lock rows in one order, which rules out deadlocks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from crawlyard.clock import SystemClock
from crawlyard.core.access.user import Quota
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.checkpoint import Asker, Order
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.job_log import Level, LogLine
from crawlyard.core.jobs.limits import Limits
from crawlyard.core.jobs.pulse import Pulse
from crawlyard.services.workers.recorder import Recorder
from crawlyard.store.open import open_sql_store
from crawlyard.store.queries import EventQuery
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_batch, a_job, a_target, done, its_event
from tests.conformance.spread_rig import (
    HOSTS,
    SHARDS,
    begun,
    joined,
    sent,
    state_of_lease,
    targets,
)
from tests.conformance.steps import added, stored

pytestmark = pytest.mark.postgres

SOON_S = 20.0
USER = "SELECT FROM users WHERE id = 'local' FOR NO KEY UPDATE"
NO_MORE = """UPDATE users SET quota = '{"running": 0}' WHERE id = 'local'"""
WHOLE_JOB = """SELECT FROM jobs JOIN shards ON job_no = no AND shard = 0 WHERE id = %s
    FOR NO KEY UPDATE"""
FOUND = """INSERT INTO frontier
    (job_no, fp, url, host, depth, via, hops, state, tries, rule)
    SELECT no, %s, '', '', 0, 'link', 0, 0, 0, '' FROM jobs WHERE id = %s"""
FENCED = """UPDATE shards SET attempt = attempt + 1, worker = NULL
    WHERE job_no = (SELECT no FROM jobs WHERE id = %s) AND shard = %s"""
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    opened = await open_sql_store(postgres_url)
    yield opened
    await opened.close()


@asynccontextmanager
async def locked(
    url: str, statement: str, *arguments: object
) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Keep what *statement* locks as long as the block lasts."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(statement.encode(), arguments)
        yield connection


async def somebody_waits(url: str) -> None:
    """Return once a session waits for a lock."""
    async with asyncio.timeout(SOON_S), await psycopg.AsyncConnection.connect(url) as connection:
        while True:
            row = await (await connection.execute(WAITING.encode())).fetchone()
            await connection.rollback()
            if row and row[0]:
                return


async def limited_and_not(store: Store) -> tuple[Job, Job]:
    """Return the first job of the queue, of a user with a quota, and one of another user."""
    job, other = await added(store), await added(store, a_job(owner="ada"))
    local = await store.users.get("local")
    limited = replace(local, quota=Quota(running=5), version=local.version + 1)
    await store.users.save(limited, its_event(job))
    return job, other


async def test_claims_for_a_user_with_a_quota_hold_up_no_claims_for_others(
    store: Store, postgres_url: str
) -> None:
    job, other = await limited_and_not(store)

    async with locked(postgres_url, USER):
        claim = asyncio.create_task(store.leases.claim(Asker("w1"), NOW, LEASE))
        await somebody_waits(postgres_url)
        async with asyncio.timeout(SOON_S):
            their_claim = await store.leases.claim(Asker("w2"), NOW, LEASE)
    mine = await claim

    assert their_claim is not None
    assert their_claim.job.id == other.id
    assert mine is not None
    assert mine.job.id == job.id


async def test_a_claim_checks_the_quota_again_after_concurrent_claims_for_that_user(
    store: Store, postgres_url: str
) -> None:
    _, other = await limited_and_not(store)

    async with locked(postgres_url, NO_MORE) as connection:
        claim = asyncio.create_task(store.leases.claim(Asker("w1"), NOW, LEASE))
        await somebody_waits(postgres_url)
        await connection.commit()
    mine = await claim

    assert mine is not None
    assert mine.job.id == other.id


async def test_a_shard_checkpoint_does_not_wait_for_a_lock_on_its_job(
    store: Store, postgres_url: str
) -> None:
    first = await begun(store, limits=Limits(pages=100))
    await sent(store, first.lease, a_batch(found=targets()))
    lease = await state_of_lease(store, first.lease)
    [target, *_] = await store.frontier.load(lease, 1, depth_first=False)

    async with locked(postgres_url, WHOLE_JOB, first.job.id), asyncio.timeout(SOON_S):
        batch = a_batch(outcomes=[done(target)])
        answer = await sent(store, lease, batch, NOW + LEASE / 2)
        [order] = await store.leases.orders([answer.lease])
        shard = (await store.spread.shards(first.job.id))[lease.shard]
        again = await sent(store, answer.lease, a_batch(), NOW + LEASE / 2)

    assert (answer.order, order) == (Order.GO_ON, Order.GO_ON)
    assert shard.lease_until == NOW + LEASE * 1.5
    assert (answer.usage.pages, again.usage.pages) == (1, 1), "the answer has all that is stored"
    assert answer.share is not None
    assert answer.share.budget["pages"] == shard.budget["pages"]


async def test_totals_that_could_not_be_locked_are_added_up_later(
    store: Store, postgres_url: str
) -> None:
    first = await begun(store)
    job_id = first.job.id
    await sent(store, first.lease, a_batch(found=targets()))
    lease = await state_of_lease(store, first.lease)
    waiting = await store.frontier.load(lease, 3, depth_first=False)
    line = LogLine(at=NOW, level=Level.WARNING, message="slow")
    passed = first.job.event(EventName.PROGRESSED, NOW, "worker:w1", percent=50)
    pulse = Pulse(milestone=50)

    async with locked(postgres_url, WHOLE_JOB, job_id):
        for n, target in enumerate(waiting[:2]):
            batch = a_batch(outcomes=[done(target)])
            batch = replace(batch, log=(line,), events=(passed,), pulse=pulse)
            answer = await sent(store, lease, batch, NOW + timedelta(seconds=n))
            lease = answer.lease
            assert answer.milestone == 0, "it is told again"
        unread = await store.journal.lines(job_id, Level.DEBUG, 0, 10)
        before = (await store.jobs.get(job_id)).shard.usage.pages
    batch = replace(a_batch(outcomes=[done(waiting[2])]), log=(line,), events=(passed,))
    answer = await sent(store, lease, replace(batch, pulse=pulse), NOW + timedelta(seconds=2))

    assert (before, unread) == (0, [])
    assert (await store.jobs.get(job_id)).shard.usage.pages == 3
    lines = await store.journal.lines(job_id, Level.DEBUG, 0, 10)
    assert [line.n for line in lines] == [1, 2, 3]
    events = await store.events.events(EventQuery(subject=job_id))
    assert [e.name for e in events].count(EventName.PROGRESSED) == 1
    assert answer.milestone == 50


async def test_two_shards_that_find_the_same_urls_in_other_orders_wait_in_no_circle(
    store: Store,
) -> None:
    first = await begun(store)
    await sent(store, first.lease, a_batch(found=targets()))
    leases = [await state_of_lease(store, first.lease)]
    for n in range(2, SHARDS + 1):
        claim = await joined(store, f"w{n}")
        assert claim is not None
        leases.append(claim.lease)
    links = [a_target(f"link/{n}", host=HOSTS[n % len(HOSTS)]) for n in range(400)]

    answers = await asyncio.gather(
        *(
            sent(store, lease, a_batch(found=links[:: 1 if n % 2 else -1]))
            for n, lease in enumerate(leases)
        )
    )
    last = await sent(store, answers[0].lease, a_batch())

    assert {answer.order for answer in answers} == {Order.GO_ON}
    assert last.usage.discovered == len(targets()) + len(links)


async def test_a_shard_reclaimed_during_its_checkpoint_writes_nothing(
    store: Store, postgres_url: str
) -> None:
    first = await begun(store)
    await sent(store, first.lease, a_batch(found=targets()))
    lease = await state_of_lease(store, first.lease)
    [target, *_] = await store.frontier.load(lease, 1, depth_first=False)

    async with locked(postgres_url, FENCED, first.job.id, lease.shard) as connection:
        recorded = asyncio.create_task(sent(store, lease, a_batch(outcomes=[done(target)])))
        await somebody_waits(postgres_url)
        await connection.commit()
    answer = await recorded

    assert answer.order is Order.LOST
    assert await stored(store, first.job.id) == []


async def test_the_lease_of_a_shard_is_renewed_while_its_checkpoint_waits(
    store: Store, postgres_url: str
) -> None:
    clock, lease = SystemClock(), timedelta(seconds=0.4)
    first = await begun(store)
    await sent(store, first.lease, a_batch(found=targets()))
    recorder = Recorder(store.frontier, clock, lease)
    until: list[datetime] = []
    batch = a_batch(found=[a_target("new", host=HOSTS[0])])

    async with locked(postgres_url, FOUND, batch.found[0].fp, first.job.id) as connection:
        recorded = asyncio.create_task(
            recorder.record(await state_of_lease(store, first.lease), batch, until.append)
        )
        async with asyncio.timeout(SOON_S):
            while len(until) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        shard = (await store.spread.shards(first.job.id))[first.lease.shard]
        await connection.rollback()
    answer = await recorded

    assert shard.lease_until is not None
    assert shard.lease_until >= until[1]  # another renewal may have come since
    assert until[0] < until[1]
    assert answer.order is Order.GO_ON
