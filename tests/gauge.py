"""Counts of what a crawl and a command do, which no busy machine changes.

    python -m tests.gauge          # compare with tests/gauge.json
    python -m tests.gauge --save   # and write it

A crawl runs alone in a process, page after page, on a loop whose time stands still while anything
happens. So calls of our functions, statements and rows are the same in each run.
"""

import argparse
import asyncio
import gc
import json
import os
import selectors
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from msgspec.structs import replace

import crawlyard
from crawlyard import LOCAL, JobSpec, Settings, Yard
from crawlyard.core.access.site_session import LoginKind
from crawlyard.core.jobs.spec import TextMode
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import HTML, Answer
from crawlyard.services.access.site_sessions import SiteSessions
from crawlyard.services.jobs.lookup import find_job
from tests.jobs import submit
from tests.proxies import TestProxy

T = TypeVar("T")

PAGES = 300
PAGES_OF_A_BATCH = 50
FIGURES = Path(__file__).with_suffix(".json")
TOLERANCE = 0.01
"""The largest relative rise of a figure that is not an error."""

CRAWLS: Mapping[str, Mapping[str, Any]] = {
    "none": {"text": TextMode.NONE},
    "text": {"text": TextMode.TEXT},
    "main": {"text": TextMode.MAIN},
    "default": {},
    # the first with a feature more or less
    "html": {"text": TextMode.NONE, "keep_html": True},
    "no links": {"text": TextMode.NONE, "keep_links": False},
    "anchors": {"text": TextMode.NONE, "keep_anchors": True},
    "extract": {"text": TextMode.NONE, "extract": (("heading", "h1"),)},
    "no cookies": {"text": TextMode.NONE, "cookies": "off"},
    "cookies": {"text": TextMode.NONE},  # the site sets one
    "session": {"text": TextMode.NONE, "session": "handbook"},
    "proxy": {"text": TextMode.NONE},
    "patterns": {"text": TextMode.NONE, "include": ("*/p*",), "exclude": ("re:[?]",)},
    "sitemap": {"text": TextMode.NONE},
    # the default with a feature more
    "left out": {"ignore_css": ("nav",)},
    "indexed": {},
    # the second crawl of two
    "not modified": {},
    "changed": {},
    "changed, confirmed": {"confirm_changes": True},
}
"""Specs of the crawls that are measured, by name.

Each feature that changes a crawl has one, except rendering, whose counts are never the same twice.
"""

COMMANDS: Mapping[str, Sequence[str]] = {
    "import crawlyard": (),
    "crawlyard --help": ("--help",),
    "crawlyard jobs list": ("jobs", "list"),
    "crawlyard crawl": ("crawl", "URL", "--delay", "0", "--allow-private", "--text", "none"),
}
"""Arguments of commands whose imported modules are counted; URL is that of a site of one page."""

_RECRAWL = ("not modified", "changed")

GATED = ("calls a page", "statements", "rows a page", "own modules")
"""Figures that may not rise.

Modules of others depend on the versions of dependencies, as bytes in the database and the largest
number of blocks of memory do, which vary a little.
"""

_SRC = f"{Path(crawlyard.__file__).parent}/"
_DEMO = f"{_SRC}demo/"
_STATEMENTS = frozenset({"execute", "executemany"})
_IDLE_S = 0.02  # real time without any event, after which the clock moves on
_STEP_S = 0.25


