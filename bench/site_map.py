"""The site map of a job with 100,000 pages: how long each level takes to count.

    python -m bench.site_map --postgres URL

It measures on SQLite, and with a URL on a Postgres, all of which is deleted. Beside the job
there is another of the same size, whose URLs were found in between. Tables go to stdout. Small:
`--pages 1000`. Needs the extra `bench`.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from pathlib import Path

from sqlalchemy import Connection, text

from bench.store import empty_store, stores
from crawlyard.core.access.user import LOCAL
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.store.db.database import Database
from crawlyard.yard import Yard

_LEVELS = ("", "docs.example.org/", "docs.example.org/section-3/", "docs.example.org/none/")
_RANDOM = {"sqlite": "random()", "postgresql": "hashint8extended(n, {no})"}

# Of five URLs, two were fetched, two wait and one was kept out; every hundredth has failed.
_FILL = """
INSERT INTO frontier
  (job_no, fp, url, host, depth, via, hops, state, tries, rule)
WITH RECURSIVE numbers(n) AS (
  SELECT CAST(1 AS bigint) UNION ALL SELECT n + 1 FROM numbers WHERE n < {urls}
)
SELECT CASE WHEN n % 2 = 0 THEN {no} ELSE {other} END, {fp},
  'https://docs.example.org/section-' || (n % 83) || '/part-' || (n % 997)
  || '/a-page-of-the-site-' || n || '.html', 'docs.example.org', 1 + n % 7, 'link', 0,
  CASE WHEN n % 200 = 0 THEN 2 WHEN n % 10 < 4 THEN 1 WHEN n % 10 < 8 THEN 0 ELSE 3 END, 0, ''
FROM numbers
"""


def _filled(conn: Connection, pages: int, numbers: tuple[int, int]) -> None:
    no, other = numbers
    fp = _RANDOM[conn.dialect.name].format(no=no)
    fill = _FILL.format(no=no, other=other, fp=fp, urls=pages * 5)
    conn.exec_driver_sql(fill.replace("%", "%%") if conn.dialect.name == "postgresql" else fill)


def _number(conn: Connection, job_id: str) -> int:
    found = conn.execute(text("SELECT no FROM jobs WHERE id = :id"), {"id": job_id})
    return int(found.scalar_one())


async def _measured(yard: Yard, database: Database, pages: int, rounds: int) -> str:
    """Return how long each level takes, in a table."""
    spec = JobSpec(urls=("https://docs.example.org/",))
    jobs = [await yard.jobs.submit(LOCAL, spec) for _ in range(2)]
    one, other = [
        await database.read(lambda conn, job=job: _number(conn, job.id))  # type: ignore[misc]
        for job in jobs
    ]
    await database.write(lambda conn: _filled(conn, pages, (one, other)))
    if database.name == "postgresql":
        await database.write(lambda conn: conn.execute(text("ANALYZE frontier")))
    told = ["| level | folders | URLs | ms at p50 | most |", "|---|---|---|---|---|"]
    for level in _LEVELS:
        took = []
        for _ in range(rounds):
            began = time.perf_counter()
            found = await yard.results.site_map(LOCAL, jobs[0].id, level)
            took.append((time.perf_counter() - began) * 1000)
        total = found.total
        urls = total.fetched + total.failed + total.waiting + total.redirected + total.skipped
        folders = len(found.folders) + found.unlisted
        cost = f"{statistics.median(took):.0f} | {max(took):.0f}"
        told.append(f"| {level or 'all'} | {folders:,} | {urls:,} | {cost} |")
    return "\n".join(told)


async def _main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.site_map",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--postgres", default="", help="URL of a database; all in it is deleted")
    parser.add_argument("--folder", type=Path, help="for files of SQLite")
    parser.add_argument("--pages", type=int, default=100_000, help="that were fetched")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    for name, url in stores(options):
        async with (
            empty_store(url, options.folder) as (settings, database),
            Yard.open(settings) as yard,
        ):
            told = await _measured(yard, database, options.pages, options.rounds)
        sys.stdout.write(f"{name}, load {os.getloadavg()[0]:.1f}\n\n{told}\n\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_main())
