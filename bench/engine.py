"""Crawls a folder of documentation by Crawlyard and by Scrapy in turns, and compares them.

``pip install -e '.[bench]'``, then ``python -m bench.engine FOLDER --start index.html``:
progress goes to stderr, the table to stdout.
"""

import argparse
import os
import platform
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import report
from bench.crawlers import ALL, CRAWLYARD, IN_MEMORY, LOG, SCRAPY, Crawler
from bench.measure import measured
from bench.report import Run
from bench.serving import served

_PACKAGES = ("crawlyard", "aiohttp", "turbohtml", "uvloop", "scrapy", "twisted", "lxml")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=__doc__)
    parser.add_argument("folder", type=Path, help="the root of the site")
    parser.add_argument("--start", default="", help="path of the start page below it")
    parser.add_argument("--rounds", type=int, default=3, help="crawls by each crawler")
    parser.add_argument("--concurrency", type=int, default=16, help="requests at once")
    options = parser.parse_args()
    if not options.folder.is_dir() or options.rounds < 1:
        parser.error(f"expected a folder and at least one round, got {options.folder}")
    return options


def main() -> int:
    """Measure and write the result; return 1 if the crawlers did not find the same pages."""
    options = _options()
    pin_server, pin_crawler = _pins()
    _warm(options.folder)
    runs: dict[Crawler, list[Run]] = {crawler: [] for crawler in ALL}
    load = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as work,
        served(options.folder, pin_server, Path(work)) as site,
    ):
        url = f"{site.url}{options.start}"
        for turn in range(1, options.rounds + 1):
            for crawler in ALL:
                run = _run(crawler, url, options.concurrency, pin_crawler)
                runs[crawler].append(run)
                _say(
                    f"{turn}/{options.rounds} {crawler.name}: {len(run.found.pages)} pages in "
                    f"{run.taken.wall_s:.2f} s, CPU {run.taken.cpu_s:.2f} s, {run.peak_mb:.0f} MB"
                )
    sys.stdout.write(f"{_circumstances(site.by, load, pinned=bool(pin_server))}\n\n")
    sys.stdout.write(f"{report.table(runs, SCRAPY)}\n\n")
    sys.stdout.write(f"{report.cost(runs[CRAWLYARD], runs[IN_MEMORY])}\n\n")
    sys.stdout.write(f"Beside {SCRAPY.name}:\n\n{report.differences(runs, SCRAPY)}\n")
    return int(len({run.found.pages for of_it in runs.values() for run in of_it}) > 1)


def _run(crawler: Crawler, url: str, at_once: int, pin: list[str]) -> Run:
    """Crawl once, in a folder of its own, without settings of ours from outside."""
    outside = {name: value for name, value in os.environ.items() if "CRAWLYARD" not in name}
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        folder = Path(place)
        taken = measured(
            [*pin, *crawler.command(url, at_once)],
            folder=folder,
            environment=outside | dict(crawler.environment),
            log=folder / LOG,
        )
        return Run(taken, crawler.found(folder))


def _pins() -> tuple[list[str], list[str]]:
    """Return what keeps the server on one core and the crawler on another; nothing on one core.

    The measuring itself is kept on the server's.
    """
    cores = sorted(os.sched_getaffinity(0))
    taskset = shutil.which("taskset")
    if taskset is None or len(cores) < 2:
        return [], []
    os.sched_setaffinity(0, cores[:1])
    return [taskset, "-c", str(cores[0])], [taskset, "-c", str(cores[1])]


def _warm(folder: Path) -> None:
    """Read all files once: no crawler pays for the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.read_bytes()


def _circumstances(server: str, load: float, *, pinned: bool) -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    cores = "one core for the server, one for the crawler" if pinned else "cores not pinned"
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {python}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores ({cores}), load {load:.1f} before; served by {server}; "
        f"{', '.join(f'{name} {version(name)}' for name in _PACKAGES)}"
    )


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")


if __name__ == "__main__":
    sys.exit(main())
