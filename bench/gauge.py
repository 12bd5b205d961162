"""CPU of the command, beside loops that do less: ``python -m bench.gauge FOLDER --start PAGE``.

FOLDER is a site, or with ``--site`` where `bench.sites` has put it. Loops and commands take turns,
and a ratio is of figures of the same turn, so that a busy machine moves it less than the seconds.
Behind each median stand the lowest and the highest ratio. ``--against DIR`` runs the commands of
another checkout, with its own ``.venv``, in the same turns.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from bench import machine
from bench.crawlers import CRAWLYARD, DEFAULT, SCRIPTS, WHOLE_TEXT, Crawler, result_of
from bench.loops_run import loops
from bench.report import Run, brief, markdown, spread
from bench.serving import served
from bench.sites import DocsSite, names, site
from bench.turn import crawl_once, environment, list_paths, one_page, pin_cores, warm

AT_ONCE = 32  # requests
SQLALCHEMY, ONE_PAGE, NONE = "import sqlalchemy", "crawl of one page", "none"
THERE = ", there"  # commands of the other checkout


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.gauge", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the sites, or the root of one")
    parser.add_argument("--site", choices=list(names()), help="of bench.sites")
    parser.add_argument("--start", default="", help="of a folder of one's own: its start page")
    parser.add_argument("--turns", type=int, default=4, help="four take about three minutes")
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout")
    options = parser.parse_args(words)
    if not options.folder.is_dir() or options.turns < 1:
        parser.error(f"expected a folder and at least one turn, got {options.folder}")
    return options


def commands(
    scripts: Path, data: Path, urls: tuple[str, str], pin: Sequence[str], suffix: str = ""
) -> Iterator[tuple[Crawler, str]]:
    """Crawl the site into the folder *data*; yield the commands of a checkout with their URLs."""
    program, place = str(scripts / "crawlyard"), (("CRAWLYARD_DATA_DIR", str(data)),)

    def crawl(name: str, crawler: Crawler, *more: str) -> Crawler:
        def words(url: str, at_once: int) -> list[str]:
            return [program, *crawler.command(url, at_once)[1:], *more]

        return replace(crawler, name=name + suffix, command=words)

    def start(name: str, *words: str) -> Crawler:
        return Crawler(name + suffix, lambda *_: list(words), lambda _: result_of([]), place)

    earlier = replace(crawl("earlier", DEFAULT), environment=place)
    crawl_once(earlier, urls[0], AT_ONCE, pin)
    listing = [program, "jobs", "list", "--json"]
    jobs = json.loads(subprocess.check_output(listing, env=environment() | dict(place)))  # noqa: S603 - our own words
    again = crawl("not modified", DEFAULT, "--since", jobs[0]["id"])
    yield start(SQLALCHEMY, str(scripts / "python"), "-c", SQLALCHEMY), urls[1]
    yield crawl(ONE_PAGE, CRAWLYARD), urls[1]
    yield start("jobs list", program, "jobs", "list"), urls[1]
    yield start("--help", program, "--help"), urls[1]
    yield crawl(NONE, CRAWLYARD), urls[0]
    yield crawl("none, no links", CRAWLYARD, "--no-keep-links"), urls[0]
    yield crawl("text", WHOLE_TEXT), urls[0]
    yield crawl("default", DEFAULT), urls[0]
    yield replace(again, environment=place), urls[0]


def take_turns(
    crawlers: Sequence[tuple[Crawler, str]], turns: int, pin: Sequence[str]
) -> dict[str, list[Run]]:
    """Run all in turns; return their runs by name, without what the other checkout cannot do."""
    runs: dict[str, list[Run]] = {crawler.name: [] for crawler, _ in crawlers}
    for turn in range(1, turns + 1):
        for crawler, url in crawlers[:: 1 if turn % 2 else -1]:
            if crawler.name not in runs:
                continue
            try:
                runs[crawler.name].append(crawl_once(crawler, url, AT_ONCE, pin))
            except RuntimeError:
                if not crawler.name.endswith(THERE):
                    raise
                del runs[crawler.name]
            else:
                sys.stderr.write(f"{turn} {crawler.name}: {brief(runs[crawler.name][-1])}\n")
    return runs


def tables(runs: Mapping[str, Sequence[Run]], loop_names: Sequence[str]) -> Iterator[str]:
    """Yield the tables."""
    crawled = {name: of_it for name, of_it in runs.items() if len(of_it[0].result.pages) > 1}
    cpus = {name: [run.cost.cpu_s for run in of_it] for name, of_it in runs.items()}
    cpus |= {name: [run.cpu_s_per_1000 for run in of_it] for name, of_it in crawled.items()}
    bases = loop_names[1:]
    crawls = [["CPU s per 1,000 pages", "median", *(f"÷ {name}" for name in bases), "peak MB"]]
    starts = [["start", "CPU s", f"÷ {SQLALCHEMY}"]]
    comparison = [["here and there", "here ÷ there"]]
    for name, of_it in runs.items():
        first = [name, f"{median(cpus[name]):.2f}"]
        if name in crawled:
            peak = f"{median(run.peak_mb for run in of_it):.0f}"
            crawls.append([*first, *(spread(cpus[name], cpus[base]) for base in bases), peak])
        else:
            starts.append([*first, spread(cpus[name], cpus[SQLALCHEMY])])
        if name + THERE in cpus:
            comparison.append([name, spread(cpus[name], cpus[name + THERE])])
    engine, _, extract, fetch = loop_names
    pairs = zip(runs[NONE], cpus[ONE_PAGE], strict=True)
    rest = [(run.cost.cpu_s - start) * 1000 / len(run.result.pages) for run, start in pairs]
    aims = [["aim", "ratio"], [f"{engine} ÷ {extract}", spread(cpus[engine], cpus[extract])]]
    aims.append([f"{NONE} without its start ÷ {fetch}", spread(rest, cpus[fetch])])
    yield from (markdown(rows) for rows in (crawls, starts, aims, comparison) if len(rows) > 1)


def main() -> None:
    """Measure and write the tables to stdout."""
    options, pins, load = parse(), pin_cores(), os.getloadavg()[0]
    own = DocsSite("", options.folder, options.start)
    place = site(options.folder, options.site) if options.site else own
    warm(place.folder)
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        served(place.folder, pins[0], Path(folder)) as server,
        one_page(pins[0], Path(folder)) as page,
    ):
        work, urls = Path(folder), (f"{server.url}{place.start}", page.url)
        list_paths(urls[0], AT_ONCE, pins[1], work / "paths.txt")
        inner = list(loops(work / "paths.txt"))
        crawlers = list(commands(SCRIPTS, work / "here", urls, pins[1]))
        if options.against:
            scripts = options.against.resolve() / ".venv/bin"
            foreign = commands(scripts, work / "there", urls, pins[1], THERE)
            crawlers = [each for pair in zip(crawlers, foreign, strict=True) for each in pair]
        crawlers += [(loop, urls[0]) for loop in inner]
        runs = take_turns(crawlers, options.turns, pins[1])
    circumstances = machine.describe(server.by, load, (), pinned=bool(pins[0]))
    parts = [circumstances, *tables(runs, [loop.name for loop in inner])]
    sys.stdout.write("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
