"""Space freed by a purge: measured on disk and reported."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from crawlyard.core.purge_result import PurgeResult
from crawlyard.store.open import open_sql_store
from crawlyard.store.store import Store
from tests.conformance.purging import deleted, purged, with_pages
from tests.conformance.steps import stored


@pytest.fixture
def file(sqlite_template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(sqlite_template, tmp_path))


@pytest.fixture
async def store(file: Path) -> AsyncIterator[Store]:
    opened = await open_sql_store(file)
    yield opened
    await opened.close()


def pragma(file: Path, name: str) -> object:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


def on_disk(file: Path) -> int:
    return file.stat().st_size


async def test_the_file_shrinks_by_what_is_said_while_others_have_it_open(
    store: Store, file: Path
) -> None:
    claim, crawl = await with_pages(store, 400, size=10_000), await with_pages(store, 5)
    other = await open_sql_store(file)
    pragma(file, "wal_checkpoint(PASSIVE)")
    before = on_disk(file)
    await deleted(store, claim.job)

    freed = sum(await purged(store), PurgeResult())

    assert freed.bytes == before - on_disk(file) > 400 * 10_000
    assert freed.reusable == 0
    assert pragma(file, "integrity_check") == "ok"
    assert len(await stored(other, crawl.job.id)) == 5
    await other.close()


async def test_free_space_is_released_in_steps_of_a_fixed_number_of_pages(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crawlyard.store.crawl.purge.MOST_PAGES", 50)
    await deleted(store, (await with_pages(store, 100, size=10_000)).job)

    steps = await purged(store)

    freed_bytes = [freed.bytes for freed in steps if not freed.rows]
    assert len(freed_bytes) > 5
    assert (
        max(freed_bytes) <= 51 * 4096
    )  # with one of the pages in which SQLite notes who uses which


async def test_space_left_by_a_killed_janitor_is_released_by_the_next(
    store: Store, file: Path
) -> None:
    await deleted(store, (await with_pages(store, 100, size=10_000)).job)
    while (await store.upkeep.purge()).rows:
        pass
    await store.close()
    again = await open_sql_store(file)

    await purged(again)

    await again.close()
    assert pragma(file, "freelist_count") == 0


async def test_a_reader_in_its_way_is_not_waited_for(store: Store, file: Path) -> None:
    claim = await with_pages(store, 100, size=10_000)
    pragma(file, "wal_checkpoint(PASSIVE)")
    with closing(sqlite3.connect(file, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        before = reader.execute("SELECT count(*) FROM pages").fetchone()
        await deleted(store, claim.job)

        freed = sum(await purged(store), PurgeResult())

        assert freed.bytes > 100 * 10_000
        assert reader.execute("SELECT count(*) FROM pages").fetchone() == before
    large = on_disk(file)
    await store.upkeep.purge()
    assert on_disk(file) < large


@pytest.mark.postgres
async def test_a_job_that_another_janitor_purges_is_left_to_it(postgres_url: str) -> None:
    store = await open_sql_store(postgres_url)
    their_job, ours = await with_pages(store, 10), await with_pages(store, 10)
    for claim in (their_job, ours):
        await deleted(store, claim.job)
    other = await psycopg.AsyncConnection.connect(postgres_url)
    await other.execute("SELECT 1 FROM jobs WHERE no = %s FOR UPDATE", [their_job.lease.job_no])

    async with asyncio.timeout(60):
        while_locked = sum(await purged(store), PurgeResult())
    await other.rollback()  # a lock outlives the end of its connection for a moment
    await other.close()
    then = sum(await purged(store), PurgeResult())

    await store.close()
    assert while_locked.rows == then.rows >= 10 + 10 + 10


@pytest.mark.postgres
async def test_postgres_says_how_much_can_be_used_again(postgres_url: str) -> None:
    store = await open_sql_store(postgres_url)
    await deleted(store, (await with_pages(store, 200, size=10_000)).job)

    freed = sum(await purged(store), PurgeResult())

    await store.close()
    assert freed.bytes == 0
    assert 200 * 10_000 < freed.reusable < 200 * 11_000
