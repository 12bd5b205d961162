# psutil is of the extra `bench` and without types: only numbers come from it.
# mypy: disable-error-code="import-not-found,import-untyped"
"""One job over many hosts, each at its delay: ``python -m bench.pace``.

For some numbers of hosts, latencies and requests at once: pages a second beside what delay and
latency allow, the gaps between two requests to one host, and CPU. All is counted by the site, which
is a process of its own, from some seconds after the first request on. Scrapy and Crawlee are
measured in turns with Crawlyard where the interpreter ``--peers`` has them.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil
from tests.jobs import submit
from tests.many_hosts import address

from bench.child import serving
from bench.pace_site import START
from bench.workers import environment
from crawlyard import JobSpec, Scope, Settings, TextMode, Yard

_PEERS = Path(__file__).with_name("peers")
_OURS = "Crawlyard"


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration of a crawl."""

    hosts: int
    latency_ms: int
    at_once: int
    delay_s: float = 0.5
    jobs: int = 1  # the hosts are split among them

    @property
    def possible(self) -> float:
        """Pages per second if no time is lost."""
        most = self.jobs * self.at_once / (self.latency_ms / 1000)
        return min(self.hosts / self.delay_s, most)

    @property
    def gap_s(self) -> float:
        """Gap between two requests to a host if all have an equal share."""
        return self.hosts / self.possible


ROWS = (
    Row(20, 200, 16),
    Row(50, 200, 16),
    Row(200, 200, 64),
    Row(200, 20, 16),
    Row(200, 20, 64),
    Row(1000, 200, 64, delay_s=5.0),
    Row(200, 20, 16, jobs=50),
)


@dataclass(frozen=True, slots=True)
class PaceResult:
    """Counts of one crawler during the measurement."""

    seconds: float
    cpu_s: float
    requests: int
    gaps: int
    least: float
    p50: float
    p99: float
    robots: int
    robots_s: float


@dataclass(slots=True)
class SiteProcess:
    """The process of the site, and its start URL."""

    process: asyncio.subprocess.Process
    port: int
    start: str = field(init=False)

    def __post_init__(self) -> None:
        self.start = f"http://{address(0)}:{self.port}{START}"

    async def count_between(self, since: float, until: float) -> dict[str, float]:
        """Return the counts of requests between two instants."""
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("the site has no input or output")
        self.process.stdin.write(f"{since} {until}\n".encode())
        counts: dict[str, float] = json.loads(await self.process.stdout.readline())
        return counts

    async def until_requested(self, crawler: psutil.Process) -> None:
        """Return once the site was requested; fail if *crawler* ends first."""
        since = time.monotonic()
        while not (await self.count_between(since, time.monotonic()))["requests"]:
            if crawler.status() == psutil.STATUS_ZOMBIE or time.monotonic() > since + 60:
                raise RuntimeError("the site received no request")
            await asyncio.sleep(0.1)


@asynccontextmanager
async def served(row: Row) -> AsyncIterator[SiteProcess]:
    """Serve the hosts of a row until the end of the block."""
    words = str(row.hosts), str(row.latency_ms / 1000)
    async with serving("bench.pace_site", *words) as (process, port):
        yield SiteProcess(process, int(port))


async def command(
    crawler: str, row: Row, site: SiteProcess, options: argparse.Namespace
) -> list[str]:
    """Return the command of one crawler, in the folder of the data; the jobs of ours are queued."""
    if crawler != _OURS:
        script = _PEERS / f"pace_{crawler.lower()}.py"
        names = ",".join(address(number) for number in range(row.hosts))
        return [options.peers, str(script), site.start, str(row.at_once), str(row.delay_s), names]
    settings = Settings(data_dir=Path(options.folder), database_url=options.database_url)
    each = row.hosts // row.jobs
    async with Yard.open(settings) as yard:
        for job in range(row.jobs):
            hosts = range(job * each, job * each + each)
            urls = tuple(f"http://{address(number)}:{site.port}/1" for number in hosts)
            spec = JobSpec(
                urls=(site.start,) if row.jobs == 1 else urls,
                concurrency=row.at_once,
                delay_s=row.delay_s,
                scope=Scope.ANY if row.jobs == 1 else Scope.HOST,
                text=TextMode.NONE,
                allow_private=True,
            )
            await submit(yard, spec)
    slots = str(max(row.jobs, 1))
    work = ("work", "--jobs", slots, "--no-scheduler", "--no-webhooks", "--no-janitor")
    return [sys.executable, "-m", "crawlyard", *work]


