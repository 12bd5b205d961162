"""Crawls real sites by Crawlyard and by others in turns, and compares them.

``pip install -e '.[bench]'`` and ``python -m bench.sites FOLDER`` first; then
``python -m bench.engine FOLDER --site pg --site boost``. Progress goes to stderr, tables to
stdout. Who is not installed is left out, and the result says so. A folder of one's own:
``python -m bench.engine FOLDER --start index.html``.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from bench import machine, report
from bench.crawlers import CRAWLYARD, IN_MEMORY, Crawler
from bench.limit import requests_per_s
from bench.loops_run import ENGINE, loops
from bench.others import contenders, versions
from bench.report import Run
from bench.serving import served
from bench.sites import DocsSite, names, site
from bench.turn import MOST_S, Pins, crawl_once, list_paths, one_page, pin_cores, warm


@dataclass
class Measured:
    """Measurements of one site."""

    site: DocsSite
    by: str = ""
    load: float = 0.0
    runs: dict[Crawler, list[Run]] = field(default_factory=dict)
    starts: dict[Crawler, Run] = field(default_factory=dict)
    loops: dict[Crawler, list[Run]] = field(default_factory=dict)
    limit: float | None = None  # requests a second
    left_out: list[str] = field(default_factory=list)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the sites, or the root of one")
    parser.add_argument("--site", action="append", choices=list(names()), help="of bench.sites")
    parser.add_argument("--start", default="", help="of a folder of one's own: its start page")
    parser.add_argument("--rounds", type=int, default=3, help="crawls by each crawler")
    parser.add_argument("--concurrency", type=int, default=32, help="requests at once")
    parser.add_argument("--only", default="", help="names, with | between; * is any text")
    parser.add_argument("--skip", default="", help="names to leave out, in the same form")
    parser.add_argument("--most-seconds", type=float, default=MOST_S, help="of one crawl")
    parser.add_argument("--no-loops", action="store_true", help="commands alone")
    parser.add_argument("--charset", default="utf-8", help="in the Content-Type; may be empty")
    options = parser.parse_args()
    if not options.folder.is_dir() or options.rounds < 1:
        parser.error(f"expected a folder and at least one round, got {options.folder}")
    return options


def main() -> int:
    """Measure and write the result; return 1 if Crawlyard did not find the same each time."""
    options = _options()
    pins = pin_cores()
    steady = True
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        every, missing = contenders(Path(work))
        chosen = [crawler for crawler in every if _is_chosen(crawler.name, options)]
        skipped = [crawler.name for crawler in every if crawler not in chosen]
        starts = _starts(chosen, options, pins, Path(work))
        for place in _sites(options):
            result = _measure(place, chosen, options, pins, Path(work))
            result.starts = starts
            result.left_out[:0] = missing + [f"{name}: by --only or --skip" for name in skipped]
            sys.stdout.write(_report(result, pinned=bool(pins[0])))
            pages = {run.result.pages for run in result.runs.get(CRAWLYARD, [])}
            steady = steady and len(pages) <= 1
    return int(not steady)


def _sites(options: argparse.Namespace) -> list[DocsSite]:
    if options.site:
        return [site(options.folder, name) for name in options.site]
    return [DocsSite(options.folder.resolve().name, options.folder, options.start)]


def _starts(
    crawlers: Sequence[Crawler],
    options: argparse.Namespace,
    pins: Pins,
    work: Path,
) -> dict[Crawler, Run]:
    """Return what a crawl of one page takes by each: its start, and little else."""
    starts = {}
    with one_page(pins[0], work, options.charset) as server:
        for crawler in crawlers:
            with suppress(RuntimeError):  # reported with the first site
                starts[crawler] = _crawl(crawler, server.url, options, pins)
    return starts


def _is_chosen(name: str, options: argparse.Namespace) -> bool:
    def among(words: str) -> bool:
        return any(fnmatchcase(name, word.strip()) for word in words.split("|"))

    return (not options.only or among(options.only)) and not (options.skip and among(options.skip))


def _measure(
    place: DocsSite,
    crawlers: Sequence[Crawler],
    options: argparse.Namespace,
    pins: Pins,
    work: Path,
) -> Measured:
    """Crawl one site by all, in turns."""
    warm(place.folder)
    result = Measured(place, load=os.getloadavg()[0])
    with served(place.folder, pins[0], work, charset=options.charset) as server:
        result.by = server.by
        url = f"{server.url}{place.start}"
        paths = work / f"{place.name}.txt"
        list_paths(url, options.concurrency, pins[1], paths, options.most_seconds)
        inner = [] if options.no_loops else list(loops(paths))
        broken: set[Crawler] = set()
        for turn in range(1, options.rounds + 1):
            for crawler in (*crawlers, *inner):
                if crawler in broken:
                    continue
                into = result.loops if crawler in inner else result.runs
                try:
                    run = _crawl(crawler, url, options, pins)
                except RuntimeError as error:
                    broken.add(crawler)
                    into.pop(crawler, None)
                    result.left_out.append(f"{crawler.name}: {str(error)[-300:]!r}")
                    continue
                into.setdefault(crawler, []).append(run)
                _log(f"{place.name} {turn}/{options.rounds} {crawler.name}: {report.brief(run)}")
        result.left_out += report.drop_partial(result.runs)
        if inner:
            result.limit = requests_per_s(server.url, paths, options.concurrency, pins[1], work)
    return result


def _crawl(crawler: Crawler, url: str, options: argparse.Namespace, pins: Pins) -> Run:
    return crawl_once(crawler, url, options.concurrency, pins[1], options.most_seconds)


def _report(result: Measured, *, pinned: bool) -> str:
    """Return the results of a site as Markdown."""
    circumstances = machine.describe(result.by, result.load, versions(), pinned=pinned)
    size = max((len(run.result.pages) for of in result.runs.values() for run in of), default=0)
    parts = [f"## {result.site.name}: {size:,} pages", circumstances]
    base = CRAWLYARD if CRAWLYARD in result.runs else next(iter(result.runs), None)
    if base is not None:
        parts.append(report.table(result.runs, base, result.starts))
        if result.runs.keys() >= {CRAWLYARD, IN_MEMORY}:
            parts.append(report.checkpoint_cost(result.runs[CRAWLYARD], result.runs[IN_MEMORY]))
        if len(result.runs) > 1:
            parts.append(f"What was found, beside {base.name}:")
            parts.append(report.differences(result.runs, base))
    if ENGINE in result.loops:
        parts.append(report.loops(result.loops, result.limit))
    if result.left_out:
        parts.append("Left out:\n\n" + "\n".join(f"- {line}" for line in result.left_out))
    return "\n\n".join(parts) + "\n\n"


def _log(words: str) -> None:
    sys.stderr.write(f"{words}\n")


if __name__ == "__main__":
    sys.exit(main())
