"""Jobs a second of one worker process, each of a few pages: ``python -m bench.small_jobs``.

All jobs wait before the worker begins, and each has a few pages of a site of its own on one
of many loopback addresses. Claim, crawl, checkpoints and end are all in it. Every round begins
with an empty store; that each job has completed with all of its pages is looked at afterwards.
A small run: ``--jobs 50 --rounds 1``.
"""

import argparse
import asyncio
import json
import os
import resource
import shlex
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import uvloop
from tests.many_hosts import address

from bench.queues import emptied
from crawlyard import LOCAL, JobSpec, Settings, TextMode, Yard
from crawlyard.core.jobs.lifecycle import State
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import HTML, Answer
from crawlyard.store.queries import JobQuery

_AT_ONCE = 50  # submissions under way
_PORTION = 500  # jobs of one look at the results
_WORDS = "a page of a small site says little but it does say something to those who read it "


class SmallSites:
    """Sites of *pages* pages each at /SITE/PAGE; the first page of a site links to the others."""

    def __init__(self, pages: int) -> None:
        self.pages = pages

    def answer(self, method: str, path: str, host: str) -> Answer:  # noqa: ARG002 - all alike
        """Return a page of 2 kB, or 404: there is no robots.txt."""
        site, _, page = path.removeprefix("/").partition("/")
        if not (site.isdigit() and page.isdigit() and int(page) < self.pages):
            return Answer(404)
        to = range(1, self.pages) if page == "0" else (0,)
        links = "".join(f'<li><a href="/{site}/{n}">page {n}</a></li>' for n in to)
        body = (
            f'<!doctype html><html lang="en"><title>{path}</title>'
            f"<h1>{path}</h1><ul>{links}</ul><p>{_WORDS * 20}</p></html>"
        )
        return Answer(200, (("Content-Type", HTML),), body.encode())


@dataclass(frozen=True, slots=True)
class Round:
    """All jobs, once."""

    jobs: int
    seconds: float  # from the first claim to the last end
    cpu_s: float  # user and system, of the worker process while it worked
    took_ms: Sequence[float]  # of each job, from its claim to its end
    whole: bool  # each job has completed with all of its pages

    @property
    def rate(self) -> float:
        """Return jobs a second."""
        return self.jobs / self.seconds

    @property
    def cpu_ms(self) -> float:
        """Return milliseconds of a processor for each job."""
        return self.cpu_s / self.jobs * 1000

    @property
    def shares(self) -> tuple[float, float]:
        """Return p50 and p99 of how long a job took, in milliseconds."""
        cuts = quantiles(self.took_ms, n=100, method="inclusive")
        return cuts[49], cuts[98]


