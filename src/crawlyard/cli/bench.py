"""`crawlyard bench`: how fast this machine crawls and queues, without internet."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from crawlyard.cli import values
from crawlyard.cli.loop import traced
from crawlyard.cli.options import Common, Style, choice, flag, flat, option
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import bench_work
else:
    bench_work = lazily("crawlyard.cli.bench_work")

Pages = Annotated[
    int, option(values.count, "--pages", "N", "How many pages the site has; else 2,000.")
]
Rounds = Annotated[
    int, option(values.count, "--rounds", "N", "How often each is measured, in turns; else 3.")
]
Jobs = Annotated[int, option(values.count, "--jobs", "N", "How many jobs are submitted; else 500.")]
Folder = Annotated[
    Path, option(Path, "--folder", "DIR", "The disk to measure; else that of this folder.")
]
Written = Annotated[Style | None, choice("--output", "-o", of=Style, text="How to write it")]
Json = Annotated[bool, flag("--json", text="Write JSON to stdout.")]
Quiet = Annotated[bool, flag("--quiet", "-q", text="No progress; pages a second only.")]
Debug = Annotated[bool, flag("--debug", text="Show the traceback of an error.")]


@flat
def bench(
    *,
    pages: Pages = 2_000,
    rounds: Rounds = 3,
    jobs: Jobs = 500,
    folder: Folder = Path(),
    style: Written = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure how fast this machine crawls and queues, in less than a minute.

    crawlyard bench
    crawlyard bench --pages 10000 -o json
    crawlyard bench --folder /var/lib/crawlyard

    A site of our own is served on loopback by another process, and crawled with 32 requests
    at once and no delay: on SQLite, as every crawl is, and with nothing stored. Then jobs are
    submitted and claimed one by one, on SQLite. CPU is what the crawl's process takes, its
    start excluded; memory is the most that it has resident. The figures are medians. On real
    sites, the network and the delay between two requests decide; see --delay of crawlyard crawl.
    """
    asked = bench_work.Asked(pages=pages, rounds=rounds, jobs=jobs, folder=folder)
    with traced(debug=debug):
        bench_work.bench(asked, Common(style=style, json=json, quiet=quiet, debug=debug))
