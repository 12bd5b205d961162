"""Writing on SQLite: what is asked while the disk is waited for shares a transaction."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import IntegrityError, OperationalError

from crawlyard.core.jobs.lifecycle import State
from crawlyard.errors import Conflict
from crawlyard.store.db.connection import gather
from crawlyard.store.db.database import SqliteDatabase
from crawlyard.store.db.group_commit import MOST
from tests.builders import a_job


class Disk:
    """A database whose writer can be held up, so that work gathers behind it."""

    def __init__(self, path: Path) -> None:
        self.wakeups = 0  # calls of the callback for due work
        self.commits = 0
        self.database = SqliteDatabase(path, on_due=self._after)
        self._free = threading.Event()
        self._blocked = threading.Event()
        event.listen(self.database._write_engine, "commit", self._committed)

    async def hold(self) -> "asyncio.Future[Any]":
        """Let all that is asked from now on wait for `go_on`."""

        def waits(_: Connection) -> None:
            self._blocked.set()
            self._free.wait(10)

        first = asyncio.ensure_future(self.database.write(waits))
        assert await asyncio.to_thread(self._blocked.wait, 10)
        self.commits = 0
        return first

    async def together(self, *works: Callable[[Connection], Any]) -> list[Any]:
        """Return what came of works that were all asked while one was written."""
        is_blocked = await self.hold()
        writes = [asyncio.ensure_future(self.database.write(work)) for work in works]
        await asyncio.sleep(0)  # each has been asked
        self._free.set()
        came = await asyncio.gather(*writes, return_exceptions=True)
        await is_blocked
        return came

    async def numbers(self) -> list[int]:
        """Return what is written."""
        rows = await self.database.read(lambda c: c.exec_driver_sql("SELECT n FROM t").all())
        return [n for (n,) in rows]

    def _after(self) -> None:
        self.wakeups += 1

    def _committed(self, _: Connection) -> None:
        self.commits += 1


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[Disk]:
    new_disk = Disk(tmp_path / "yard.db")
    await new_disk.database.create()
    await new_disk.database.write(lambda c: c.exec_driver_sql("CREATE TABLE t (n INTEGER UNIQUE)"))
    yield new_disk
    await new_disk.database.close()


def adds(number: int) -> Callable[[Connection], int]:
    def work(conn: Connection) -> int:
        conn.exec_driver_sql("INSERT INTO t VALUES (?)", (number,))
        return number

    return work


def fails_with(error: Exception, number: int) -> Callable[[Connection], None]:
    def work(conn: Connection) -> None:
        adds(number)(conn)
        gather(conn, a_job())
        raise error

    return work


async def test_writes_queued_during_another_write_share_one_commit(disk: Disk) -> None:
    came = await disk.together(*(adds(n) for n in range(MOST)))

    assert came == list(range(MOST))
    assert disk.commits == 2  # one commit of the blocking write, one of the group


async def test_no_more_than_a_group_keeps_other_processes_waiting(disk: Disk) -> None:
    await disk.together(*(adds(n) for n in range(MOST + 1)))

    assert disk.commits == 3
    assert await disk.numbers() == list(range(MOST + 1))


async def test_each_sees_what_those_before_it_wrote(disk: Disk) -> None:
    def counts(conn: Connection) -> int:
        count: int = conn.exec_driver_sql("SELECT count(*) FROM t").scalar_one()
        return count

    assert await disk.together(counts, adds(1), counts, adds(2), counts) == [0, 1, 1, 2, 2]


async def test_a_failed_write_leaves_the_rest_of_its_group_intact(disk: Disk) -> None:
    came = await disk.together(adds(1), fails_with(Conflict("moved on"), 2), adds(1), adds(3))

    assert [type(answer) for answer in came] == [int, Conflict, IntegrityError, int]
    assert await disk.numbers() == [1, 3]
    assert disk.commits == 2


async def test_where_the_database_undoes_everything_each_is_written_by_itself(disk: Disk) -> None:
    def breaks(conn: Connection) -> None:
        # as SQLite does by itself where it is short of room or memory
        conn.exec_driver_sql("ROLLBACK")
        raise OperationalError("INSERT", None, sqlite3.OperationalError("out of memory"))

    came = await disk.together(adds(1), breaks, adds(2))

    assert [type(answer) for answer in came] == [int, OperationalError, int]
    assert await disk.numbers() == [1, 2]


async def test_a_failed_commit_is_an_error_only_for_its_own_writes(disk: Disk) -> None:
    await disk.database.write(
        lambda c: c.exec_driver_sql(
            "CREATE TABLE u (n INTEGER REFERENCES t (n) DEFERRABLE INITIALLY DEFERRED)"
        )
    )

    def orphan(conn: Connection) -> None:
        conn.exec_driver_sql("INSERT INTO u VALUES (9)")

    came = await disk.together(adds(1), orphan)

    assert [type(answer) for answer in came] == [int, IntegrityError]
    assert await disk.numbers() == [1]
    assert await disk.database.write(adds(2)) == 2


async def test_workers_are_notified_once_per_group_and_not_of_failures(disk: Disk) -> None:
    def due(conn: Connection) -> None:
        gather(conn, a_job(state=State.PENDING))

    await disk.together(fails_with(Conflict("moved on"), 1), adds(2))
    told_of_failed = disk.wakeups
    await asyncio.gather(disk.database.write(due), disk.database.write(adds(3)))

    assert told_of_failed == 0
    assert disk.wakeups == 1


async def test_a_write_whose_caller_is_cancelled_is_still_written(disk: Disk) -> None:
    release = await disk.hold()
    write = asyncio.ensure_future(disk.database.write(adds(1)))
    await asyncio.sleep(0)
    write.cancel()

    disk._free.set()
    await release
    await disk.database.write(adds(2))

    assert await disk.numbers() == [1, 2]