class StepClock:
    """A clock that moves on only when nothing else happens."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    wall = now

    def monotonic(self) -> float:
        return 1024.0 + self.seconds

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(duration.total_seconds())


class PacedSelector(selectors.DefaultSelector):
    """Waits for events, and moves the time on if none comes."""

    def __init__(self, pace: StepClock) -> None:
        super().__init__()
        self._pace = pace

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        events = super().select(_IDLE_S)
        if not events:
            self._pace.seconds += _STEP_S
        return events


class PacedLoop(asyncio.SelectorEventLoop):
    """An event loop on the time of a `StepClock`."""

    def __init__(self, pace: StepClock) -> None:
        super().__init__(PacedSelector(pace))
        self._pace = pace

    def time(self) -> float:
        return self._pace.monotonic()


@dataclass
class Counts:
    """Counts of a crawl."""

    calls: Counter[str] = field(default_factory=Counter)
    statements: Counter[str] = field(default_factory=Counter)
    changes: dict[int, int] = field(default_factory=dict)  # rows, by connection
    is_on: bool = False
    peak_blocks: int = 0  # of memory, at statements

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        """Count an event; see `sys.setprofile`."""
        if not self.is_on:
            return
        if event == "call":
            code = frame.f_code
            if code.co_filename.startswith(_SRC) and not code.co_filename.startswith(_DEMO):
                self.calls[f"{code.co_filename.removeprefix(_SRC)}:{code.co_qualname}"] += 1
        elif event == "c_return" and arg.__name__ in _STATEMENTS:
            connection = getattr(arg.__self__, "connection", None)
            if connection is not None:
                self.statements[arg.__name__] += 1
                self.peak_blocks = max(self.peak_blocks, sys.getallocatedblocks())
                self.changes[id(connection)] = connection.total_changes

    @property
    def rows(self) -> int:
        """Rows inserted, updated or deleted."""
        return sum(self.changes.values())


class Handbook:
    """Pages with a menu, text and links, which wait for a checkpoint after each batch."""

    def __init__(self, *headers: tuple[str, str]) -> None:
        self.headers = headers
        self.edition = 1
        self.pages = 0

    def answer(self, method: str, path: str, host: str) -> Answer:
        del method
        if path == "/sitemap.xml":
            dated = "</loc><lastmod>2025-01-01</lastmod></url>"
            urls = "".join(f"<url><loc>http://{host}/p{n}{dated}" for n in range(PAGES))
            body = f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{urls}</urlset>'
            return Answer(200, (("Content-Type", "application/xml"),), body.encode())
        if not path.startswith("/p"):
            return Answer(404)
        self.pages += 1
        number = int(path.removeprefix("/p"))
        menu = "".join(f'<li><a href="/p{n}">Chapter {n}</a></li>' for n in range(40))
        near = ((number * 7 + step) % PAGES for step in range(1, 9))
        links = "".join(f'<li><a href="p{n}#top">See section {n}</a></li>' for n in near)
        words = f"<p>Section {number} explains <em>what</em> a crawl of a site does. " * 6
        edition = f"<p>Edition {self.edition}</p>" if self.edition > 1 else ""
        body = (
            f"<!doctype html><html lang=en><title>Section {number}</title>"
            f"<nav><ul>{menu}</ul></nav><main><h1 id=top>Section {number}</h1>"
            f"{words}{edition}<pre><code>run({number})</code></pre><ul>{links}</ul></main>"
            "<footer><p>Printed on recycled electrons.</p></footer>"
        )
        wait_s = _STEP_S * 4 if self.pages % PAGES_OF_A_BATCH == 0 else 0.0
        etag = f'"{number}"' if self.edition == 1 else f'"{number}, {self.edition}"'
        headers = (("Content-Type", HTML), ("ETag", etag), *self.headers)
        return Answer(200, headers, body.encode(), wait_s)


# -- in a process of its own -------------------------------------------------------------------


def _submit(_: ThreadPoolExecutor, work: Callable[..., T], *arguments: Any) -> "Future[T]":
    """Run *work* in the event loop: what threads do at once would vary from run to run."""
    future: Future[T] = Future()
    asyncio.get_running_loop().call_soon(_run, future, partial(work, *arguments))
    return future


def _run(future: "Future[T]", work: Callable[[], T]) -> None:
    try:
        future.set_result(work())
    except Exception as error:  # noqa: BLE001 - passed on, as a thread does
        future.set_exception(error)


async def _crawl(name: str, folder: Path, pace: StepClock) -> dict[str, float]:
    handbook = Handbook(*((("Set-Cookie", "reader=1"),) if name == "cookies" else ()))
    settings, proxy = Settings(data_dir=folder, database_url="", parse_helpers=0), TestProxy("http")
    if name == "proxy":
        await proxy.open()
        settings = replace(settings, allow_proxies=(proxy.address,))
    async with SiteServer(handbook) as site, Yard.open(settings, pace) as yard:
        spec = JobSpec(
            urls=(f"{site.url}/p0",),
            proxies=(proxy.url,) if name == "proxy" else (),
            sitemaps=(f"{site.url}/sitemap.xml",) if name == "sitemap" else (),
            allow_private=True,
            delay_s=0,
            per_host=1,
            concurrency=1,
            render="never",
        )
        spec = replace(spec, **CRAWLS[name])
        if spec.session:
            await SiteSessions(yard.services, LOCAL).login(
                spec.session, LoginKind.BASIC, url=site.url, user="reader", secret="secret"
            )
        if name.startswith(_RECRAWL):
            earlier = await submit(yard, spec)
            await yard.worker(only=earlier.id).run()
            spec = replace(spec, since=earlier.id)
            handbook.edition += name.startswith("changed")
        job = await submit(yard, spec)
        figures = await _count(yard, job.id, indexed=name == "indexed")
        await proxy.close()
    return figures


async def _count(yard: Yard, job_id: str, *, indexed: bool) -> dict[str, float]:
    """Run a job, and return its counts."""
    counts, stored = Counts(), _stored_bytes(yard)
    gc.collect()
    blocks = sys.getallocatedblocks()
    sys.setprofile(counts)
    counts.is_on = True
    await yard.worker(only=job_id).run()
    if indexed:
        await yard.indexer.catch_up()
    counts.is_on = False
    sys.setprofile(None)
    pages = (await find_job(yard.store, LOCAL, job_id)).shard.usage.pages
    if pages != PAGES:
        raise RuntimeError(f"the crawl has {pages} pages")
    for function, count in counts.calls.most_common(40):
        sys.stderr.write(f"{count / PAGES:8.2f}  {function}\n")
    return {
        "calls a page": round(counts.calls.total() / PAGES, 2),
        "statements": counts.statements.total(),
        "rows a page": round(counts.rows / PAGES, 2),
        "bytes a page": round((_stored_bytes(yard) - stored) / PAGES),
        "blocks a page": round((counts.peak_blocks - blocks) / PAGES, -1),
    }


def _stored_bytes(yard: Yard) -> int:
    """Return the bytes that the database uses."""
    with closing(sqlite3.connect(yard.settings.data_dir / "crawlyard.db")) as database:
        names = ("page_count", "freelist_count", "page_size")
        total, free, size = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
    return int((total - free) * size)


def _count_crawl(name: str) -> dict[str, float]:
    pace = StepClock()
    ThreadPoolExecutor.submit = _submit  # type: ignore[method-assign,assignment]
    with (
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner(loop_factory=lambda: PacedLoop(pace)) as runner,
    ):
        return runner.run(_crawl(name, Path(folder), pace))


_MODULES = """
import json, sys
from contextlib import suppress
with suppress(SystemExit):
    if sys.argv[1:]:
        from crawlyard.__main__ import run
        run()
    else:
        import crawlyard
