"""`crawlyard demo`: a site of our own and a crawl of it, without internet."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from crawlyard.cli import values
from crawlyard.cli.options import Basics, flat, option
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import here
    from crawlyard.cli.server import demo_run
else:
    here, demo_run = lazily("crawlyard.cli.here"), lazily("crawlyard.cli.server.demo_run")

DATA_DIR = Path("crawlyard-demo")

Pages = Annotated[
    int, option(values.count, "--pages", "N", "How many pages the site has; else 300.")
]
Out = Annotated[
    str,
    option(str, "--out", "FILE", "Export the pages to FILE; else to pages.jsonl in --data-dir."),
]
_KEPT = f"Where the job is kept; else CRAWLYARD_DATA_DIR, or {DATA_DIR}."


class DemoBasics(Basics, frozen=True, kw_only=True):
    """What every command can be told; jobs have another folder by default."""

    data_dir: Annotated[Path | None, option(Path, "--data-dir", "DIR", _KEPT)] = None


@flat
def demo(*, pages: Pages = 300, out: Out = "", basics: DemoBasics) -> None:
    """Crawl a small site that this command itself serves on loopback.

    crawlyard demo
    crawlyard demo --pages 2000 --out pages.csv
    """
    doing = partial(demo_run.demo, pages=pages, out=out, json=basics.json)
    here.run(basics, doing, default_dir=DATA_DIR)
