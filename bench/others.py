"""Other crawlers: Crawlee, wget2 and spider, each if installed."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from bench.crawlers import (
    OF_SCRAPY,
    OURS,
    PEERS,
    TRAFILATURA,
    Crawler,
    CrawlResult,
    records_in,
    result_of,
)

_SITE = "sites.csv"  # one row per URL, written by wget2
_SPIDER = "@spider-rs/spider-rs"
_VERSION = "0.0.163"
_NATIVE = "0.0.157"  # the last published build; the package does not depend on it


def contenders(work: Path) -> tuple[list[Crawler], list[str]]:
    """Return those who can be measured here, and a line for each who cannot.

    What Node needs is installed below *work*.
    """
    crawlers, missing = list(OURS), []
    extra = "pip install -e '.[bench]'"
    if find_spec("scrapy") and find_spec("selectolax"):
        crawlers += OF_SCRAPY
    else:
        missing.append(f"Scrapy: it is not installed ({extra})")
    if find_spec("scrapy") and find_spec("trafilatura"):
        crawlers.append(TRAFILATURA)
    else:
        missing.append("trafilatura: it is not installed (pip install trafilatura)")
    if find_spec("crawl4ai"):
        crawlers.append(_CRAWL4AI)
    else:
        missing.append("Crawl4AI: it is not installed (pip install crawl4ai)")
    if find_spec("crawlee") and find_spec("selectolax"):
        crawlers += _CRAWLEES
    else:
        missing.append(f"Crawlee: it is not installed ({extra})")
    if shutil.which("wget2"):
        crawlers += _WGET2
    else:
        missing.append("wget2: it is not installed")
    spider, why = _spider(work)
    if spider is None:
        missing.append(f"spider: {why}")
    else:
        crawlers.append(spider)
    return crawlers, missing


def versions() -> list[str]:
    """Return the versions of the installed tools that are not Python packages."""
    lines = []
    for command in (["wget2", "--version"], ["node", "--version"]):
        path = shutil.which(command[0])
        if path is not None:
            ran = subprocess.run([path, *command[1:]], capture_output=True, text=True, check=True)  # noqa: S603 - found on the path
            lines.append(f"{command[0]} {ran.stdout.split()[-1 if command[0] == 'node' else 2]}")
    return [*lines, f"spider {_VERSION} (native {_NATIVE})"]


def _script(script: str, *more: str) -> Crawler:
    name, *words = more
    return Crawler(
        name,
        lambda url, at_once: [sys.executable, str(PEERS / script), url, str(at_once), *words],
        _result_of_script,
    )


def _result_of_script(folder: Path) -> CrawlResult:
    files = (folder / "storage" / "datasets" / "default").glob("0*.json")
    items = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return result_of(items or records_in(folder))


def _wget2(*options: str) -> Callable[[str, int], list[str]]:
    def command(url: str, at_once: int) -> list[str]:
        words = ["wget2", "--recursive", "--level", "0", "--max-threads", str(at_once), *options]
        return [*words, "--no-verbose", f"--stats-site=csv:{_SITE}", url]

    return command


def _result_of_wget2(folder: Path) -> CrawlResult:
    file = folder / _SITE
    if not file.exists():
        return result_of([])
    with file.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if (row["Status"] or "").isdigit()]
    records = [
        {"url": row["URL"], "status": int(row["Status"]), "content_type": row["Content-Type"] or ""}
        for row in rows
    ]
    return result_of(records, len(rows))


def _spider(work: Path) -> tuple[Crawler | None, str]:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None, "there is no Node with npm"
    folder = work / "npm"
    native = f"{_SPIDER}-linux-x64-gnu@{_NATIVE}"
    command = [npm, "install", "--prefix", str(folder), f"{_SPIDER}@{_VERSION}", native]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    if ran.returncode:
        return None, f"npm did not install it: {ran.stderr.strip().splitlines()[-1]}"
    crawler = Crawler(
        "spider",
        # it does not crawl hosts that are addresses
        lambda url, _: [node, str(PEERS / "spider.cjs"), url.replace("127.0.0.1", "localhost")],
        lambda place: result_of(records_in(place)),
        (("NODE_PATH", str(folder / "node_modules")),),
    )
    return crawler, ""


_CRAWLEES = (
    _script("crawlee_parsel.py", "Crawlee, ParselCrawler"),
    _script("crawlee_http.py", "Crawlee, HttpCrawler"),
    _script("crawlee_http.py", "Crawlee, tuned", "known"),
)
_CRAWL4AI = _script("markdown_crawl4ai.py", "Crawl4AI, HTTP")
_WGET2 = (  # 8: a link led to an error
    Crawler("wget2", _wget2(), _result_of_wget2, exits=(0, 8)),
    Crawler("wget2, files deleted", _wget2("--delete-after"), _result_of_wget2, exits=(0, 8)),
)
