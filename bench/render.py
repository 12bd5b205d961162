# psutil is of the extra `bench` and without types: only numbers come from it.
# mypy: disable-error-code="import-not-found,import-untyped"
"""Cost of rendered pages, beside other crawlers: ``python -m bench.render --peers VENV...``.

An application whose pages are all one shell is served on loopback, by a process of its own.
Each crawler renders all of its pages, two at once, and waits in each for its text. In turns; a new
process for each, so that its start, that of its browsers and its imports are in it. CPU and memory
are those of all processes of the tree, sampled; of one that has ended, the CPU that it had last
counts. All use the same Chromium. Needs it, Lightpanda, and virtual environments with
Scrapy-Playwright, Crawlee and Crawl4AI, in one or in several.
"""

import argparse
import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
from tests.app_site import AppSite

from bench.child import serving
from crawlyard.demo.server import SiteServer

_HERE = Path(__file__).parent
_SAMPLE_S = 0.1
_AT_ONCE = 2
_FOUND = re.compile(r"pages: (\d+)")
_OTHERS = (
    ("Scrapy-Playwright", "render_scrapy.py", "scrapy_playwright"),
    ("Crawlee, PlaywrightCrawler", "render_crawlee.py", "crawlee"),
    ("Crawl4AI", "render_crawl4ai.py", "crawl4ai"),
)
"""By name: the program that crawls with it, and the package that this needs."""


@dataclass(frozen=True, slots=True)
class Round:
    """Cost of one crawl by one crawler."""

    name: str
    pages: int  # with rendered text
    wall_s: float
    cpu_s: float
    peak_bytes: int

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds per page."""
        return 1000 * self.cpu_s / max(1, self.pages)


class _Tree(threading.Thread):
    """Looks at the processes of a tree until it is stopped."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._root = psutil.Process(pid)
        self._ended = threading.Event()
        self._cpu_s: dict[tuple[int, float], float] = {}
        self.peak_bytes = 0

    @property
    def cpu_s(self) -> float:
        """CPU time of all sampled processes."""
        return sum(self._cpu_s.values())

    def run(self) -> None:
        while not self._ended.wait(_SAMPLE_S):
            self.look()

    def look(self) -> None:
        """Read what each process has used and holds."""
        used = 0
        with suppress(psutil.Error):
            for process in [self._root, *self._root.children(recursive=True)]:
                with suppress(psutil.Error):
                    times, memory = process.cpu_times(), process.memory_full_info()
                    self._cpu_s[process.pid, process.create_time()] = times.user + times.system
                    used += memory.pss
        self.peak_bytes = max(self.peak_bytes, used)

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        self.join()


def crawl(name: str, command: Sequence[str], folder: Path) -> Round:
    """Run a crawler, and return what it took.

    Raises:
        RuntimeError: it failed; the message has the end of its output.
    """
    log = folder / "log"
    began = time.monotonic()
    python_path = os.pathsep.join([str(_HERE.parent), os.environ.get("PYTHONPATH", "")])
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 - our own words
            command,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": python_path},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
        tree = _Tree(process.pid)
        tree.start()
        code = process.wait()
    wall_s = time.monotonic() - began
    tree.stop()
    output = log.read_text(errors="replace")
    match = _FOUND.search(output)
    if code or match is None:
        raise RuntimeError(f"{command} ended with {code}:\n{output[-2000:]}")
    return Round(name, int(match[1]), wall_s, tree.cpu_s, tree.peak_bytes)


def ours(url: str, browser: str, chromium: str) -> list[str]:
    """Return the command that crawls with Crawlyard."""
    words = ("--crawl", url, "--browser", browser, "--chromium", chromium)
    return [sys.executable, "-m", "bench.render", *words]