@asynccontextmanager
async def running(
    line: Sequence[str], options: argparse.Namespace
) -> AsyncIterator[psutil.Process]:
    """Run a crawler until the end of the block."""
    settings = Settings(data_dir=Path(options.folder), database_url=options.database_url)
    log = Path(options.folder) / "log.txt"
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: ASYNC220, S603 - our own words
            line, env=environment(settings), cwd=options.folder, stdout=out, stderr=out
        )
        try:
            yield psutil.Process(process.pid)
            if process.poll() is not None:
                raise RuntimeError(log.read_text(errors="replace")[-2000:])
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            process.wait()


def cpu_s(process: psutil.Process) -> float:
    """Return the CPU time of a process and its children so far."""
    each = (process, *process.children(recursive=True))
    return sum(sum(member.cpu_times()[:2]) for member in each)


async def measure_crawler(crawler: str, row: Row, options: argparse.Namespace) -> PaceResult:
    """Serve the site of *row*, crawl it in a fresh folder, and return pace and cost."""
    with tempfile.TemporaryDirectory() as options.folder:
        async with served(row) as site:
            line = await command(crawler, row, site, options)
            async with running(line, options) as process:
                await site.until_requested(process)
                # a site of long delays is measured for long enough to see some gaps
                await asyncio.sleep(options.warm_s + 2 * row.delay_s)
                began, before = time.monotonic(), cpu_s(process)
                await asyncio.sleep(options.seconds + 2 * row.delay_s)
                ended, after = time.monotonic(), cpu_s(process)
                counts = await site.count_between(began, ended)
    return PaceResult(
        seconds=ended - began,
        cpu_s=after - before,
        requests=int(counts["requests"]),
        gaps=int(counts["gaps"]),
        least=counts["least"],
        p50=counts["p50"],
        p99=counts["p99"],
        robots=int(counts["robots"]),
        robots_s=counts["robots_s"],
    )


def crawlers(options: argparse.Namespace) -> Iterator[str]:
    """Yield the names of the crawlers to measure."""
    yield _OURS
    for name in ("Scrapy", "Crawlee"):
        probe = subprocess.run(  # noqa: S603 - our own words
            [options.peers, "-c", f"import {name.lower()}"], capture_output=True, check=False
        )
        if probe.returncode:
            sys.stderr.write(f"{name} is not installed: left out\n")
        elif not options.only_ours:
            yield name


COLUMNS = (
    "crawler",
    "hosts",
    "delay",
    "latency",
    "at once",
    "possible/s",
    "pages/s",
    "of it",
    "gap p50",
    "p99",
    "of the fair gap",
    "least",
    "CPU s per 1,000",
    "robots.txt of all",
)


def line(crawler: str, row: Row, rounds: Sequence[PaceResult]) -> str:
    """Return a line of the table: medians of some rounds."""

    def middle(of: str) -> float:
        return float(median(getattr(run, of) for run in rounds))

    rate = median(run.requests / run.seconds for run in rounds)
    cpu = median(1000 * run.cpu_s / max(run.requests, 1) for run in rounds)
    hosts = f"{row.hosts}" if row.jobs == 1 else f"{row.jobs} jobs x {row.hosts // row.jobs}"
    robots = f"{middle('robots_s'):.1f} s" if middle("robots") >= row.hosts - 1 else "-"
    cells = (
        crawler,
        hosts,
        f"{row.delay_s:g} s",
        f"{row.latency_ms} ms",
        str(row.at_once),
        f"{row.possible:.0f}",
        f"{rate:.0f}",
        f"{100 * rate / row.possible:.0f}%",
        f"{middle('p50'):.3f}",
        f"{middle('p99'):.3f}",
        f"{middle('p99') / row.gap_s:.2f}",
        f"{min(run.least for run in rounds):.3f}",
        f"{cpu:.2f}",
        robots,
    )
    return f"| {' | '.join(cells)} |"


async def measure(options: argparse.Namespace) -> None:
    """Measure all rows, the crawlers in turns, and write a table."""
    rows = [row for n, row in enumerate(ROWS) if not options.row or n in options.row]
    names = list(crawlers(options))
    sys.stderr.write(f"load {os.getloadavg()[0]:.1f}\n")
    sys.stdout.write(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|\n")
    for row in rows:
        results: dict[str, list[PaceResult]] = {}
        for _ in range(options.rounds):
            for name in names:
                if name == _OURS or row.jobs == 1:  # the others run one crawl per process
                    results.setdefault(name, []).append(await measure_crawler(name, row, options))
        for name, rounds in results.items():
            sys.stdout.write(line(name, row, rounds) + "\n")
            sys.stdout.flush()


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.pace", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0, help="measured, of each crawl")
    parser.add_argument("--warm-s", type=float, default=5.0, help="before it is measured")
    parser.add_argument("--row", type=int, nargs="*", default=[], help="only these, from 0 on")
    parser.add_argument("--only-ours", action="store_true")
    parser.add_argument("--peers", default=sys.executable, help="interpreter that has the others")
    parser.add_argument("--database-url", default="", help="instead of a SQLite file")
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
