"""One crawl in a folder of its own, measured, and what such crawls have in common."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.crawlers import LOG, Crawler
from bench.loops import TOOK
from bench.loops_run import ENGINE
from bench.measure import ProcessCost, run_measured
from bench.report import Run
from bench.serving import ServedFolder, served

MOST_S = 300.0
"""Time after which a crawl is stopped, unless another is chosen."""

Pins = tuple[list[str], list[str]]
"""Words before the command of the server, and before that of the crawler."""


def crawl_once(
    crawler: Crawler, url: str, at_once: int, pin: Sequence[str], most_s: float = MOST_S
) -> Run:
    """Crawl once, in a folder of its own, without settings of ours from outside.

    Raises:
        RuntimeError: the crawler failed.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        folder = Path(place)
        cost = run_measured(
            [*pin, *crawler.command(url, at_once)],
            folder=folder,
            environment=environment() | dict(crawler.environment),
            log=folder / LOG,
            most_s=most_s,
            exits=crawler.exits,
        )
        if (folder / TOOK).exists():
            inner = json.loads((folder / TOOK).read_text(encoding="utf-8"))
            cost = ProcessCost(inner["wall_s"], inner["cpu_s"], cost.peak_bytes, cost.stopped)
        return Run(cost, crawler.read_result(folder))


def environment() -> dict[str, str]:
    """Return the variables of this process that a crawl is to have."""
    return {
        name: value
        for name, value in os.environ.items()
        # without bytecode on disk, each start would compile every module
        if "CRAWLYARD" not in name and name != "PYTHONDONTWRITEBYTECODE"
    }


def list_paths(
    url: str, at_once: int, pin: Sequence[str], file: Path, most_s: float = MOST_S
) -> None:
    """Write the path of each URL of a site into *file*; everything is warm afterwards."""
    result = crawl_once(ENGINE, url, at_once, pin, most_s).result
    requested = result.pages | result.other_files | result.failed
    file.write_text("\n".join(sorted(requested)), encoding="utf-8")


@contextmanager
def one_page(pin: Sequence[str], work: Path, charset: str = "utf-8") -> Iterator[ServedFolder]:
    """Serve a site of one page, whose crawl is little but the start of a crawler."""
    folder = work / "one"
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html><title>One</title>", encoding="utf-8")
    (work / "server").mkdir()
    with served(folder, pin, work / "server", charset=charset) as server:
        yield server


def pin_cores() -> Pins:
    """Return what keeps the server on one core and the crawler on another; nothing on one core.

    The measuring itself is kept on the server's.
    """
    cores = sorted(os.sched_getaffinity(0))
    taskset = shutil.which("taskset")
    if taskset is None or len(cores) < 2:
        return [], []
    os.sched_setaffinity(0, cores[:1])
    return [taskset, "-c", str(cores[0])], [taskset, "-c", str(cores[1])]


def warm(folder: Path) -> None:
    """Read all files once: no crawler pays for the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.read_bytes()
