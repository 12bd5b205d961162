"""Throughput of many processes on a distant Postgres: ``python -m bench.fleet --postgres URL``.

A proxy in front of the server delays what passes, so that each answer takes a round trip of
``--round-trip-ms``. Beyond it, processes do one thing again and again, each on one connection:

- ``checkpoints``: processes whose jobs belong to one owner, and as many of an owner each, store a
  page a checkpoint;
- ``claims``: one process and many lease jobs; ``quota``: the same, while a user has a quota;
- ``submits``: one process and many submit jobs.

Sections may be named; without, all are measured. All in the database is deleted.
"""

import argparse
import asyncio
import multiprocessing
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier
from statistics import median, quantiles
from typing import NamedTuple

import psycopg
from msgspec.structs import replace
from sqlalchemy.engine import URL, make_url
from tests.builders import a_batch, a_job, a_target, done, its_event
from tests.distance import distant

from bench.databases import empty_database
from crawlyard.core.access.user import LOCAL, Quota
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.spec import Priority
from crawlyard.store.db.postgres import PostgresDatabase
from crawlyard.store.jobs.intake import add_jobs
from crawlyard.store.open import open_sql_store
from crawlyard.store.queries import Entrant
from crawlyard.store.store import Store

LEASE = timedelta(hours=1)
OWNERS = 5  # of the jobs that are claimed
A_SECOND = 40  # jobs for each claimer: more than it can lease


class Scenario(NamedTuple):
    """Work of several processes at once."""

    name: str
    work: str  # one of `WORK`
    owners: Sequence[str]  # of the jobs of each process
    quota: bool = False  # a user has one


class ScenarioResult(NamedTuple):
    """Durations and rate of one scenario."""

    run: Scenario
    seconds: Sequence[float]  # of each operation
    a_second: float  # operations of all processes


# --- what a process does

Once = Callable[[], Awaitable[object]]


async def checkpoint(store: Store, owner: str) -> Once:
    """Claim a job of its own, and store a page a checkpoint."""
    job = a_job(owner=owner)
    await store.jobs.add(job, its_event(job))
    claim = await store.leases.claim(Asker("bench", only=job.id), datetime.now(UTC), LEASE)
    if claim is None:
        raise RuntimeError("the job could not be claimed")
    lease, pages = claim.lease, 0

    async def once() -> None:
        nonlocal lease, pages
        target, pages = a_target(str(pages)), pages + 1
        entry = (lease, a_batch([target], [done(target)]))
        [answer] = await store.frontier.record([entry], datetime.now(UTC), LEASE)
        lease = answer.lease

    return once


async def claim(store: Store, _: str) -> Once:
    """Lease what is first in the queue."""

    async def once() -> None:
        if await store.leases.claim(Asker("bench"), datetime.now(UTC), LEASE) is None:
            raise RuntimeError("the queue is empty: fewer seconds, please")

    return once


async def submit(store: Store, owner: str) -> Once:
    """Return an action that adds one pending job, with its event."""

    async def once() -> None:
        job = a_job(owner=owner)
        entry = (job, its_event(job))
        await store.intake.enter(
            [Entrant(owner=owner, level=Priority.NORMAL, judge=lambda _: entry)]
        )

    return once


WORK: Mapping[str, Callable[[Store, str], Awaitable[Once]]] = {
    each.__name__: each for each in (checkpoint, claim, submit)
}


async def work(where: str, name: str, owner: str, seconds: float) -> tuple[list[float], float]:
    """Do one thing until the time is over; return how long each took, and when it began."""
    store = await open_sql_store(where)
    try:
        once = await WORK[name](store, owner)
        await once()  # statements are parsed, caches are warm
        await asyncio.to_thread(_barriers[0].wait)
        took: list[float] = []
        began = before = time.monotonic()
        while before < began + seconds:
            await once()
            took.append(time.monotonic() - before)
            before += took[-1]
        return took, before - began
    finally:
        await store.close()


def _run_work(where: str, name: str, owner: str, seconds: float) -> tuple[list[float], float]:
    return asyncio.run(work(where, name, owner, seconds))


_barriers: list[Barrier] = []  # in a process of the pool: where all wait for each other


def _begin(barrier: Barrier) -> None:
    _barriers.append(barrier)


