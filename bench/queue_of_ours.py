"""Crawlyard's queue, on SQLite and Postgres."""

import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from sqlalchemy import BigInteger, Connection, Text, cast, literal, select, text, type_coerce
from sqlalchemy import func as sql
from sqlalchemy.engine import make_url

from bench.queues import Queue, emptied, snapshot
from bench.store_jobs import tallied
from crawlyard.config import Settings
from crawlyard.core.access.user import LOCAL
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import DemoSite
from crawlyard.services.jobs.submission import Submission
from crawlyard.store.db.database import Database, SqliteDatabase
from crawlyard.store.db.postgres import PostgresDatabase
from crawlyard.store.tables.jobs import job_hosts, job_texts, jobs, shards
from crawlyard.yard import Yard

_LEASE = timedelta(minutes=10)
_OWNERS = 5  # of the jobs that wait; their levels differ as well
_LEVELS = 4


@dataclass(frozen=True, slots=True)
class Ours:
    """A yard on a database of which nothing is kept."""

    name: str
    embedded: bool
    folder: Path
    database_url: str = ""  # empty: SQLite

    @property
    def settings(self) -> Settings:
        """Return the settings of the yard."""
        return Settings(data_dir=self.folder, database_url=self.database_url, jobs=4)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Queue]:
        """Give the queue, empty."""
        await self._emptied()
        async with (
            SiteServer(DemoSite(pages=1, faults=False)) as site,
            Yard.open(self.settings) as yard,
        ):
            database = self._database()
            try:
                yield _Queue(yard, database, _spec(site.url))
            finally:
                await database.close()

    async def work(self, begun: Callable[[str], None]) -> None:
        """Run jobs; the line that a run writes first in the log is the first of the job."""
        logger = logging.getLogger("crawlyard.services.worker.run")
        handler = _FirstLines(begun)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            async with Yard.open(self.settings) as yard:
                await yard.worker().run()
        finally:
            logger.removeHandler(handler)

    def held(self) -> AbstractAsyncContextManager[None]:
        """Hold a reading transaction open."""
        return snapshot(self.database_url) if self.database_url else self._held_file()

    @asynccontextmanager
    async def _held_file(self) -> AsyncIterator[None]:
        with closing(sqlite3.connect(self.folder / "crawlyard.db", isolation_level=None)) as conn:
            conn.execute("BEGIN")
            conn.execute("SELECT count(*) FROM alembic_version").fetchall()
            yield

    def _database(self) -> Database:
        if self.database_url:
            return PostgresDatabase(make_url(self.database_url), connections=2)
        return SqliteDatabase(self.folder / "crawlyard.db")

    async def _emptied(self) -> None:
        if self.database_url:
            await emptied(self.database_url)
        else:
            for file in self.folder.glob("crawlyard.db*"):
                file.unlink()


def _spec(url: str) -> JobSpec:
    """Return a job of one page."""
    return JobSpec(urls=(f"{url}/",), allow_private=True, delay_s=0)


class _FirstLines(logging.Handler):
    def __init__(self, begun: Callable[[str], None]) -> None:
        super().__init__()
        self._begun = begun

    def emit(self, record: logging.LogRecord) -> None:
        if "begun" in record.msg and isinstance(record.args, tuple):
            self._begun(str(record.args[0]))


@dataclass(frozen=True, slots=True)
class _Queue:
    yard: Yard
    database: Database
    spec: JobSpec

    async def fill(self, waiting: int, *, due: bool) -> None:
        """Copy one job as often as is asked, by the database itself."""
        now = self.yard.clock.now()
        due_at = None if due else now + timedelta(days=1)
        job = await self.yard.jobs.submit(LOCAL, self.spec, start_at=due_at)
        await self.database.write(lambda conn: _multiply(conn, job.id, waiting - 1))

    async def add(self) -> str:
        """Submit a job as everybody does."""
        return (await self.yard.jobs.submit(LOCAL, self.spec)).id

    async def add_many(self, count: int) -> None:
        """Submit many by the call for it, each with a spec of its own."""
        wanted = [Submission(spec=replace(self.spec, name=f"job {n}")) for n in range(count)]
        for answer in await self.yard.jobs.submit_many(LOCAL, wanted):
            if isinstance(answer, Exception):
                raise answer

    async def take(self, taker: str) -> bool:
        """Claim a job."""
        now = self.yard.clock.now()
        return await self.yard.store.leases.claim(Asker(worker=taker), now, _LEASE) is not None


def _multiply(conn: Connection, job_id: str, copies: int) -> None:
    """Copy a job: the same but for id, owner, level, turn and place in the queue."""
    number = select(literal(1, BigInteger).label("n")).cte("numbers", recursive=True)
    number = number.union_all(select(number.c.n + 1).where(number.c.n < copies))
    n = number.c.n
    queued = type_coerce(jobs.c.queued_at, BigInteger) + n
    tail = sql.substr(cast(n + 1_000_000_000_000, Text), 2)
    other: dict[str, Any] = {
        "id": literal("01900000-0000-7000-8000-", Text) + tail,
        "tail": sql.substr(tail, 9),
        "dated": 0,
        "owner": literal("owner-", Text) + cast(n % _OWNERS, Text),
        "priority": n % _LEVELS,
        "level": n % _LEVELS,
        "turn": n // _OWNERS,
        "queued_at": type_coerce(queued, jobs.c.queued_at.type),
    }
    copied = [column for column in jobs.c if column.name != "no"]
    template = select(*(other.get(column.name, column) for column in copied)).select_from(
        jobs.join(number, literal(1) == 1)
    )
    names = [column.name for column in copied]
    conn.execute(jobs.insert().from_select(names, template.where(jobs.c.id == job_id)))
    own = [column for column in shards.c if column.name != "job_no"]
    first = jobs.alias("first")
    bare = (
        select(jobs.c.no, *own)
        .select_from(jobs.join(first, first.c.id == job_id))
        .join(shards, shards.c.job_no == first.c.no)
        .where(jobs.c.id != job_id)
    )
    conn.execute(shards.insert().from_select(["job_no", *(c.name for c in own)], bare))
    for table, name in ((job_hosts, "host"), (job_texts, "text")):
        its = table.join(first, (first.c.no == table.c.job_no) & (first.c.id == job_id))
        theirs = select(table.c[name], jobs.c.no).select_from(its.join(jobs, jobs.c.id != job_id))
        conn.execute(table.insert().from_select([name, "job_no"], theirs))
    tallied(conn)
    if conn.dialect.name == "postgresql":
        conn.execute(text("ANALYZE"))
