"""Commands of Crawlyard and Scrapy, and the readers of their results."""

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
_REQUEST_COUNT = re.compile(r"'downloader/request_count': (\d+)")


@dataclass(frozen=True, slots=True)
class CrawlResult:
    """Result of one crawl, by the paths of URLs."""

    pages: frozenset[str]  # HTML answered with status 200
    other_files: frozenset[str]  # anything else answered with status 200
    requests: int  # sent, robots.txt included; 0: unknown
    failed: frozenset[str] = frozenset()  # answered with another status, if reported


@dataclass(frozen=True, slots=True)
class Crawler:
    """One way to crawl a site."""

    name: str
    command: Callable[[str, int], list[str]]  # of the start URL and how many requests at once
    read_result: Callable[[Path], CrawlResult]  # in the folder in which the command was run
    environment: tuple[tuple[str, str], ...] = ()
    exits: tuple[int, ...] = (0,)  # codes with which its command may end


def _crawlyard(url: str, at_once: int, *more: str) -> list[str]:
    pace = ["--delay", "0", "--concurrency", str(at_once), "--per-host", str(at_once)]
    command = [str(SCRIPTS / "crawlyard"), "crawl", url, "--allow-private", *pace]
    return [*command, "--out", OUT, *more]


def _with_options(*options: str) -> Callable[[str, int], list[str]]:
    return lambda url, at_once: _crawlyard(url, at_once, *options)


def _result_of_crawlyard(folder: Path) -> CrawlResult:
    records = records_in(folder)
    answered = [record for record in records if record["error"] is None]
    # every answer that is no redirect has a record, and the sites have one robots.txt
    return result_of(answered, len(records) + 1, url="final_url")


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


def _result_of_scrapy(folder: Path) -> CrawlResult:
    match = _REQUEST_COUNT.search((folder / LOG).read_text(encoding="utf-8"))
    return result_of(records_in(folder), int(match[1]) if match else 0)


def records_in(folder: Path) -> list[dict[str, Any]]:
    """Return what a crawl has written into its folder; nothing, if it was stopped before."""
    file = folder / OUT
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def result_of(
    records: Sequence[Mapping[str, Any]], requests: int = 0, *, url: str = "url"
) -> CrawlResult:
    """Return what the records of a crawl say that it found."""
    fetched = [record for record in records if record["status"] == 200]
    html = [record for record in fetched if record["content_type"].startswith(_HTML)]
    pages = {path_of(record[url]) for record in html}
    other_files = {path_of(record[url]) for record in fetched} - pages
    failed = {path_of(record[url]) for record in records if record["status"] != 200}
    return CrawlResult(frozenset(pages), frozenset(other_files), requests, frozenset(failed))


def path_of(url: str) -> str:
    """Return a URL without scheme and host: not all call the host by the same name."""
    return urlsplit(url)._replace(scheme="", netloc="", fragment="").geturl()


_MEMORY = ("CRAWLYARD_DATABASE_URL", "memory://")

# the others in the comparison keep no text either
CRAWLYARD = Crawler("Crawlyard, no text", _with_options("--text", "none"), _result_of_crawlyard)
IN_MEMORY = Crawler(
    "Crawlyard, nothing stored", CRAWLYARD.command, _result_of_crawlyard, (_MEMORY,)
)
DEFAULT = Crawler("Crawlyard, default", _with_options(), _result_of_crawlyard)
WHOLE_TEXT = Crawler("Crawlyard, whole text", _with_options("--text", "text"), _result_of_crawlyard)
NO_LINKS = Crawler(
    "Crawlyard, no text or links",
    _with_options("--text", "none", "--no-keep-links"),
    _result_of_crawlyard,
)
MAIN_TEXT = Crawler("Crawlyard, main text", _with_options("--text", "main"), _result_of_crawlyard)
SCRAPY = Crawler("Scrapy", _scrapy(_SPIDER), _result_of_scrapy)
RESUMABLE = Crawler("Scrapy, resumable", _scrapy(_SPIDER, "-s", "JOBDIR=job"), _result_of_scrapy)
_UVLOOP = ("-s", "ASYNCIO_EVENT_LOOP=uvloop.Loop")
TUNED = Crawler("Scrapy, tuned", _scrapy(PEERS / "scrapy_tuned.py", *_UVLOOP), _result_of_scrapy)
TRAFILATURA = Crawler(
    "Scrapy, tuned, with trafilatura",
    _scrapy(PEERS / "markdown_scrapy.py", *_UVLOOP),
    _result_of_scrapy,
)

OURS = (CRAWLYARD, NO_LINKS, IN_MEMORY, DEFAULT, WHOLE_TEXT, MAIN_TEXT)
OF_SCRAPY = (SCRAPY, RESUMABLE, TUNED)
