# psutil is of the extra `bench` and without types: only numbers come from it.
# mypy: disable-error-code="import-not-found,import-untyped"
"""What pages cost with one worker process and with two: ``python -m bench.processes FOLDER``.

A site of `bench.sites` is served as two hosts. On one SQLite file, one worker crawls one of
them, then two workers crawl one each at the same time; in turns. The server has its share of
the cores, and nothing is pinned. CPU is that of the workers from the submission to the end of
the jobs, so that their start is in neither. Needs nginx.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from bench.serving import served
from bench.sites import names, site
from bench.workers import a_spec, ended, ready, working
from crawlyard import LOCAL, Settings, Yard

AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Round:
    """One crawl by each of so many workers, at the same time."""

    workers: int
    pages: int
    wall_s: float
    cpu_s: float  # of the workers

    @property
    def pages_per_s(self) -> float:
        """Return pages a second, of all workers."""
        return self.pages / self.wall_s

    @property
    def cpu_s_per_1000(self) -> float:
        """Return the seconds of CPU that a thousand pages took."""
        return 1000 * self.cpu_s / self.pages


async def crawl(urls: Sequence[str]) -> Round:
    """Crawl each of *urls* by a worker of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        settings = Settings(data_dir=Path(place), database_url="")
        async with Yard.open(settings) as yard, AsyncExitStack() as stack:
            pids = [await stack.enter_async_context(working(settings)) for _ in urls]
            each = [psutil.Process(pid) for pid in pids]
            await ready(yard, len(urls))
            began, spent = time.monotonic(), sum(map(_cpu_s, each))
            jobs = [await yard.jobs.submit(LOCAL, a_spec(url, AT_ONCE)) for url in urls]
            over = [await ended(yard, job.id) for job in jobs]
            wall_s, cpu_s = time.monotonic() - began, sum(map(_cpu_s, each)) - spent
            pages = [p for job in over async for p in yard.results.pages(LOCAL, job.id)]
    return Round(len(urls), len(pages), wall_s, cpu_s)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def measure(url: str, rounds: int) -> list[Round]:
    """Return all rounds, one worker and two in turns."""
    found = []
    other = url.replace("127.0.0.1", "127.0.0.2")
    for turn in range(1, rounds + 1):
        for urls in ((url,), (url, other)):
            one = await crawl(urls)
            said = f"{one.pages:,} pages in {one.wall_s:.2f} s, CPU {one.cpu_s:.2f} s"
            sys.stderr.write(f"{turn}/{rounds} {one.workers} workers: {said}\n")
            found.append(one)
    return found


def table(rounds: Sequence[Round]) -> str:
    """Return medians as Markdown, those of two workers beside those of one."""
    lines = ["| workers | pages | pages/s | CPU s per 1,000 pages |", "|---|---|---|---|"]
    kinds = [[one for one in rounds if one.workers == count] for count in (1, 2)]
    for each in kinds:
        rate, cpu = (median(one.pages_per_s for one in each), _cost(each))
        lines.append(f"| {each[0].workers} | {each[0].pages:,} | {rate:,.0f} | {cpu:.3f} |")
    times = median(b.cpu_s_per_1000 / a.cpu_s_per_1000 for a, b in zip(*kinds, strict=True))
    return "\n".join([*lines, "", f"With two, a page costs {times:.2f} times as much CPU."])


def _cost(each: Sequence[Round]) -> float:
    return median(one.cpu_s_per_1000 for one in each)


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.processes", description=__doc__)
    parser.add_argument("folder", type=Path, help="of bench.sites")
    parser.add_argument("--site", default="boost", choices=list(names()))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    place = site(options.folder, options.site)
    load = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as work,
        served(place.folder, [], Path(work)) as server,
    ):
        found = asyncio.run(measure(f"{server.url}{place.start}", options.rounds))
    sys.stdout.write(f"{place.name}, load {load:.1f} before, served by {server.by}\n\n")
    sys.stdout.write(f"{table(found)}\n")


if __name__ == "__main__":
    main()
