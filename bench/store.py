"""A large yard: lists and counts of many jobs, a long frontier, and an idle server.

    python -m bench.store jobs --postgres URL
    python -m bench.store frontier --postgres URL
    python -m bench.store idle --postgres URL
    python -m bench.store bulk --postgres URL

Each measures on SQLite, and with a URL on Postgres, whose data is deleted. Progress goes
to stderr, tables to stdout. Small: `jobs --jobs 10000`, `frontier --urls 100000`,
`idle --jobs 1000 --schedules 100 --seconds 5`. Needs the extra `bench`.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy.engine import make_url

from bench import store_bulk, store_frontier, store_idle
from bench.databases import empty_database
from bench.store_jobs import fill, submitted_per_s
from bench.store_queries import TimedQuestion, middle_of, plan, questions, time_question
from crawlyard.config import Settings
from crawlyard.store.db.database import Database, SqliteDatabase
from crawlyard.store.db.postgres import PostgresDatabase
from crawlyard.yard import Yard

_GOAL_MS = 50.0
_MOST_S = 5.0  # for one question that is slow


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.store",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=list(_MEASURES))
    parser.add_argument("--postgres", default="", help="URL of a database; all in it is deleted")
    parser.add_argument("--folder", type=Path, help="for files of SQLite")
    parser.add_argument(
        "--jobs", type=int, default=0, help="else 1,000,000; 100,000 at rest; 10,000 in bulk"
    )
    parser.add_argument("--rounds", type=int, default=11, help="of each question")
    parser.add_argument("--only", default="", help="questions with this in their name")
    parser.add_argument("--plans", action="store_true", help="how each question is answered")
    parser.add_argument("--submitted", type=int, default=300, help="jobs, to tell the rate")
    parser.add_argument("--urls", type=int, default=10_000_000, help="that a job knows")
    parser.add_argument("--spread", type=int, default=0, help="shards of that job")
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="of rest")
    return parser.parse_args()


async def _jobs(options: argparse.Namespace, settings: Settings, database: Database) -> str:
    """Return how long questions take, and how fast jobs are submitted before and after."""
    count = options.jobs or 1_000_000
    async with Yard.open(settings) as yard:
        few = await submitted_per_s(yard, options.submitted)
        await fill(yard, database, count)
        rows: list[TimedQuestion] = []
        middle, day = await middle_of(database)
        for name, ask in questions(yard, middle, day):
            if options.only in name:
                rows.append(await time_question(name, ask, options.rounds, _MOST_S))
                sys.stderr.write(f"{rows[-1].median_ms:9.1f} ms  {name}\n")
                if options.plans:
                    sys.stderr.write(f"{await plan(database, rows[-1])}\n")
        many = await submitted_per_s(yard, options.submitted)
    slow = sum(row.median_ms > _GOAL_MS for row in rows)
    lines = [f"| {r.name} | {r.found:,} | {r.median_ms:.1f} | {max(r.ms):.1f} |" for r in rows]
    head = f"| {count:,} jobs | found | median ms | most |\n|---|---|---|---|\n"
    rates = f"submitted/s with none: {few:,.0f}; with {count:,}: {many:,.0f}"
    return head + "\n".join(lines) + f"\n\n{slow} of {len(rows)} above {_GOAL_MS:.0f} ms; {rates}\n"


async def _frontier(options: argparse.Namespace, settings: Settings, database: Database) -> str:
    log = settings.data_dir / "worker.log"
    result = await store_frontier.resume(
        settings, database, options.urls, log, spread=options.spread
    )
    return store_frontier.HEAD + f"| {result.table_row()} |\n"


async def _idle(options: argparse.Namespace, settings: Settings, database: Database) -> str:
    log, jobs = settings.data_dir / "server.log", options.jobs or 100_000
    result = await store_idle.idle(
        settings, database, options.schedules, jobs, options.seconds, log
    )
    return store_idle.HEAD + f"| {result.table_row()} |\n"


async def _bulk(options: argparse.Namespace, settings: Settings, database: Database) -> str:
    """Return how long it takes to do something to many jobs."""
    count = options.jobs or 10_000
    async with Yard.open(settings) as yard:
        rows = await store_bulk.act_on_many(yard, database, count)
    return store_bulk.HEAD.format(count=count) + "\n".join(rows) + "\n"


_Measure = Callable[[argparse.Namespace, Settings, Database], Awaitable[str]]

_MEASURES: Mapping[str, _Measure] = {
    "jobs": _jobs,
    "frontier": _frontier,
    "idle": _idle,
    "bulk": _bulk,
}


@asynccontextmanager
async def empty_store(url: str, folder: Path | None) -> AsyncIterator[tuple[Settings, Database]]:
    """Yield settings of a new yard and its database: a file, or the database at *url*, emptied."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as path:
        settings = Settings(data_dir=Path(path), database_url=url)
        database: Database
        if url:
            await empty_database(url)
            database = PostgresDatabase(make_url(url), connections=2)
        else:
            database = SqliteDatabase(Path(path) / "crawlyard.db")
        try:
            yield settings, database
        finally:
            await database.close()


def stores(options: argparse.Namespace) -> Sequence[tuple[str, str]]:
    """Return the names and URLs of what is measured on; an empty one is a file."""
    return [("SQLite", "")] + ([("Postgres", options.postgres)] if options.postgres else [])


async def _main() -> None:
    options = _options()
    for name, url in stores(options):
        async with empty_store(url, options.folder) as (settings, database):
            report = await _MEASURES[options.what](options, settings, database)
        load = os.getloadavg()[0]
        sys.stdout.write(f"{name}, load {load:.1f}\n\n{report}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_main())
