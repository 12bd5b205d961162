"""The store on SQLite: what a disk, another process or a kill can do to it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, func, select
from sqlalchemy.exc import OperationalError

from crawlyard.core.crawl.page import Body, ErrorKind, Outcome, PageError, TargetState
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.errors import StoreFull, StoreUnavailable
from crawlyard.store.db import new_database as new_databases
from crawlyard.store.db.database import SqliteDatabase
from crawlyard.store.db.faults import store_error
from crawlyard.store.db.schema import bring_up
from crawlyard.store.open import open_sql_store
from crawlyard.store.queries import JobQuery
from crawlyard.store.store import Store
from crawlyard.store.tables.jobs import bodies
from tests.builders import NOW, a_batch, a_job, a_page, a_target, done, its_event
from tests.conformance.steps import added, claimed, ended, recorded

TEXT = {Body.TEXT: b"text"}
IMPATIENT = timedelta(milliseconds=50)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    new_database = SqliteDatabase(tmp_path / "yard.db", busy_timeout=IMPATIENT)
    await new_database.create()
    await bring_up(new_database, new_database.name)
    yield new_database
    await new_database.close()


@pytest.fixture
def store(database: SqliteDatabase) -> Store:
    return Store(database)


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("auto_vacuum", 2), ("foreign_keys", 1)],
)
async def test_no_acknowledged_write_is_lost_at_a_power_cut_and_the_file_can_shrink(
    database: SqliteDatabase, pragma: str, value: object
) -> None:
    for run in (database.read, database.write):
        assert await run(lambda c: c.exec_driver_sql(f"PRAGMA {pragma}").scalar()) == value


async def test_the_file_shrinks_when_a_job_is_purged(store: Store, tmp_path: Path) -> None:
    claim = await claimed(store)
    targets = [a_target(str(n)) for n in range(100)]
    html = {Body.HTML: bytes(range(256)) * 100}
    big = [done(t, {Body.HTML: html[Body.HTML] + t.url.encode()}) for t in targets]
    await recorded(store, claim.lease, a_batch(targets, big))
    event = its_event(claim.job, EventName.DELETED)
    await store.jobs.delete(claim.job.id, claim.job.version, event)
    pages = sqlite3.connect(tmp_path / "yard.db")
    before = pages.execute("PRAGMA page_count").fetchone()[0]

    while await store.upkeep.purge():
        pass

    after = pages.execute("PRAGMA page_count").fetchone()[0]
    free = pages.execute("PRAGMA freelist_count").fetchone()[0]
    pages.close()
    assert after < before
    assert free == 0


async def test_nothing_is_left_of_the_bodies_of_what_is_retried(
    database: SqliteDatabase, store: Store
) -> None:
    claim = await claimed(store)
    error = PageError(kind=ErrorKind.HTTP_4XX)
    failure = Outcome(a_target(), TargetState.FAILED, a_page(error=error), TEXT)
    answer = await recorded(store, claim.lease, a_batch([a_target()], [failure]))
    job = await ended(store, answer.lease)

    await store.jobs.retry_failed(*job.apply_move(Move.RETRY_FAILED, NOW, actor="ada"), [])

    assert await database.read(lambda c: c.scalar(select(func.count()).select_from(bodies))) == 0


async def test_a_lock_that_lasts_is_named_and_the_store_goes_on_when_it_is_gone(
    store: Store, tmp_path: Path
) -> None:
    other = sqlite3.connect(tmp_path / "yard.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    job = a_job()

    with pytest.raises(StoreUnavailable, match=r"yard\.db is locked by another process"):
        await store.jobs.add(job, its_event(job))
    readable = await store.jobs.find(JobQuery(), 1)
    other.execute("ROLLBACK")
    other.close()
    await store.jobs.add(job, its_event(job))

    assert readable == []
    assert [e.seq for e in await store.events.events()] == [1]


async def test_a_full_disk_is_named_and_the_transaction_leaves_nothing_behind(
    database: SqliteDatabase, store: Store
) -> None:
    claim = await claimed(store)
    targets = [a_target(str(n)) for n in range(300)]
    batch = a_batch(targets, [done(t) for t in targets])
    await database.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count=1"))

    with pytest.raises(StoreFull, match=r"yard\.db has no space left"):
        await recorded(store, claim.lease, batch)
    before = await store.jobs.get(claim.job.id)
    remaining = await store.frontier.load(claim.lease, 10, depth_first=False)
    await database.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count=1000000"))
    answer = await recorded(store, claim.lease, batch)

    assert (before.shard, remaining) == (claim.shard, [])
    assert answer.usage.pages == 300


async def test_a_file_that_may_only_be_read_is_named(tmp_path: Path) -> None:
    await (await open_sql_store(tmp_path / "yard.db")).close()
    engine = create_engine(f"sqlite:///file:{tmp_path}/yard.db?mode=ro&uri=true")

    with pytest.raises(OperationalError) as raised, engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM jobs")
    engine.dispose()

    assert str(store_error(raised.value, "the database yard.db")) == (
        "the database yard.db cannot be written; make the file and its folder writable"
    )


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("junk.db", "junk.db is not a SQLite database"),
        ("folder", "folder cannot be opened"),
        ("junk.db/yard.db", "yard.db cannot be used"),
    ],
)
async def test_what_cannot_be_opened_is_named(tmp_path: Path, where: str, message: str) -> None:
    (tmp_path / "junk.db").write_bytes(b"not a database, but a file of some length\n" * 100)
    (tmp_path / "folder").mkdir()

    with pytest.raises(StoreUnavailable, match=message):
        await open_sql_store(tmp_path / where)


async def test_a_sqlite_without_full_text_search_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.sql"
    other.write_text(new_databases.SQLITE.read_text("utf-8").replace("fts5", "fts9"), "utf-8")
    monkeypatch.setattr(new_databases, "SQLITE", other)

    with pytest.raises(StoreUnavailable, match="needs SQLite with FTS5"):
        await open_sql_store(tmp_path / "yard.db")


async def test_folders_are_made_on_the_way_to_the_file(tmp_path: Path) -> None:
    store = await open_sql_store(f"sqlite:///{tmp_path}/a/b/yard.db")
    await store.close()

    assert (tmp_path / "a" / "b" / "yard.db").is_file()


async def test_a_cancelled_caller_does_not_delay_other_writes(store: Store) -> None:
    jobs = [a_job() for _ in range(50)]
    tasks = [asyncio.ensure_future(store.jobs.add(job, its_event(job))) for job in jobs]
    await asyncio.sleep(0)  # let them begin
    for task in tasks:
        task.cancel()

    await asyncio.gather(*tasks, return_exceptions=True)
    job = await added(store)

    assert (await store.jobs.get(job.id)).job == job
    assert len(await store.events.events()) == 51


async def test_closing_waits_for_what_is_being_written(tmp_path: Path) -> None:
    store = await open_sql_store(tmp_path / "yard.db")
    jobs = [a_job() for _ in range(20)]
    tasks = [asyncio.ensure_future(store.jobs.add(job, its_event(job))) for job in jobs]
    await asyncio.sleep(0)  # let them begin

    await store.close()

    await asyncio.gather(*tasks)
    again = await open_sql_store(tmp_path / "yard.db")
    assert len(await again.jobs.find(JobQuery(), 100)) == 20
    await again.close()


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = await open_sql_store(tmp_path / "yard.db")
    await store.close()

    with pytest.raises(StoreUnavailable, match="has been closed"):
        await store.jobs.find(JobQuery(), 1)
