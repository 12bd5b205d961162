"""Pages a second of one job over 1, 2 and 4 worker processes: ``python -m bench.spread``.

The site is many loopback addresses with a latency of its own, so that a worker mostly
waits. Every round begins with an empty SQLite file and workers that are ready; the pages
of each are compared with those that there are.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median

from tests.many_hosts import ManyHosts

from crawlyard import LOCAL, JobSpec, Scope, Settings, TextMode, Yard
from crawlyard.demo.server import SiteServer

AT_ONCE = 16
_WORK = ("work", "--jobs", "1", "--no-scheduler", "--no-webhooks", "--no-janitor")


@dataclass(frozen=True, slots=True)
class Round:
    """One crawl of the site."""

    workers: int
    pages: int
    seconds: float
    same: bool  # the pages are those that there are, each once

    @property
    def rate(self) -> float:
        """Return pages a second."""
        return self.pages / self.seconds


@asynccontextmanager
async def served(hosts: int, pages: int, latency_ms: float) -> AsyncIterator[int]:
    """Serve the site by a process of its own; give its port."""
    command = ("-m", "bench.spread", "--serve", f"{hosts},{pages},{latency_ms}")
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE
    )
    try:
        if process.stdout is None:
            raise RuntimeError("the server has no output")
        yield int(await process.stdout.readline())
    finally:
        process.terminate()
        await process.wait()


async def serve(hosts: int, pages: int, latency_ms: float) -> None:
    """Serve the site until killed, its port as the first line of output."""
    site = ManyHosts(hosts, pages)
    everywhere = "0.0.0.0"  # noqa: S104 - all of 127.0.0.0/8 is wanted
    async with SiteServer(site, host=everywhere, latency_s=latency_ms / 1000) as server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


@asynccontextmanager
async def working(folder: Path, environment: dict[str, str]) -> AsyncIterator[None]:
    """Run a worker process until the end of the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "crawlyard", *_WORK, "--data-dir", str(folder)),
        env=os.environ | environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def crawl(site: ManyHosts, port: int, workers: int, options: argparse.Namespace) -> Round:
    """Crawl the site once by so many workers."""
    spec = JobSpec(
        urls=(site.start(port),),
        scope=Scope.ANY,
        spread=options.shards if workers > 1 else 0,
        concurrency=AT_ONCE,
        per_host=AT_ONCE,
        delay=timedelta(0),
        text=TextMode.NONE,
        allow_private=True,
        ignore_robots=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        url = options.database_url
        settings = Settings(data_dir=Path(folder), database_url=url)
        environment = {"CRAWLYARD_DATABASE_URL": url} if url else {}
        async with Yard.open(settings) as yard, AsyncExitStack() as stack:
            for _ in range(workers):
                await stack.enter_async_context(working(Path(folder), environment))
            while len(await yard.store.workers.find()) < workers:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            job = await yard.jobs.submit(LOCAL, spec)
            while not (await yard.jobs.get(LOCAL, job.id)).job.state.ended:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            ended = (await yard.jobs.get(LOCAL, job.id)).job
            found = [s.page.final_url async for s in yard.results.pages(LOCAL, job.id)]
            if ended.started_at is None or ended.ended_at is None:
                raise RuntimeError("the job has ended without having begun")
            took = (ended.ended_at - ended.started_at).total_seconds()
    same = sorted(found) == sorted(site.urls(port))
    return Round(workers=workers, pages=len(found), seconds=took, same=same)


async def measure(options: argparse.Namespace) -> list[Round]:
    """Return all rounds, the numbers of workers in turns."""
    site = ManyHosts(options.hosts, options.pages)
    rounds = []
    async with served(options.hosts, options.pages, options.latency_ms) as port:
        for _ in range(options.rounds):
            for workers in options.workers:
                one = await crawl(site, port, workers, options)
                sys.stderr.write(f"{one.workers} workers: {one.rate:.0f} pages/s\n")
                rounds.append(one)
    return rounds


def table(rounds: list[Round]) -> str:
    """Return medians as a table, each beside that of the fewest workers."""
    lines = ["| workers | pages/s | times | pages | the same |", "|---|---|---|---|---|"]
    counts = sorted({one.workers for one in rounds})
    rates = {n: median(one.rate for one in rounds if one.workers == n) for n in counts}
    for n in counts:
        mine = [one for one in rounds if one.workers == n]
        same = "yes" if all(one.same for one in mine) else "NO"
        times = rates[n] / rates[counts[0]]
        lines.append(f"| {n} | {rates[n]:.0f} | {times:.2f} | {mine[0].pages} | {same} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.spread", description=__doc__)
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--pages", type=int, default=15, help="of each host")
    parser.add_argument("--latency-ms", type=float, default=50.0, help="of each answer")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--database-url", default="", help="instead of a SQLite file")
    parser.add_argument("--serve", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        hosts, pages, latency_ms = options.serve.split(",")
        asyncio.run(serve(int(hosts), int(pages), float(latency_ms)))
    else:
        sys.stdout.write(table(asyncio.run(measure(options))))


if __name__ == "__main__":
    main()
