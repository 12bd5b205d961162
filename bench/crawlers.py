"""Who is measured, of ours and of Scrapy: each one's command, and how to read what it found."""

import json
import re
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

OUT = "pages.jsonl"
LOG = "log.txt"
SCRIPTS = Path(sysconfig.get_path("scripts"))
PEERS = Path(__file__).with_name("peers")

_SPIDER = Path(__file__).with_name("spider.py")
_HTML = ("text/html", "application/xhtml+xml")
_ASKED = re.compile(r"'downloader/request_count': (\d+)")


@dataclass(frozen=True, slots=True)
class Found:
    """What one crawl brought, by the paths of URLs."""

    pages: frozenset[str]  # HTML that came with status 200
    others: frozenset[str]  # anything else that came with status 200
    requests: int  # sent, robots.txt included; 0: it does not say
    failed: frozenset[str] = frozenset()  # URLs that came with another status, if it tells of them


@dataclass(frozen=True, slots=True)
class Crawler:
    """One way to crawl a site."""

    name: str
    command: Callable[[str, int], list[str]]  # of the start URL and how many requests at once
    found: Callable[[Path], Found]  # in the folder in which the command was run
    environment: tuple[tuple[str, str], ...] = ()
    exits: tuple[int, ...] = (0,)  # codes with which its command may end


def _crawlyard(url: str, at_once: int, *more: str) -> list[str]:
    pace = ["--delay", "0", "--concurrency", str(at_once), "--per-host", str(at_once)]
    command = [str(SCRIPTS / "crawlyard"), "crawl", url, "--allow-private", *pace]
    return [*command, "--out", OUT, *more]


def _with_options(*options: str) -> Callable[[str, int], list[str]]:
    return lambda url, at_once: _crawlyard(url, at_once, *options)


def _found_by_crawlyard(folder: Path) -> Found:
    records = records_in(folder)
    answered = [record for record in records if record["error"] is None]
    # every answer that is no redirect has a record, and the sites have one robots.txt
    return found_of(answered, len(records) + 1, url="final_url")


def _scrapy(spider: Path, *more: str) -> Callable[[str, int], list[str]]:
    def command(url: str, at_once: int) -> list[str]:
        settings = {
            "ROBOTSTXT_OBEY": True,
            "DOWNLOAD_DELAY": 0,
            "CONCURRENT_REQUESTS": at_once,
            "CONCURRENT_REQUESTS_PER_DOMAIN": at_once,
            "LOG_LEVEL": "INFO",
        }
        words = [str(SCRIPTS / "scrapy"), "runspider", str(spider), "-a", f"start={url}"]
        words += ["-O", f"{OUT}:jsonlines"]
        for name, value in settings.items():
            words += ["-s", f"{name}={value}"]
        return [*words, *more]

    return command


def _found_by_scrapy(folder: Path) -> Found:
    told = _ASKED.search((folder / LOG).read_text(encoding="utf-8"))
    return found_of(records_in(folder), int(told[1]) if told else 0)


def records_in(folder: Path) -> list[dict[str, Any]]:
    """Return what a crawl has written into its folder; nothing, if it was stopped before."""
    file = folder / OUT
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def found_of(records: Sequence[Mapping[str, Any]], requests: int = 0, *, url: str = "url") -> Found:
    """Return what the records of a crawl say that it found."""
    came = [record for record in records if record["status"] == 200]
    html = [record for record in came if record["content_type"].startswith(_HTML)]
    pages = {path_of(record[url]) for record in html}
    others = {path_of(record[url]) for record in came} - pages
    failed = {path_of(record[url]) for record in records if record["status"] != 200}
    return Found(frozenset(pages), frozenset(others), requests, frozenset(failed))


def path_of(url: str) -> str:
    """Return a URL without scheme and host: not all call the host by the same name."""
    return urlsplit(url)._replace(scheme="", netloc="", fragment="").geturl()


_MEMORY = ("CRAWLYARD_DATABASE_URL", "memory://")

# the others in the comparison keep no text either
CRAWLYARD = Crawler("Crawlyard, no text", _with_options("--text", "none"), _found_by_crawlyard)
IN_MEMORY = Crawler("Crawlyard, nothing stored", CRAWLYARD.command, _found_by_crawlyard, (_MEMORY,))
WITH_TEXT = (
    Crawler("Crawlyard, default", _with_options(), _found_by_crawlyard),
    Crawler("Crawlyard, whole text", _with_options("--text", "text"), _found_by_crawlyard),
    Crawler("Crawlyard, main text", _with_options("--text", "main"), _found_by_crawlyard),
)
SCRAPY = Crawler("Scrapy", _scrapy(_SPIDER), _found_by_scrapy)
RESUMABLE = Crawler("Scrapy, resumable", _scrapy(_SPIDER, "-s", "JOBDIR=job"), _found_by_scrapy)
TUNED = Crawler(
    "Scrapy, tuned",
    _scrapy(PEERS / "scrapy_tuned.py", "-s", "ASYNCIO_EVENT_LOOP=uvloop.Loop"),
    _found_by_scrapy,
)

OURS = (CRAWLYARD, IN_MEMORY, *WITH_TEXT)
OF_SCRAPY = (SCRAPY, RESUMABLE, TUNED)
