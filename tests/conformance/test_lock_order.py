"""On Postgres, all who lock several things do so in one order: nobody waits in a circle."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import psycopg
import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, make_url

from crawlyard.core.access.user import Quota
from crawlyard.core.event import Event
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.errors import Conflict
from crawlyard.store.db.postgres import PostgresDatabase
from crawlyard.store.jobs.job_rows import change
from crawlyard.store.open import open_sql_store
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_batch, a_job, its_event
from tests.conformance.spread_rig import begun
from tests.conformance.steps import added, claimed

pytestmark = pytest.mark.postgres

SOON_S = 20.0
QUOTAS = "SELECT pg_advisory_xact_lock(x'43597175'::int)"
ROW = "SELECT FROM jobs WHERE id = %s FOR NO KEY UPDATE"
EVENTS = "SELECT pg_try_advisory_xact_lock(x'43596576'::int)"
COPY = """
    INSERT INTO jobs
    SELECT (jsonb_populate_record(job, jsonb_build_object('no', 999, 'id', %s::text))).*
    FROM jobs job LIMIT 1
"""
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    opened = await open_sql_store(postgres_url)
    yield opened
    await opened.close()


@asynccontextmanager
async def locked(url: str, statement: str, *given: object) -> AsyncIterator[None]:
    """Keep what *statement* locks as long as the block lasts."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(statement.encode(), given)
        yield


async def somebody_waits(url: str) -> None:
    """Return once somebody waits for a lock."""
    async with asyncio.timeout(SOON_S), await psycopg.AsyncConnection.connect(url) as connection:
        while True:
            found = await (await connection.execute(WAITING.encode())).fetchone()
            await connection.rollback()
            if found and found[0]:
                return


async def gets(url: str, statement: str) -> bool:
    """Tell whether *statement* gets a lock at once."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        found = await (await connection.execute(statement.encode())).fetchone()
        return found == (True,)


async def is_free(url: str, job_id: str) -> bool:
    """Tell whether nobody has locked the row of a job."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        taken = await connection.execute(f"{ROW} SKIP LOCKED".encode(), (job_id,))
        return taken.rowcount == 1


async def test_a_claim_that_waits_for_the_quotas_has_locked_no_job(
    store: Store, postgres_url: str
) -> None:
    local = await store.users.get("local")
    soon = NOW + timedelta(seconds=1)
    job = await added(store, due_at=soon)  # to be marked as due by the claim
    limited = replace(local, quota=Quota(running=5), version=local.version + 1)
    await store.users.save(limited, its_event(job))

    async with locked(postgres_url, QUOTAS):
        claim = asyncio.create_task(store.leases.claim(Asker("w1"), soon, LEASE))
        await somebody_waits(postgres_url)
        free = await is_free(postgres_url, job.id)

    assert await claim is not None
    assert free


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


async def test_a_change_that_waits_for_its_job_has_not_locked_the_events(
    store: Store, postgres_url: str
) -> None:
    job = await added(store)
    paused, event = job.moved(Move.PAUSE, NOW, actor="local")
    database = PostgresDatabase(make_url(postgres_url))

    async with locked(postgres_url, ROW, job.id):
        work = partial(_changed, job=paused, event=event, before=job)
        saved = asyncio.create_task(database.write(work))
        await somebody_waits(postgres_url)
        free = await gets(postgres_url, EVENTS)
    await saved
    await database.close()

    assert (await store.jobs.get(job.id)).job == paused
    assert free


def _changed(conn: Connection, job: Job, event: Event, before: Job) -> None:
    change(conn, job, event, before=before)


async def test_a_submit_that_waits_for_its_id_has_not_locked_the_events(
    store: Store, postgres_url: str
) -> None:
    await added(store)
    new = a_job()

    async with locked(postgres_url, COPY, new.id):
        adding = asyncio.create_task(store.jobs.add(new, its_event(new)))
        await somebody_waits(postgres_url)
        free = await gets(postgres_url, EVENTS)
    with pytest.raises(Conflict):
        await adding

    assert free
