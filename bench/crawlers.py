"""Who is measured: each crawler's command, and how to read what it found."""

import json
import re
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OUT = "pages.jsonl"
LOG = "log.txt"

_SCRIPTS = Path(sysconfig.get_path("scripts"))
_SPIDER = Path(__file__).with_name("spider.py")
_HTML = ("text/html", "application/xhtml+xml")
_ASKED = re.compile(r"'downloader/request_count': (\d+)")


@dataclass(frozen=True, slots=True)
class Found:
    """What one crawl brought."""

    pages: frozenset[str]  # URLs of HTML that came with status 200
    others: frozenset[str]  # URLs of anything else that came with status 200
    requests: int  # sent, robots.txt included


@dataclass(frozen=True, slots=True)
class Crawler:
    """One way to crawl a site."""

    name: str
    command: Callable[[str, int], list[str]]  # of the start URL and how many requests at once
    found: Callable[[Path], Found]  # in the folder in which the command was run
    environment: tuple[tuple[str, str], ...] = ()


def _crawlyard(url: str, at_once: int, *more: str) -> list[str]:
    pace = ["--delay", "0", "--concurrency", str(at_once), "--per-host", str(at_once)]
    command = [str(_SCRIPTS / "crawlyard"), "crawl", url, "--allow-private", *pace]
    return [*command, "--out", OUT, *more]


def _found_by_crawlyard(folder: Path) -> Found:
    records = _records(folder)
    answered = [record for record in records if record["error"] is None]
    # every answer that is no redirect has a record, and the sites have one robots.txt
    return _found(answered, "final_url", len(records) + 1)


def _scrapy(url: str, at_once: int, *more: str) -> list[str]:
    settings = {
        "ROBOTSTXT_OBEY": True,
        "DOWNLOAD_DELAY": 0,
        "CONCURRENT_REQUESTS": at_once,
        "CONCURRENT_REQUESTS_PER_DOMAIN": at_once,
        "LOG_LEVEL": "INFO",
    }
    command = [str(_SCRIPTS / "scrapy"), "runspider", str(_SPIDER), "-a", f"start={url}"]
    command += ["-O", f"{OUT}:jsonlines"]
    for name, value in settings.items():
        command += ["-s", f"{name}={value}"]
    return [*command, *more]


def _found_by_scrapy(folder: Path) -> Found:
    told = _ASKED.search((folder / LOG).read_text(encoding="utf-8"))
    return _found(_records(folder), "url", int(told[1]) if told else 0)


def _records(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / OUT).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _found(records: list[dict[str, Any]], url: str, requests: int) -> Found:
    came = [record for record in records if record["status"] == 200]
    pages = {record[url] for record in came if record["content_type"].startswith(_HTML)}
    return Found(frozenset(pages), frozenset({record[url] for record in came} - pages), requests)


CRAWLYARD = Crawler(
    "Crawlyard", lambda url, n: _crawlyard(url, n, "--text", "none"), _found_by_crawlyard
)
IN_MEMORY = Crawler(
    "Crawlyard, nothing stored",
    CRAWLYARD.command,
    _found_by_crawlyard,
    (("CRAWLYARD_DATABASE_URL", "memory://"),),
)
WITH_TEXT = Crawler("Crawlyard, with text", _crawlyard, _found_by_crawlyard)
SCRAPY = Crawler("Scrapy", _scrapy, _found_by_scrapy)
RESUMABLE = Crawler(
    "Scrapy, resumable",
    lambda url, n: _scrapy(url, n, "-s", "JOBDIR=job"),
    _found_by_scrapy,
)

ALL = (CRAWLYARD, SCRAPY, IN_MEMORY, RESUMABLE, WITH_TEXT)
