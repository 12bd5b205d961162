"""Pages a second of one job over 1, 2 and 4 worker processes: ``python -m bench.spread``.

The site is many loopback addresses with a latency of its own, so that a worker mostly
waits. Every round begins with an empty SQLite file and workers that are ready; the pages
of each are compared with those that there are.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.many_hosts import ManyHosts

from bench.workers import a_spec, ended, ready, working
from crawlyard import LOCAL, Scope, Settings, Yard
from crawlyard.demo.server import SiteServer

AT_ONCE = 16


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


async def crawl(site: ManyHosts, port: int, workers: int, options: argparse.Namespace) -> Round:
    """Crawl the site once by so many workers."""
    shards = options.shards if workers > 1 else 0
    more = {"scope": Scope.ANY, "spread": shards, "ignore_robots": True}
    spec = a_spec(site.start(port), AT_ONCE, **more)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), database_url=options.database_url)
        async with Yard.open(settings) as yard, AsyncExitStack() as stack:
            for _ in range(workers):
                await stack.enter_async_context(working(settings))
            await ready(yard, workers)
            job = await yard.jobs.submit(LOCAL, spec)
            over = await ended(yard, job.id)
            found = [s.page.final_url async for s in yard.results.pages(LOCAL, job.id)]
            if over.started_at is None or over.ended_at is None:
                raise RuntimeError("the job has ended without having begun")
            took = (over.ended_at - over.started_at).total_seconds()
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