def crawl_ours(url: str, browser: str, chromium: str) -> None:
    """Crawl with Crawlyard in a new folder, and write the number of pages that have their text."""
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        first = Path(place) / "chromium-headless-shell"  # the name that it looks for first
        first.write_text(f'#!/bin/sh\nexec {shlex.quote(chromium)} "$@"\n')
        first.chmod(0o700)
        path = os.pathsep.join([place, os.environ["PATH"]])
        out = Path(place) / "pages.jsonl"
        words = [
            *("crawl", url, "--data-dir", place, "--allow-private", "--delay", "0"),
            *("--per-host", "8", "--concurrency", "8", "--wait-for", "#text", "--quiet"),
            *("--renderer", browser, "--out", str(out)),
        ]
        command = [sys.executable, "-m", "crawlyard", *words]
        subprocess.run(command, check=True, env=os.environ | {"PATH": path})  # noqa: S603
        records = [json.loads(line) for line in out.read_text().splitlines()]
    pages = sum("This is page" in (record["text"] or "") for record in records)
    sys.stdout.write(f"pages: {pages}\n")


async def serve(pages: int) -> None:
    """Serve the application until this process ends."""
    async with SiteServer(AppSite(pages)) as server:
        sys.stdout.write(f"{server.url}/\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def python_with(package: str, places: Sequence[Path]) -> str:
    """Return the interpreter of the first virtual environment that has *package*, or nothing."""
    has_it = f"lib/python*/site-packages/{package}"
    venv = next((place for place in places if any(place.glob(has_it))), None)
    if venv is None:
        sys.stderr.write(f"left out: no {package} in {', '.join(map(str, places)) or '--peers'}\n")
    return str(venv / "bin" / "python") if venv else ""


async def measure(options: argparse.Namespace) -> list[Round]:
    """Return all rounds, the crawlers in turns."""
    chromium = shutil.which(options.chromium) or ""
    pythons = {name: python_with(package, options.peers) for name, _, package in _OTHERS}
    rounds = []
    async with serving("bench.render", "--serve", str(options.pages)) as (_, url):
        commands = {
            "Crawlyard, Lightpanda": ours(url, "lightpanda", chromium),
            "Crawlyard, Chromium": ours(url, "chromium", chromium),
        } | {
            name: [python, str(_HERE / "peers" / file), url, str(_AT_ONCE), chromium]
            for name, file, _ in _OTHERS
            if (python := pythons[name])
        }
        for _ in range(options.rounds):
            for name, command in commands.items():
                with tempfile.TemporaryDirectory(prefix="bench-") as place:
                    result = await asyncio.to_thread(crawl, name, command, Path(place))
                summary = f"{result.pages} pages in {result.wall_s:.1f} s, CPU {result.cpu_s:.1f} s"
                sys.stderr.write(f"{name}: {summary}\n")
                rounds.append(result)
    return rounds


def table(rounds: Sequence[Round]) -> str:
    """Return medians as Markdown."""
    lines = ["| crawler | pages | s | CPU ms a page | MB, most |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(result.name for result in rounds):
        each = [result for result in rounds if result.name == name]
        pages = min(result.pages for result in each)
        wall, cpu = (
            median(result.wall_s for result in each),
            median(result.cpu_ms for result in each),
        )
        peak = median(result.peak_bytes for result in each) / 1e6
        lines.append(f"| {name} | {pages} | {wall:.1f} | {cpu:.0f} | {peak:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.render", description=__doc__)
    parser.add_argument(
        "--peers", type=Path, nargs="+", default=[], help="virtual environments of the others"
    )
    parser.add_argument("--chromium", default="chromium", help="name or path of the browser")
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--crawl", help=argparse.SUPPRESS)
    parser.add_argument("--browser", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
    elif options.crawl:
        crawl_ours(options.crawl, options.browser, options.chromium)
    else:
        load = os.getloadavg()[0]
        rounds = asyncio.run(measure(options))
        sys.stdout.write(f"load {load:.1f} before\n\n{table(rounds)}\n")


if __name__ == "__main__":
    main()
