"""Polls of a store at rest: what was found is found again, but nothing that is new is missed."""

import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection

from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.errors import StoreUnavailable
from crawlyard.store.db.database import SqliteDatabase
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_job
from tests.conformance.conftest import Backend
from tests.conformance.steps import added, claimed, requeued

SOON = NOW + timedelta(seconds=1)


class Question:
    """A count query that counts its own runs."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, conn: Connection, above: int = 0) -> int:
        self.runs += 1
        count = conn.exec_driver_sql("SELECT count(*) FROM t WHERE n > ?", (above,)).scalar()
        assert isinstance(count, int)
        return count


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    new_database = SqliteDatabase(tmp_path / "yard.db", busy_timeout=timedelta(milliseconds=50))
    await new_database.create()
    await new_database.write(lambda c: c.exec_driver_sql("CREATE TABLE t (n INTEGER UNIQUE)"))
    yield new_database
    await new_database.close()


def adds(conn: Connection) -> None:
    conn.exec_driver_sql("INSERT INTO t VALUES (7)")


def fails(conn: Connection) -> None:
    adds(conn)
    raise RuntimeError("undone")


async def test_a_cached_query_runs_again_only_after_a_write(
    database: SqliteDatabase,
) -> None:
    count = Question()
    assert [await database.read_cached(count) for _ in range(3)] == [0, 0, 0]
    assert count.runs == 1

    await database.write(adds)

    assert [await database.read_cached(count) for _ in range(3)] == [1, 1, 1]
    assert count.runs == 2


async def test_what_another_process_writes_is_seen_at_once(
    database: SqliteDatabase, tmp_path: Path
) -> None:
    count = Question()
    assert await database.read_cached(count) == 0
    other = sqlite3.connect(tmp_path / "yard.db", isolation_level=None)

    other.execute("INSERT INTO t VALUES (7)")
    other.close()

    assert await database.read_cached(count) == 1


async def test_each_question_has_its_own_answer(database: SqliteDatabase) -> None:
    count, other = Question(), Question()
    await database.write(adds)

    assert [await database.read_cached(count, above) for above in (6, 7, 6, 7)] == [1, 0, 1, 0]
    assert await database.read_cached(other) == 1
    assert (count.runs, other.runs) == (2, 1)


async def test_what_was_undone_changes_no_answer(database: SqliteDatabase) -> None:
    count = Question()
    assert await database.read_cached(count) == 0

    with pytest.raises(RuntimeError, match="undone"):
        await database.write(fails)

    assert await database.read_cached(count) == 0


async def test_what_is_written_while_a_question_is_answered_is_not_taken_for_known(
    database: SqliteDatabase, tmp_path: Path
) -> None:
    count = Question()

    def slow(conn: Connection) -> int:
        rows_before = count(conn)
        if count.runs == 1:
            other = sqlite3.connect(tmp_path / "yard.db", isolation_level=None)
            other.execute("INSERT INTO t VALUES (7)")
            other.close()
        return rows_before

    assert await database.read_cached(slow) == 0
    assert await database.read_cached(slow) == 1


async def test_a_file_that_somebody_has_locked_is_waited_for_beside_the_loop(
    database: SqliteDatabase, tmp_path: Path
) -> None:
    count = Question()
    assert await database.read_cached(count) == 0
    await database.close()
    alone = sqlite3.connect(tmp_path / "yard.db", isolation_level=None)
    alone.execute("PRAGMA locking_mode=EXCLUSIVE")
    alone.execute("INSERT INTO t VALUES (7)")
    again = SqliteDatabase(tmp_path / "yard.db", busy_timeout=timedelta(milliseconds=50))

    with pytest.raises(StoreUnavailable):
        await again.read_cached(count)
    alone.close()

    assert await again.read_cached(count) == 1
    await again.close()


async def test_after_a_claim_in_vain_a_job_of_another_process_is_claimed(
    store: Store, backend: Backend
) -> None:
    for _ in range(3):
        assert await store.leases.claim(Asker("w"), NOW, LEASE) is None
    other = await backend.open()
    job = await added(other)

    claim = await store.leases.claim(Asker("w"), NOW, LEASE)

    assert claim is not None
    assert claim.job.id == job.id
    if backend.sql:
        await other.close()


async def test_after_a_claim_in_vain_a_job_is_claimed_once_it_is_due(store: Store) -> None:
    job = await added(store, a_job(due_at=SOON))
    for _ in range(3):
        assert await store.leases.claim(Asker("w"), NOW, LEASE) is None

    claim = await store.leases.claim(Asker("w"), SOON, LEASE)

    assert claim is not None
    assert claim.job.id == job.id


async def test_after_a_claim_in_vain_a_job_that_lost_its_worker_is_claimed(store: Store) -> None:
    claim = await claimed(store)
    for _ in range(2):
        assert await store.leases.claim(Asker("w2"), NOW, LEASE) is None
        assert await store.leases.take_back(NOW, (), requeued) == []

    [lost] = await store.leases.take_back(NOW + LEASE, (), requeued)
    again = await store.leases.claim(Asker("w2"), lost.due_at, LEASE)

    assert again is not None
    assert again.job.id == claim.job.id


async def test_the_last_event_is_current_whichever_process_wrote_it(
    store: Store, backend: Backend
) -> None:
    other = await backend.open()
    seqs = []
    for teller in (store, other, store, other):
        await added(teller)
        seqs.append(await store.events.last())
        assert await store.events.last() == seqs[-1]

    assert len(set(seqs)) == 4
    assert [await each.events.last() for each in (store, other)] == [seqs[-1]] * 2
    if backend.sql:
        await other.close()