# without those that wait for their first use; `isinstance` would load them
loaded = [name for name, module in sys.modules.items() if type(module).__name__ != "_LazyModule"]
ours = [name for name in loaded if name.partition(".")[0] == "crawlyard"]
print(json.dumps({"own modules": len(ours), "modules": len(loaded)}))
"""


def _count_modules(arguments: Sequence[str]) -> dict[str, float]:
    """Return the number of modules that a command has imported at its end."""
    with tempfile.TemporaryDirectory() as folder, _one_page() as url:
        words = [url if argument == "URL" else argument for argument in arguments]
        return _output([sys.executable, "-c", _MODULES, *words], folder)


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Log nothing."""


@contextmanager
def _one_page() -> Iterator[str]:
    """Serve a site of one page; yield its URL."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "index.html").write_text("<title>One</title>", encoding="utf-8")
        handler = partial(_QuietHandler, directory=folder)
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}/"
            server.shutdown()


def _output(command: Sequence[str], folder: str) -> dict[str, float]:
    """Return the JSON object on the last line that *command* prints."""
    outside = {name: value for name, value in os.environ.items() if "CRAWLYARD" not in name}
    done = subprocess.run(
        command,
        env={**outside, "PYTHONHASHSEED": "0", "CRAWLYARD_DATA_DIR": folder},
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure() -> dict[str, dict[str, float]]:
    """Return the counts of each crawl and command, by its name.

    As many at once as there are cores: no figure depends on what else runs.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        crawls = pool.map(_count_crawl_apart, CRAWLS)
        commands = pool.map(_count_modules, COMMANDS.values())
        return dict(zip((*CRAWLS, *COMMANDS), (*crawls, *commands), strict=True))


def _count_crawl_apart(name: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        return _output([sys.executable, "-m", "tests.gauge", "--crawl", name], folder)


def saved() -> dict[str, dict[str, float]]:
    """Return the committed counts."""
    figures: dict[str, dict[str, float]] = json.loads(FIGURES.read_text("utf-8"))
    return figures


def main() -> int:
    """Measure, print and compare; return 1 if a figure has risen."""
    parser = argparse.ArgumentParser(prog="python -m tests.gauge")
    parser.add_argument("--save", action="store_true", help="write tests/gauge.json")
    parser.add_argument("--crawl", choices=CRAWLS, help="count one crawl, in this process")
    options = parser.parse_args()
    if options.crawl:
        sys.stdout.write(f"{json.dumps(_count_crawl(options.crawl))}\n")
        return 0
    figures, before = measure(), saved() if FIGURES.exists() else {}
    for name, counts in figures.items():
        old = before.get(name, {})
        words = (f"{count:>10,g} {unit} ({old.get(unit, 0):,g})" for unit, count in counts.items())
        sys.stdout.write(f"{name:<20}{''.join(words)}\n")
    if options.save:
        FIGURES.write_text(f"{json.dumps(figures, indent=2)}\n", encoding="utf-8")
        return 0
    return int(bool(rises(figures, before)))


def rises(
    figures: Mapping[str, Mapping[str, float]], before: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """Return what has risen by more than the tolerance, or is not among the committed counts."""
    risen = []
    for name, counts in figures.items():
        for unit, count in counts.items():
            most = before.get(name, {}).get(unit, 0.0)
            if unit in GATED and count > most * (1 + TOLERANCE):
                risen.append(f"{name}: {count:g} {unit}, {most:g} before")
    return risen


if __name__ == "__main__":
    sys.exit(main())
