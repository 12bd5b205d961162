"""The lock on the row of a spread job, for which all of its workers wait in turn."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, event, make_url

from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.store.db.postgres import PostgresDatabase
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_batch, a_spec, done
from tests.conformance.spread_rig import SHARDS, begun, joined, leave_shard, of, sent, targets
from tests.conformance.steps import added, moved
from tests.conformance.test_spread_edges import cut_into

pytestmark = pytest.mark.postgres

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[PostgresDatabase]:
    new_database = PostgresDatabase(make_url(postgres_url))
    yield new_database
    await new_database.close()


@pytest.fixture
def store(database: PostgresDatabase) -> Store:
    return Store(database)


@contextmanager
def statements_under_lock(database: PostgresDatabase) -> Iterator[list[list[str]]]:
    """Yield one list per lock on the row of a job: what its transaction sends before COMMIT."""
    transactions: list[list[str]] = []
    current: dict[Connection, list[str]] = {}

    def note(conn: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if conn in current:
            current[conn].append(statement)
        elif "FROM jobs" in statement and "FOR NO KEY UPDATE OF jobs" in statement:
            current[conn] = []
            transactions.append(current[conn])

    def end(conn: Connection) -> None:
        current.pop(conn, None)

    engine = database._engine.sync_engine
    listeners = (("before_cursor_execute", note), ("commit", end), ("rollback", end))
    for name, listener in listeners:
        event.listen(engine, name, listener)
    try:
        yield transactions
    finally:
        for name, listener in listeners:
            event.remove(engine, name, listener)


async def until_waiting(url: str, count: int) -> None:
    """Return once *count* transactions wait for a lock."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as observer:
        while (await (await observer.execute(WAITING)).fetchone()) != (count,):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_claim_sends_one_statement_under_the_lock_of_the_job(
    database: PostgresDatabase, store: Store
) -> None:
    with statements_under_lock(database) as first:
        claim = await begun(store)
    answer = await sent(store, claim.lease, a_batch(found=targets()))
    await moved(store, claim.job.id, Move.PAUSE)
    await sent(store, answer.lease, a_batch(last=True))
    await moved(store, claim.job.id, Move.RESUME)
    with statements_under_lock(database) as second:
        assert await store.leases.claim(Asker("w2"), NOW, LEASE) is not None

    # one transaction finds the job, one prepares its shards and then claims it
    assert [len(statements) for statements in (*first, *second)] == [1, 1, 1, 1]


async def test_a_job_that_is_whole_again_has_the_usage_of_its_shards(
    store: Store, postgres_url: str
) -> None:
    first = await begun(store)
    links = targets(of(first.lease.shard))
    answer = await sent(store, first.lease, a_batch(found=links))
    await moved(store, first.job.id, Move.PAUSE)
    with psycopg.connect(postgres_url) as other:  # the last checkpoint cannot add up the totals
        other.execute("SELECT FROM shards WHERE shard = 0 FOR NO KEY UPDATE")
        await sent(store, answer.lease, a_batch(outcomes=[done(links[0])], last=True))
    await cut_into(store, first.job.id, 0)

    whole = await store.leases.claim(Asker("w2", only=first.job.id), NOW, LEASE)

    assert whole is not None
    usage = (await store.jobs.get(first.job.id)).shard.usage
    assert (usage.pages, usage.discovered) == (1, len(links))
    assert whole.shard.usage == usage


async def test_a_job_that_changes_while_its_shards_are_prepared_is_claimed_as_it_is_then(
    database: PostgresDatabase, store: Store, postgres_url: str
) -> None:
    job = await added(store, spec=a_spec(spread=SHARDS))
    prepared: list[str] = []

    def edit(_conn: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO shards"):
            prepared.append(statement)
        if prepared == [statement]:
            with psycopg.connect(postgres_url) as other:
                other.execute("UPDATE jobs SET version = version + 1")

    event.listen(database._engine.sync_engine, "before_cursor_execute", edit)
    claim = await store.leases.claim(Asker("w1"), NOW, LEASE)

    assert claim is not None
    assert (len(prepared), claim.job.version) == (2, job.version + 2)
    assert claim.lease.attempt == 1  # shards prepared the first time are rolled back


async def test_workers_that_claim_at_the_same_time_get_different_jobs(store: Store) -> None:
    job_ids = {(await added(store, spec=a_spec(spread=SHARDS))).id for _ in range(3)}

    claims = await asyncio.gather(
        *(store.leases.claim(Asker(f"w{n}"), NOW, LEASE) for n in range(8))
    )

    assert sorted(claim.job.id for claim in claims if claim) == sorted(job_ids)


async def test_a_join_a_request_and_a_leave_send_one_statement_under_the_lock_of_the_job(
    database: PostgresDatabase, store: Store
) -> None:
    first = await begun(store)
    await sent(store, first.lease, a_batch(found=targets()))
    for _ in range(SHARDS - 1):
        second = await joined(store, "w1", NOW + LEASE / 2)
        assert second is not None
        last = second.lease

    with statements_under_lock(database) as ask:
        assert await store.spread.request_shard(Asker("w2"), NOW, 2)
    requested = [n for n, s in (await store.spread.shards(first.job.id)).items() if s.asked_by]
    with statements_under_lock(database) as leave:
        await leave_shard(store, last)
    with statements_under_lock(database) as join:
        assert await joined(store, "w2") is not None

    assert len(requested) == 2
    assert [len(statements) for statements in (*ask, *leave, *join)] == [1, 1, 1]


async def test_workers_that_wait_for_the_lock_see_what_those_before_them_have_taken(
    database: PostgresDatabase, store: Store, postgres_url: str
) -> None:
    first = await begun(store)
    await sent(store, first.lease, a_batch(found=targets()))

    with statements_under_lock(database) as transactions:
        async with await psycopg.AsyncConnection.connect(postgres_url) as other:
            await other.execute("SELECT FROM jobs FOR UPDATE")
            joining = [asyncio.create_task(joined(store, f"w{n}")) for n in (2, 3, 4)]
            await until_waiting(postgres_url, len(joining))
        claims = await asyncio.gather(*joining)

    assert {claim.lease.shard for claim in claims if claim} == {1, 2, 3, 4} - {first.lease.shard}
    # none has read stale shards and begun again
    assert [len(statements) for statements in transactions] == [1, 1, 1]
