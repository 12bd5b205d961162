"""What `crawlyard bench` writes."""

import asyncio
import sys
from collections.abc import Iterator

from pydantic import BaseModel

from crawlyard.cli import output
from crawlyard.cli.options import OBJECTS, Common, Style
from crawlyard.cli.output import Column, View
from crawlyard.cli.stdout import write_line
from crawlyard.core.quantity import counted


class CrawlOut(BaseModel):
    """Medians of the crawls of one kind."""

    pages_per_s: float
    cpu_s_per_1000_pages: float
    peak_mb: float  # millions of bytes


class BenchOut(BaseModel):
    """What was measured, on what."""

    crawlyard: str
    python: str
    machine: str
    cores: int
    http_client: str
    pages: int  # of the site
    rounds: int
    jobs: int
    stored: CrawlOut  # on SQLite, as every crawl is
    in_memory: CrawlOut  # with nothing stored
    stored_cpu_ratio: float  # CPU of the first beside that of the second
    submits_per_s: float
    claim_p50_ms: float
    claim_p99_ms: float
    took_s: float


class Figure(BaseModel):
    """One figure, as people and programs read it."""

    what: str
    figure: float
    unit: str


def figures(found: BenchOut) -> Iterator[Figure]:
    """Yield all figures, those of crawls first."""
    for name, crawl in (("on SQLite", found.stored), ("nothing stored", found.in_memory)):
        yield Figure(what=f"crawl, {name}", figure=crawl.pages_per_s, unit="pages/s")
        cpu = crawl.cpu_s_per_1000_pages
        yield Figure(what=f"crawl, {name}", figure=cpu, unit="s of CPU per 1,000 pages")
        yield Figure(what=f"crawl, {name}", figure=crawl.peak_mb, unit="MB at most")
    cost = 100 * (found.stored_cpu_ratio - 1)
    yield Figure(what="what storing costs", figure=round(cost, 1), unit="% more CPU")
    yield Figure(what="submitting, one by one", figure=found.submits_per_s, unit="jobs/s")
    yield Figure(what="claiming, median", figure=found.claim_p50_ms, unit="ms")
    yield Figure(what="claiming, 99 of 100", figure=found.claim_p99_ms, unit="ms")


def write(found: BenchOut, common: Common) -> None:
    """Write the figures to stdout, in the format that is asked for; say of what they are."""
    style = common.style_on(terminal=sys.stdout.isatty())
    if common.quiet:
        write_line(f"{found.stored.pages_per_s:g}")
    elif style in OBJECTS:
        output.write_one(found, style)
    else:
        if style is Style.TABLE:
            write_line(f"{about(found)}\n")
        rows, out = output.each(figures(found)), output.console_on(sys.stdout)
        asyncio.run(output.write_all(rows, _FIGURES, style, out, quiet=False))


def about(found: BenchOut) -> str:
    """Return what was measured, and on what, in a sentence."""
    return (
        f"Crawlyard {found.crawlyard}, Python {found.python}, {found.machine}, "
        f"{counted(found.cores, 'core')}; a site of {counted(found.pages, 'page')} on loopback, "
        f"{counted(found.rounds, 'round')}, {counted(found.jobs, 'job')}, in {found.took_s:g} s"
    )


_FIGURES: View[Figure] = View(
    key=lambda figure: figure.what,
    columns=(
        Column(name="WHAT", value=lambda f: f.what),
        Column(
            name="FIGURE", value=lambda f: f.figure, shown=lambda f: f"{f.figure:,}", right=True
        ),
        Column(name="UNIT", value=lambda f: f.unit, wide=True),
    ),
)
