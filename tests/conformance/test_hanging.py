"""A process that hangs in the midst of a transaction on Postgres does not hold others up."""

import asyncio
import sys
import time

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Connection, make_url, text

from crawlyard import Settings, Yard
from crawlyard.errors import StoreUnavailable
from crawlyard.store.admin.place import DatabaseLocation, reading
from crawlyard.store.db.postgres import PostgresDatabase, longest_idle_s
from crawlyard.store.open import open_sql_store
from tests.builders import a_job, its_event
from tests.conformance.steps import database_of

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


LONGEST_IDLE = text(
    "SELECT setting::int / 1000 FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'"
)


def test_a_transaction_may_be_idle_for_as_long_as_leases_allow() -> None:
    for lease_s, idle_s in ((6, 3), (8, 5), (20, 17), (600, 30)):
        assert longest_idle_s(lease_s) == idle_s


async def test_the_setting_of_leases_says_how_long_a_transaction_may_be_idle(
    postgres_url: str,
) -> None:
    async with Yard.open(Settings(database_url=postgres_url, lease_s=11)) as yard:
        database = yard.store.jobs._database
        assert await database.read(lambda conn: conn.scalar(LONGEST_IDLE)) == 8


async def test_a_store_that_is_opened_without_settings_goes_by_their_defaults(
    postgres_url: str,
) -> None:
    store = await open_sql_store(postgres_url)
    try:
        limit_s = await database_of(store).read(lambda conn: conn.scalar(LONGEST_IDLE))
    finally:
        await store.close()

    assert limit_s == longest_idle_s(Settings().lease_s)


def test_a_copy_is_not_ended_by_a_limit_of_its_database_while_it_waits(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        name = sql.Identifier(admin.info.dbname)
        limit = sql.SQL("ALTER DATABASE {} SET idle_in_transaction_session_timeout = '5s'")
        admin.execute(limit.format(name))

    with reading(DatabaseLocation.of(postgres_url)) as source, source.transaction() as connection:
        assert connection.scalar(LONGEST_IDLE) == 0


async def test_a_transaction_ended_by_the_server_raises_its_error(
    postgres_url: str,
) -> None:
    database = PostgresDatabase(make_url(postgres_url), lease_s=3.1)
    leave = text("SELECT pg_terminate_backend(pg_backend_pid())")
    attempts = 0

    def starve(conn: Connection) -> None:
        nonlocal attempts
        attempts += 1
        conn.execute(text("SELECT 1"))
        time.sleep(0.3)  # of 0.1 s
        conn.execute(text("SELECT 2"))

    try:
        with pytest.raises(StoreUnavailable, match=r"sent nothing for too long: its machine is"):
            await database.write(starve)
        with pytest.raises(StoreUnavailable, match=r"ended the connection: terminating connection"):
            await database.write(lambda conn: conn.execute(leave).close())
    finally:
        await database.close()
    assert attempts == 3
