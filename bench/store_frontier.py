# psutil is of the extra `bench` and without types: only numbers come from it.
# mypy: disable-error-code="import-not-found,import-untyped"
"""A job that goes on with millions of known URLs: when it sends its first request, and its room.

The URLs are made by the database; the job is run by a worker process, from its start. If it is
spread, the worker has one of its shards.
"""

import asyncio
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
from sqlalchemy import Connection, text
from tests.jobs import submit

from bench.workers import command, environment
from crawlyard.config import Settings
from crawlyard.core.jobs.spec import JobSpec, Scope, TextMode
from crawlyard.core.jobs.spread import bucket_of
from crawlyard.store.db.database import Database
from crawlyard.yard import Yard

_PORTION = 500_000
_WAITING = 9  # of ten URLs; the others were fetched
_CACHE_KIB = 2_000_000  # for filling alone
_LATER = 4_000  # pages after the first until memory is looked at again
_PATIENCE_S = 300.0
_BODY = b"<title>A page</title><p>without links"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (
    len(_BODY),
    _BODY,
)
_NO_ROBOTS = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"

# As new URLs come: their fingerprints are in no order.
_FILL = """
INSERT INTO frontier
  (job_no, fp, url, host, depth, via, parent_fp, hops, state, tries, rule, bucket)
WITH RECURSIVE numbers(n) AS (
  SELECT CAST({first} AS bigint) UNION ALL SELECT n + 1 FROM numbers WHERE n < {last}
)
SELECT {no}, {fp}, 'http://' || {host} || '/section-' || (n % 1000) || '/a-page-of-the-site-' || n
  || '.html', {host}, 1 + n / 1000000, 'link', {parent}, 0,
  CASE WHEN n % 10 < {waiting} THEN 0 ELSE 1 END,
  0, '', {bucket}
FROM numbers
"""
_HOSTS = 61  # of a job that is spread; no divisor of what else is made of the number of a URL
_RANDOM = {
    "sqlite": ("random()", "random()"),
    "postgresql": (
        "hashint8extended(n, 1)",
        "hashint8extended(n, 2)",
    ),
}


@dataclass(slots=True)
class LinklessSite:
    """A site whose pages have no links; it notes when it was asked for them."""

    port: int = 0
    requests: int = 0
    first_at: float | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer all requests of a connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b" /robots.txt " in head.partition(b"\r\n")[0]:
                    writer.write(_NO_ROBOTS)
                    continue
                self.requests += 1
                if self.first_at is None:
                    self.first_at = time.monotonic()
                writer.write(_ANSWER)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            writer.close()

    async def until(self, pages: int, worker: "subprocess.Popen[bytes]") -> None:
        """Return once so many pages were asked for.

        Raises:
            RuntimeError: they were not, or the worker has ended.
        """
        end = time.monotonic() + _PATIENCE_S
        while self.requests < pages:
            if worker.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the worker asked for {self.requests} pages, not {pages}")
            await asyncio.sleep(0.02)


@dataclass(frozen=True, slots=True)
class Resumed:
    """Cost of resuming a job."""

    urls: int
    bytes_on_disk: int
    first_request_s: float  # from the start of the process
    idle_bytes: int  # of a worker without a job, resident
    peak_bytes: int  # up to the first request, resident
    first_bytes: int  # at the first request
    later_bytes: int  # after more pages
    pages: int  # fetched between the two memory readings

    def table_row(self) -> str:
        """Return a Markdown row: URLs, memory and time, in the units of the table."""
        millions = self.urls / 1e6
        mb_per_million = (self.first_bytes - self.idle_bytes) / millions / 1e6
        peak = (self.peak_bytes - self.idle_bytes) / millions / 1e6
        a_page = (self.later_bytes - self.first_bytes) / self.pages
        return (
            f"{self.urls:,} | {self.first_request_s:.1f} | {self.bytes_on_disk / 1e9:.2f} | "
            f"{mb_per_million:.0f} | {peak:.0f} | {a_page:,.0f}"
        )


HEAD = (
    "| known URLs | first request after s | GB on disk | MB a million | at its peak "
    "| bytes a page |\n|---|---|---|---|---|---|\n"
)


@asynccontextmanager
async def _served() -> AsyncIterator[LinklessSite]:
    site = LinklessSite()
    everywhere = "0.0.0.0"  # noqa: S104 - all of 127.0.0.0/8 is wanted
    server = await asyncio.start_server(site.answer, everywhere, 0)
    async with server:
        site.port = server.sockets[0].getsockname()[1]
        yield site


