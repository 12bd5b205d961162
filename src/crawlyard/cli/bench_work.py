"""Measures this machine: each crawl is a process of its own, so that none is warm or large."""

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import TypeVar

from msgspec import Struct

import crawlyard
from crawlyard.cli import bench_reports
from crawlyard.cli.bench_child import Crawled, Place, crawled, queued
from crawlyard.cli.options import Common
from crawlyard.clock import SystemClock
from crawlyard.config import Settings
from crawlyard.core.quantity import counted
from crawlyard.errors import Invalid, Unavailable

T = TypeVar("T")

_MEMORY = "memory://"
_PREFIX = ".crawlyard-bench-"


class Asked(Struct, frozen=True, kw_only=True):
    """How much is measured, and on which disk."""

    pages: int
    rounds: int
    jobs: int
    folder: Path

    def check(self) -> None:
        """Return if there is something to measure.

        Raises:
            Invalid: there is not.
        """
        for name, count in (("pages", self.pages), ("rounds", self.rounds), ("jobs", self.jobs)):
            if count < 1:
                raise Invalid(f"--{name}", f"expected at least 1, got {count}")


def bench(asked: Asked, common: Common) -> None:
    """Measure, and write the figures.

    Raises:
        Invalid: there is nothing to measure, or nothing can be written into the folder.
        Unavailable: the site could not be served.
    """
    common.style_on(terminal=False)  # two formats are refused before a minute has passed
    asked.check()
    began = SystemClock().monotonic()

    def tell(words: str) -> None:
        if not common.quiet:
            sys.stderr.write(f"{words}\n")

    with _folder(asked.folder) as folder, _served(asked.pages) as url:
        stored, bare = _crawls(asked, folder, url, tell)
        tell(f"submitting and claiming {counted(asked.jobs, 'job')}")
        queue = _apart(queued, Place(_new(folder), ""), url, asked.jobs)
    settings = Settings()
    bench_reports.write(
        bench_reports.BenchOut(
            crawlyard=crawlyard.__version__,
            python=platform.python_version(),
            machine=f"{platform.system()} {platform.machine()}",
            cores=os.cpu_count() or 1,
            http_client=settings.http_client,
            pages=asked.pages,
            rounds=asked.rounds,
            jobs=asked.jobs,
            stored=_crawl_out(stored),
            in_memory=_crawl_out(bare),
            stored_cpu_ratio=round(_ratio(stored, bare), 3),
            submits_per_s=round(asked.jobs / queue.submitting_s, 1),
            claim_p50_ms=round(queue.claim_p50_ms, 2),
            claim_p99_ms=round(queue.claim_p99_ms, 2),
            took_s=round(SystemClock().monotonic() - began, 1),
        ),
        common,
    )


def _crawls(
    asked: Asked, folder: Path, url: str, tell: Callable[[str], None]
) -> tuple[list[Crawled], list[Crawled]]:
    """Return what crawls took that are stored, and that are not, in turns."""
    tell(
        f"warming up: {counted(asked.pages, 'page')}"
    )  # the site makes each page when it is first asked
    _apart(crawled, Place(_new(folder), _MEMORY), url)
    stored, bare = [], []
    for turn in range(1, asked.rounds + 1):
        tell(f"crawling {counted(asked.pages, 'page')}, on SQLite and with nothing stored ({turn})")
        stored.append(_apart(crawled, Place(_new(folder), ""), url))
        bare.append(_apart(crawled, Place(_new(folder), _MEMORY), url))
    missed = {one.pages for one in (*stored, *bare)} - {asked.pages}
    if missed:
        raise Unavailable(
            f"expected {counted(asked.pages, 'page')} in every crawl, got {min(missed):,}"
        )
    return stored, bare


def _ratio(stored: Sequence[Crawled], bare: Sequence[Crawled]) -> float:
    """Return how the CPU of each crawl is beside that of the next, which stores nothing."""
    return median(one.cpu_s / two.cpu_s for one, two in zip(stored, bare, strict=True))


def _crawl_out(each: Sequence[Crawled]) -> bench_reports.CrawlOut:
    return bench_reports.CrawlOut(
        pages_per_s=round(median(one.pages / one.wall_s for one in each), 1),
        cpu_s_per_1000_pages=round(median(1000 * one.cpu_s / one.pages for one in each), 3),
        peak_mb=round(median(one.peak_bytes / 1e6 for one in each), 1),
    )


def _apart(work: Callable[..., T], *given: object) -> T:
    """Return what *work* returns, done by a process that does nothing else."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


@contextmanager
def _folder(within: Path) -> Iterator[Path]:
    try:
        with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=within) as folder:
            yield Path(folder)
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        expected = "expected a folder in which files can be made"
        raise Invalid("--folder", f"{expected}, got {within}: {error.strerror}") from None


def _new(folder: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=folder))


@contextmanager
def _served(pages: int) -> Iterator[str]:
    """Serve the site by a process of its own, and give its URL."""
    command = [sys.executable, "-m", "crawlyard.demo", "--plain", "--pages", str(pages)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 - our own words
        try:
            url = server.stdout.readline().strip() if server.stdout else ""
            if not url:
                raise Unavailable("the site of this measure could not be served")
            yield url
        finally:
            server.terminate()
