"""A process that hangs in the midst of a transaction on Postgres does not hold others up."""

import asyncio
import sys

import pytest

from crawlyard.store.open import open_sql_store
from tests.builders import a_job, its_event

pytestmark = pytest.mark.postgres

HANG = """
import asyncio, sys, time
from sqlalchemy import text
from sqlalchemy.engine import make_url
from crawlyard.store.db.postgres import PostgresDatabase

def work(connection):
    connection.execute(text("LOCK TABLE new_events"))
    print("locked", flush=True)
    time.sleep(600)

asyncio.run(PostgresDatabase(make_url(sys.argv[1])).write(work))
"""


async def test_who_hangs_in_a_transaction_loses_it_before_a_lease_lapses(postgres_url: str) -> None:
    store = await open_sql_store(postgres_url)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HANG, postgres_url), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"locked\n"
        job = a_job()

        async with asyncio.timeout(30):
            await store.jobs.add(job, its_event(job))

        assert (await store.jobs.get(job.id)).job.id == job.id
    finally:
        process.kill()
        await process.wait()
        await store.close()
