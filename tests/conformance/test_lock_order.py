"""On Postgres, all who lock several things do so in one order: nobody waits in a circle."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from crawlyard.core.access.user import Quota
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.job import Job
from crawlyard.store.open import open_sql_store
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_batch, a_job, its_event
from tests.conformance.spread_rig import begun
from tests.conformance.steps import added, claimed

pytestmark = pytest.mark.postgres

SOON_S = 20.0
USER = "SELECT FROM users WHERE id = 'local' FOR NO KEY UPDATE"
NO_MORE = """UPDATE users SET quota = '{"running": 0}' WHERE id = 'local'"""
ROW = "SELECT FROM jobs WHERE id = %s FOR NO KEY UPDATE"
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    opened = await open_sql_store(postgres_url)
    yield opened
    await opened.close()


@asynccontextmanager
async def locked(
    url: str, statement: str, *given: object
) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Keep what *statement* locks as long as the block lasts."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(statement.encode(), given)
        yield connection


async def somebody_waits(url: str) -> None:
    """Return once somebody waits for a lock."""
    async with asyncio.timeout(SOON_S), await psycopg.AsyncConnection.connect(url) as connection:
        while True:
            found = await (await connection.execute(WAITING.encode())).fetchone()
            await connection.rollback()
            if found and found[0]:
                return


async def is_free(url: str, job_id: str) -> bool:
    """Tell whether nobody has locked the row of a job."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        taken = await connection.execute(f"{ROW} SKIP LOCKED".encode(), (job_id,))
        return taken.rowcount == 1


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
            theirs = await store.leases.claim(Asker("w2"), NOW, LEASE)
    mine = await claim

    assert theirs is not None
    assert theirs.job.id == other.id
    assert mine is not None
    assert mine.job.id == job.id


async def test_a_claim_looks_at_the_quota_again_once_nobody_else_claims_for_that_user(
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


async def test_whole_jobs_and_shards_that_are_recorded_together_are_locked_in_one_order(
    store: Store, postgres_url: str
) -> None:
    part, whole = await begun(store), await claimed(store)

    async with locked(postgres_url, ROW, part.job.id):
        entries = [(whole.lease, a_batch()), (part.lease, a_batch())]
        recorded = asyncio.create_task(store.frontier.record(entries, NOW, LEASE))
        await somebody_waits(postgres_url)
        free = await is_free(postgres_url, whole.job.id)

    assert len(await recorded) == 2
    assert free