async def resume(
    settings: Settings, database: Database, urls: int, log: Path, *, spread: int
) -> Resumed:
    """Fill the store with a job of so many URLs, and let a worker go on with it."""
    async with _served() as site:
        async with Yard.open(settings) as yard:
            spec = JobSpec(
                urls=(f"http://{_host(0, site.port)}/",),
                scope=Scope.ANY if spread else Scope.HOST,
                spread=spread,
                delay_s=0,
                per_host=16,
                text=TextMode.NONE,
                allow_private=True,
            )
            idle = await _idle(settings, log)
            job = await submit(yard, spec)
            no = await database.read(lambda conn: _number(conn, job.id))
            before = await yard.store.upkeep.size()
            hosts = [_host(n, site.port) for n in range(_HOSTS if spread else 1)]
            await _fill_frontier(settings, database, no, hosts, urls)
            on_disk = await yard.store.upkeep.size() - before
        return await _run(settings, site, urls, on_disk, idle, log)


async def _run(
    settings: Settings, site: LinklessSite, urls: int, on_disk: int, idle: int, log: Path
) -> Resumed:
    began = time.monotonic()
    worker = _worker(settings, log)
    try:
        peak = await _peak(site, worker)
        first = psutil.Process(worker.pid).memory_info().rss
        await site.until(_LATER, worker)
        first = max(first, psutil.Process(worker.pid).memory_info().rss)
        await site.until(2 * _LATER, worker)
        later = psutil.Process(worker.pid).memory_info().rss
    finally:
        worker.terminate()
        worker.wait()
    first_at = site.first_at or time.monotonic()
    return Resumed(urls, on_disk, first_at - began, idle, max(peak, first), first, later, _LATER)


async def _peak(site: LinklessSite, worker: "subprocess.Popen[bytes]") -> int:
    """Return the most memory that the worker has until its first request."""
    process, peak = psutil.Process(worker.pid), 0
    end = time.monotonic() + _PATIENCE_S
    while not site.requests:
        if worker.poll() is not None or time.monotonic() > end:
            raise RuntimeError("the worker has not asked for a page")
        peak = max(peak, process.memory_info().rss)
        await asyncio.sleep(0.02)
    return peak


async def _idle(settings: Settings, log: Path) -> int:
    """Return the memory of a worker that has nothing to do."""
    worker = _worker(settings, log)
    try:
        await asyncio.sleep(3)
        return int(psutil.Process(worker.pid).memory_info().rss)
    finally:
        worker.terminate()
        worker.wait()


def _worker(settings: Settings, log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as written:
        return subprocess.Popen(  # noqa: S603 - our own words
            command(),
            env=environment(settings),
            stdout=written,
            stderr=written,
        )


def _number(conn: Connection, job_id: str) -> int:
    rows = conn.execute(text("SELECT no FROM jobs WHERE id = :id"), {"id": job_id})
    return int(rows.scalar_one())


def _host(number: int, port: int) -> str:
    return f"127.0.0.{number + 1}:{port}"


async def _fill_frontier(
    settings: Settings, database: Database, no: int, hosts: list[str], urls: int
) -> None:
    spans = [(at, min(at + _PORTION, urls) - 1) for at in range(0, urls, _PORTION)]
    progress = (
        f"UPDATE shards SET discovered = {urls}, done = {urls - urls * _WAITING // 10}, "  # noqa: S608 - numbers
        f"seq = 1, recorded_at = 1 WHERE job_no = {no}"
    )
    if settings.database_url:
        for span in spans:
            fill = _fill("postgresql", no, hosts, span).replace("%", "%%")  # no placeholder
            await database.write(partial(Connection.exec_driver_sql, statement=fill))
        await database.write(lambda conn: conn.execute(text(progress)))
        await database.write(lambda conn: conn.execute(text("ANALYZE frontier")))
        return
    # not as the yard's own connections: with their cache this takes ten times as long
    file = settings.data_dir / "crawlyard.db"
    await asyncio.to_thread(
        _fill_file, file, [_fill("sqlite", no, hosts, s) for s in spans], progress
    )


def _fill(dialect: str, no: int, hosts: list[str], span: tuple[int, int]) -> str:
    fp, parent = _RANDOM[dialect]
    first, last = span
    host, bucket = f"'{hosts[0]}'", "NULL"
    if len(hosts) > 1:
        host = _case_by_number(f"'{host_name}'" for host_name in hosts)
        bucket = _case_by_number(str(bucket_of(host_name)) for host_name in hosts)
    columns = {"no": no, "fp": fp, "parent": parent, "host": host, "bucket": bucket}
    return _FILL.format(**columns, first=first, last=last, waiting=_WAITING)


def _case_by_number(values: Iterable[str]) -> str:
    """Return the expression for the one of *values* that the number of a URL chooses."""
    cases = " ".join(f"WHEN {n} THEN {value}" for n, value in enumerate(values))
    return f"CASE n % {_HOSTS} {cases} END"


def _fill_file(file: Path, fills: list[str], progress: str) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as conn:
        conn.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        conn.execute("PRAGMA synchronous=OFF")
        for statement in (*fills, progress):
            conn.execute(statement)
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
