"""Loops without a command around them: ``python -m bench.loops LOOP URL AT_ONCE [PATHS]``.

- ``engine``: a job of Crawlyard on a store in memory, without an export.
- ``bare``: fetches known URLs with Crawlyard's client, parses them and joins their links; that
  is all it does.
- ``extract``: the same, but reads out of a page all that Crawlyard reads.
- ``fetch``: fetches known URLs and throws them away.

What the loop took, without its start, is left in ``loop.json``; what it brought in
``pages.jsonl``. PATHS is a file with a path a line.
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import can_ada
import turbohtml
import uvloop
from tests.jobs import submit

from bench.crawlers import OUT
from bench.workers import a_spec
from crawlyard import Settings, TextMode, Yard
from crawlyard.clock import SystemClock
from crawlyard.engine.extract.page import ExtractOptions, PageSource, extract
from crawlyard.engine.http.client import HttpFetcher
from crawlyard.engine.http.fetch import Fetcher, Response
from crawlyard.engine.http.guard import spec_guard
from crawlyard.services.results.records import page_records
from crawlyard.store.queries import PageQuery

TOOK = "loop.json"

Read = Callable[[str, Response], object]

_OPTIONS = ExtractOptions(text=TextMode.NONE)
_CAP = 16 * 1024 * 1024  # bytes of a body: more than the largest page has


@contextmanager
def _timed() -> Iterator[None]:
    """Write what the block took, wall and CPU, in seconds."""
    began, spent = time.monotonic(), _cpu_s()
    yield
    took = {"wall_s": time.monotonic() - began, "cpu_s": _cpu_s() - spent}
    Path(TOOK).write_text(json.dumps(took), encoding="utf-8")


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def engine(url: str, at_once: int) -> None:
    """Crawl a site by a yard in memory."""
    async with Yard.open(Settings(database_url="memory://")) as yard:
        job = await submit(yard, a_spec(url, at_once))
        worker = yard.worker(only=job.id)
        with _timed():
            await worker.run()
        pages = [stored.page async for stored, _ in page_records(yard.store, job.id, PageQuery())]
    # with what is no page: the loops without logic are to ask for the same
    _write((p.final_url, p.status, p.content_type) for p in pages if p.status is not None)


async def fetch_known(url: str, at_once: int, paths: Sequence[str], read: Read | None) -> None:
    """Fetch all *paths* of the site of *url*, so many at once, and *read* each page."""
    settings, spec = Settings(), a_spec(url, at_once)
    fetcher = HttpFetcher(spec_guard(spec), timedelta(seconds=spec.timeout_s), SystemClock())
    origin = url[: url.index("/", len("https://"))]
    urls = iter([f"{origin}{path}" for path in paths])  # joined, "//x" would be another host
    headers = {"User-Agent": settings.user_agent, "Accept-Encoding": "gzip"}
    fetched: list[tuple[str, int, str]] = []
    try:
        with _timed():
            each = [_fetch_all(fetcher, urls, headers, fetched, read) for _ in range(at_once)]
            await asyncio.gather(*each)
    finally:
        await fetcher.close()
    _write(fetched)


async def _fetch_all(
    fetcher: Fetcher,
    urls: Iterator[str],
    headers: dict[str, str],
    fetched: list[tuple[str, int, str]],
    read: Read | None,
) -> None:
    for url in urls:
        response = await fetcher.fetch(url, headers, _CAP)
        if read and response.status == 200 and response.content_type == "text/html":
            read(url, response)
        fetched.append((url, response.status, response.content_type))


def _extract(url: str, response: Response) -> object:
    return extract(response.body, PageSource(url=url, charset=response.charset, options=_OPTIONS))


def _read(url: str, response: Response) -> object:
    """Return title and links of a page."""
    document = turbohtml.parse(response.body, encoding=response.charset or "utf-8", positions=False)
    hrefs: dict[str, None] = {}
    title = ""
    for node in document.select("a[href],title"):
        if node.tag == "title":
            title = node.text
        else:
            hrefs[(node.attr("href") or "").partition("#")[0]] = None
    base = can_ada.parse(url)
    links = []
    for href in hrefs:
        try:
            links.append((base + href).href)
        except ValueError:
            continue
    return title, links


READERS: Mapping[str, Read] = {"bare": _read, "extract": _extract}
"""What is done with a page, by the loop that does it."""


def _write(fetched: "Iterator[tuple[str, int | None, str]] | list[tuple[str, int, str]]") -> None:
    with Path(OUT).open("w", encoding="utf-8") as out:
        out.writelines(
            f"{json.dumps({'url': url, 'status': status, 'content_type': kind})}\n"
            for url, status, kind in fetched
        )


def main() -> None:
    """Run the loop that the command line names."""
    loop, url, at_once, *file = sys.argv[1:]
    if loop == "engine":
        uvloop.run(engine(url, int(at_once)))
        return
    paths = Path(file[0]).read_text(encoding="utf-8").splitlines()
    uvloop.run(fetch_known(url, int(at_once), paths, READERS.get(loop)))


if __name__ == "__main__":
    main()