@asynccontextmanager
async def served(pages: int) -> AsyncIterator[int]:
    """Serve the sites by a process of its own; give its port."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.small_jobs", "--serve", str(pages)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        if process.stdout is None:
            raise RuntimeError("the server has no output")
        yield int(await process.stdout.readline())
    finally:
        process.terminate()
        await process.wait()


async def serve(pages: int) -> None:
    """Serve the sites until killed, the port as the first line of output."""
    everywhere = "0.0.0.0"  # noqa: S104 - all of 127.0.0.0/8 is wanted
    async with SiteServer(SmallSites(pages), host=everywhere) as server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


async def work(settings: Settings) -> None:
    """Run all jobs that wait, then write how many seconds of a processor that took."""
    async with Yard.open(settings) as yard:
        worker = yard.worker()
        before = _spent()
        await worker.run(drain=True)
        spent = _spent() - before
    sys.stdout.write(json.dumps({"cpu_s": spent}) + "\n")


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _spec(port: int, number: int, options: argparse.Namespace) -> JobSpec:
    return JobSpec(
        urls=(f"http://{address(number % options.hosts)}:{port}/{number}/0",),
        delay_s=0,
        per_host=options.per_host,
        text=TextMode.NONE,
        allow_private=True,
    )


async def run(port: int, folder: Path, options: argparse.Namespace) -> Round:
    """Submit all jobs, and have a worker run them."""
    url = options.database_url
    settings = Settings(data_dir=folder, database_url=url, jobs=options.slots)
    turns = asyncio.Semaphore(_AT_ONCE)
    async with Yard.open(settings) as yard:

        async def submit(number: int) -> None:
            async with turns:
                await yard.jobs.submit(LOCAL, _spec(port, number, options))

        await asyncio.gather(*(submit(number) for number in range(options.jobs)))
    cpu_s = await _worked(settings, options)
    async with Yard.open(settings) as yard:
        return await _looked_at(yard, cpu_s, options)


async def _worked(settings: Settings, options: argparse.Namespace) -> float:
    process = await asyncio.create_subprocess_exec(
        *shlex.split(options.under),
        *(sys.executable, "-m", "bench.small_jobs", "--work", str(settings.data_dir)),
        *("--database-url", settings.database_url, "--slots", str(options.slots)),
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the worker ended with {process.returncode}")
    # a profiler may have said something as well
    (line,) = (line for line in told.decode().splitlines() if line.startswith("{"))
    return float(json.loads(line)["cpu_s"])


async def _looked_at(yard: Yard, cpu_s: float, options: argparse.Namespace) -> Round:
    found, after = [], None
    while True:
        query = JobQuery(after=after, oldest_first=True)
        portion = await yard.store.jobs.find(query, _PORTION)
        found += portion
        if len(portion) < _PORTION:
            break
        after = portion[-1].job.id
    begun = [one.job.started_at for one in found if one.job.started_at is not None]
    ended = [one.job.ended_at for one in found if one.job.ended_at is not None]
    if not len(begun) == len(ended) == options.jobs:
        raise RuntimeError(f"{len(ended)} of {options.jobs} jobs have ended")
    return Round(
        jobs=options.jobs,
        seconds=(max(ended) - min(begun)).total_seconds(),
        cpu_s=cpu_s,
        took_ms=[(e - b).total_seconds() * 1000 for b, e in zip(begun, ended, strict=True)],
        whole=all(
            one.job.state is State.COMPLETED and one.shard.usage.pages == options.pages
            for one in found
        ),
    )


async def measure(options: argparse.Namespace) -> list[Round]:
    """Return all rounds."""
    rounds = []
    async with served(options.pages) as port:
        for _ in range(options.rounds):
            if options.database_url:
                await emptied(options.database_url)
            with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
                one = await run(port, Path(folder), options)
            load = f"load {os.getloadavg()[0]:.1f}"
            sys.stderr.write(f"{one.rate:.0f} jobs/s, {one.cpu_ms:.1f} ms a job, {load}\n")
            rounds.append(one)
    return rounds


def table(rounds: Sequence[Round], options: argparse.Namespace) -> str:
    """Return the medians as a table."""
    p50, p99 = (median(each) for each in zip(*(one.shares for one in rounds), strict=True))
    whole = "yes" if all(one.whole for one in rounds) else "NO"
    store = "Postgres" if options.database_url else "SQLite"
    return (
        "| store | jobs | pages of each | slots | jobs/s | CPU ms a job "
        "| claim to end p50 ms | p99 | all whole |\n|---|---|---|---|---|---|---|---|---|\n"
        f"| {store} | {options.jobs:,} | {options.pages} | {options.slots} "
        f"| {median(one.rate for one in rounds):.0f} | {median(one.cpu_ms for one in rounds):.1f} "
        f"| {p50:.0f} | {p99:.0f} | {whole} |\n"
    )


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.small_jobs", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000)
    parser.add_argument("--pages", type=int, default=10, help="of each job")
    parser.add_argument("--hosts", type=int, default=100, help="addresses that the sites are on")
    parser.add_argument("--per-host", type=int, default=2, help="requests at once to an address")
    parser.add_argument("--slots", type=int, default=32, help="jobs that the worker runs at once")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--database-url", default="", help="of Postgres; all in it is deleted")
    parser.add_argument("--folder", type=Path, help="for the file of SQLite")
    parser.add_argument("--under", default="", help="before the worker's command: a profiler")
    parser.add_argument("--serve", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve(options.serve))
    elif options.work:
        url = options.database_url
        uvloop.run(work(Settings(data_dir=options.work, database_url=url, jobs=options.slots)))
    else:
        sys.stdout.write(table(asyncio.run(measure(options)), options))


if __name__ == "__main__":
    main()
