"""`crawlyard demo`: a site of our own and a crawl of it, without internet."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from crawlyard.cli import values
from crawlyard.cli.options import Basics, flat, option
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import here, showing
else:
    here, showing = lazily("crawlyard.cli.here"), lazily("crawlyard.cli.showing")

DATA_DIR = Path("crawlyard-demo")

Pages = Annotated[
    int, option(values.count, "--pages", "N", "How many pages the site has; else 300.")
]
Out = Annotated[
    str, option(str, "--out", "FILE", f"Export the pages to FILE; else {DATA_DIR}/pages.jsonl.")
]


@flat
def demo(*, pages: Pages = 300, out: Out = "", basics: Basics) -> None:
    """Crawl a small site that this command itself serves on loopback.

    crawlyard demo
    crawlyard demo --pages 2000 --out pages.csv
    """
    doing = partial(showing.demo, pages=pages, out=out, json=basics.json)
    here.run(basics, doing, default_dir=DATA_DIR)