# --- the runs


def runs(section: str, many: int) -> Sequence[Scenario]:
    """Return the runs of a section, which are compared with each other."""
    each = [f"owner{n}" for n in range(many)]
    match section:
        case "checkpoints":
            return (
                Scenario(f"checkpoints of {many} processes, an owner each", "checkpoint", each),
                Scenario(
                    f"checkpoints of {many} processes, one owner", "checkpoint", each[:1] * many
                ),
            )
        case "claims" | "quota":
            beside = ", while a user has a quota" if section == "quota" else ""
            return tuple(
                Scenario(f"claims of {n}{beside}", "claim", each[:n], quota=bool(beside))
                for n in (1, many)
            )
        case _:
            return tuple(Scenario(f"submits of {n}", "submit", each[:n]) for n in (1, many))


async def measure(url: URL, run: Scenario, options: argparse.Namespace) -> ScenarioResult:
    """Return what one run came to, on an empty database."""
    here = url.set(drivername="postgresql").render_as_string(hide_password=False)
    await empty_database(here)
    store = await open_sql_store(here)
    try:
        await prepare(store, url, run, options.seconds)
    finally:
        await store.close()
    context = multiprocessing.get_context("spawn")
    count = len(run.owners)
    loop = asyncio.get_running_loop()
    async with distant(url, options.round_trip_ms / 1000) as where:
        with ProcessPoolExecutor(count, context, _begin, (context.Barrier(count),)) as pool:
            each = [
                loop.run_in_executor(pool, _run_work, where, run.work, owner, options.seconds)
                for owner in run.owners
            ]
            results = await asyncio.gather(*each)
    rate = sum(len(took) / seconds for took, seconds in results)
    return ScenarioResult(run, [took_s for took, _ in results for took_s in took], rate)


async def prepare(store: Store, url: URL, run: Scenario, seconds: float) -> None:
    """Give claimers jobs, and a user a quota that holds nothing back."""
    if run.quota:
        local = await store.users.get(LOCAL.id)
        changed = replace(local, quota=Quota(running=10**6), version=local.version + 1)
        await store.users.save(changed, its_event(a_job()))
    if run.work != "claim":
        return
    owners = [LOCAL.id, *(f"owner{n}" for n in range(1, OWNERS))]
    count = int(len(run.owners) * seconds * A_SECOND)
    jobs = [a_job(owner=owners[n % OWNERS]) for n in range(count)]
    database = PostgresDatabase(url)
    await database.write(lambda conn: add_jobs(conn, jobs))
    await database.close()
    async with await psycopg.AsyncConnection.connect(
        url.set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True
    ) as conn:
        await conn.execute("ANALYZE")


def table(results: Sequence[ScenarioResult]) -> str:
    """Return medians as a table, each rate beside that of the first run of its section."""
    lines = ["| | a second | times | p50 ms | p99 ms |", "|---|---|---|---|---|"]
    first = 0.0
    for run in dict.fromkeys(took.run.name for took in results):
        mine = [took for took in results if took.run.name == run]
        rate = median(took.a_second for took in mine)
        each = [took_s * 1000 for took in mine for took_s in took.seconds]
        first = first or rate
        p99 = quantiles(each, n=100)[98]
        lines.append(
            f"| {run} | {rate:.3g} | {rate / first:.2f} | {median(each):.0f} | {p99:.0f} |"
        )
    return "\n".join(lines) + "\n\n"


async def main() -> None:
    """Measure what the command line asks for, and write tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    sections = ("checkpoints", "claims", "quota", "submits")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(sections))
    parser.add_argument("--postgres", required=True, help="URL of a database; all in it is deleted")
    parser.add_argument("--round-trip-ms", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    if unknown := set(options.sections) - set(sections):
        parser.error(f"expected some of {', '.join(sections)}, got {', '.join(sorted(unknown))}")
    url = make_url(options.postgres)
    for section in options.sections or sections:
        many = 12 if section == "checkpoints" else 10
        results = []
        for _ in range(options.rounds):
            for run in runs(section, many):
                results.append(await measure(url, run, options))
                sys.stderr.write(f"{run.name}: {results[-1].a_second:.3g}/s\n")
        sys.stdout.write(table(results))
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
