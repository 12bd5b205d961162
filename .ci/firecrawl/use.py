"""What a program does with Firecrawl's SDK for Python, and with what stands on it."""

import asyncio
import base64
import hmac
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb
from typing import TypeVar
from urllib.parse import urlsplit

from firecrawl import AsyncFirecrawl, Firecrawl
from firecrawl.v2.types import (
    BatchScrapeRequest,
    ChangeTrackingFormat,
    CrawlJob,
    CrawlRequest,
    Document,
    MapOptions,
    PaginationConfig,
    ScrapeOptions,
    ScreenshotFormat,
    WebhookConfig,
)
from firecrawl.v2.utils.error_handler import (
    BadRequestError,
    FirecrawlError,
    UnauthorizedError,
)
from firecrawl.v2.utils.http_client import HttpClient
from langchain_community.document_loaders import FireCrawlLoader
from llama_index.readers.web import FireCrawlWebReader
from served import Served, receiving, serve

Status = TypeVar("Status")

PAGES = 500
FAST = {"delay": 0, "max_concurrency": 20}


@contextmanager
def refused(kind: type[Exception], *words: str) -> Iterator[None]:
    """Expect an error of a kind, whose message has all words."""
    try:
        yield
    except kind as error:
        missing = [word for word in words if word not in str(error)]
        assert not missing, f"{error} does not name {missing}"
    else:
        raise AssertionError(f"{kind.__name__} was expected")


def each_once(documents: list[Document], count: int) -> None:
    """Check that documents are of as many pages, each of them once."""
    urls = Counter(document.metadata.source_url for document in documents)
    twice = [url for url, times in urls.items() if times > 1]
    assert not twice, f"more than once: {twice[:5]}"
    assert len(urls) == count, f"{len(urls)} pages, not {count}"
    assert all(isinstance(document, Document) for document in documents)
    empty = [document.metadata.source_url for document in documents if not document.markdown]
    assert len(empty) <= 1 + count // 100, (
        f"without text: {empty[:5]}"
    )  # a page of scripts has none


def scrape(client: Firecrawl, served: Served) -> None:
    start = f"{served.site}/index.html"
    document = client.scrape(start, formats=["markdown", "html", "rawHtml", "links"])
    assert "Python" in document.markdown
    assert document.html
    assert document.raw_html.lstrip().lower().startswith("<!doctype")
    assert any(link.endswith("/tutorial/index.html") for link in document.links)
    assert document.metadata.source_url == start
    assert document.metadata.status_code == 200
    assert document.metadata.title
    assert client.scrape(f"{served.site}/none.html").metadata.status_code == 404
    for option, value in {
        "skip_tls_verification": True,
        "mobile": True,
        "actions": [{"type": "press", "key": "Enter"}],
    }.items():
        first, *rest = option.split("_")
        with refused(BadRequestError, first + "".join(word.title() for word in rest)):
            client.scrape(start, **{option: value})


def not_ours(client: Firecrawl, served: Served) -> None:
    with refused(BadRequestError, "search"):
        client.search("python")
    with refused(BadRequestError, "extract"):
        client.start_extract([served.site], prompt="titles")
    with refused(BadRequestError, "agent"):
        client.start_agent(prompt="titles")
    with refused(FirecrawlError):
        client.get_crawl_status("00000000-0000-0000-0000-000000000000")
    with refused(UnauthorizedError):
        Firecrawl(api_key="cyt_wrong", api_url=served.url).scrape(served.site)


def map_site(client: Firecrawl, served: Served) -> None:
    links = client.map(served.site, limit=50).links
    assert 1 < len(links) <= 50
    assert all(urlsplit(link.url).netloc == urlsplit(served.site).netloc for link in links)


def batch(client: Firecrawl, served: Served) -> None:
    urls = [f"{served.site}/{name}.html" for name in ("about", "bugs", "copyright", "license")]
    each_once(client.batch_scrape(urls, poll_interval=1, wait_timeout=60).data, len(urls))
    job = client.start_batch_scrape([*urls, f"{served.site}/none.html"])
    done = until_done(lambda: client.get_batch_scrape_status(job.id))
    assert done.completed == done.total == len(urls) + 1
    assert client.get_batch_scrape_errors(job.id) is not None


def until_done(status: Callable[[], Status], seconds: float = 60) -> Status:
    """Return the first status that is final."""
    deadline = time.monotonic() + seconds
    while (found := status()).status == "scraping":
        assert not found.data, "documents before the end, without skip"
        assert found.next is None, "a next page before the end, without skip"
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    return found


def crawl(client: Firecrawl, served: Served) -> None:
    """Crawl, page through what was found, and stop another crawl."""
    started = client.start_crawl(served.site, limit=PAGES, **FAST)
    assert started.id in started.url
    assert started.id in {one.id for one in client.get_active_crawls().crawls}
    queue = client.get_queue_status()
    assert queue.jobs_in_queue == queue.active_jobs_in_queue + queue.waiting_jobs_in_queue
    assert client.get_concurrency().max_concurrency > 0
    assert client.get_credit_usage().remaining_credits > 0
    done = client.wait_crawl(started.id, poll_interval=1, timeout=120)
    assert isinstance(done, CrawlJob)
    assert done.status == "completed", done.status
    assert done.warning, "it stopped at its limit, and says nothing"
    each_once(done.data, PAGES)

    one_page = PaginationConfig(auto_paginate=False)
    page = client.get_crawl_status(started.id, pagination_config=one_page)
    documents = list(page.data)
    while page.next:
        assert urlsplit(page.next).netloc == urlsplit(served.url).netloc
        page = client.get_crawl_status_page(page.next)
        documents += page.data
    each_once(documents, PAGES)
    some = client.get_crawl_status(started.id, PaginationConfig(max_results=130))
    assert len(some.data) == 130
    assert client.get_crawl_errors(started.id).robots_blocked == []
    assert client.cancel_crawl(started.id) is False, "it was completed, and was cancelled"

    slow = client.start_crawl(served.site, limit=PAGES, delay=5)
    assert client.cancel_crawl(slow.id) is True
    assert until_done(lambda: client.get_crawl_status(slow.id)).status == "cancelled"


def watch(client: Firecrawl, served: Served) -> None:
    """Receive each document as it comes: the SDK has those only over a WebSocket."""
    urls = [f"{served.site}/{name}.html" for name in ("about", "bugs", "license")]
    for kind, count in {"crawl": 40, "batch": len(urls)}.items():
        if kind == "crawl":
            job = client.start_crawl(served.site, limit=count, **FAST)
        else:
            job = client.start_batch_scrape(urls)
        documents, ends = [], []
        watcher = client.watcher(job.id, kind=kind, timeout=60)
        watcher.add_event_listener("document", documents.append)
        watcher.add_event_listener("done", ends.append)
        watcher.start()
        deadline = time.monotonic() + 60
        while not ends and time.monotonic() < deadline:
            time.sleep(0.1)
        watcher.stop()
        assert [end["status"] for end in ends] == ["completed"]
        assert len(documents) == len(ends[0]["data"]) == count, len(documents)
        assert len({event["data"]["metadata"]["sourceURL"] for event in documents}) == count
    asyncio.run(watch_async(served, 40))


async def watch_async(served: Served, count: int) -> None:
    """Iterate over the states of a job: each document is one, and the last has all of them."""
    client = AsyncFirecrawl(api_key=served.token, api_url=served.url)
    job = await client.start_crawl(served.site, limit=count, **FAST)
    watcher = client.watcher(job.id, kind="crawl", poll_interval=10, timeout=60)
    states = [state async for state in watcher]
    assert len(states) > count, f"{len(states)} states: it has polled"
    assert states[-1].status == "completed"
    each_once(states[-1].data, count)


def webhook(client: Firecrawl, served: Served) -> None:
    """Receive messages with a signature by the API key."""
    key = hmac.digest(served.token.encode(), b"webhook", "sha256")
    secret = f"whsec_{base64.b64encode(key).decode()}".encode()
    with receiving() as (url, messages):
        config = WebhookConfig(url=url, metadata={"build": "7"}, headers={"X-Team": "search"})
        job = client.crawl(served.site, limit=3, webhook=config, poll_interval=1)
        about = [f"{served.site}/about.html"]
        batch = client.start_batch_scrape(about, webhook=url)  # all events
        deadline = time.monotonic() + 30
        while len(messages) < 8 and time.monotonic() < deadline:
            time.sleep(0.1)
    contents = []
    for headers, body in messages:
        signature = f"sha256={hmac.digest(secret, body, 'sha256').hex()}"
        assert headers["X-Firecrawl-Signature"] == signature
        contents.append(json.loads(body))
    kinds = Counter(content["type"] for content in contents)
    words = ("crawl.started", "crawl.completed", "batch_scrape.started", "batch_scrape.completed")
    pages = Counter({"crawl.page": 3, "batch_scrape.page": 1})
    assert kinds == Counter(words) + pages, kinds
    for content in contents:
        if content["type"].endswith(".page"):
            [document] = content["data"]
            assert Document(**document).markdown
    kinds_of_batch = [c["type"] for c in contents if c["id"] == batch.id]
    assert kinds_of_batch[-1] == "batch_scrape.completed", kinds_of_batch
    assert {content["success"] for content in contents} == {True}
    assert {content["id"] for content in contents} == {job.id, batch.id}
    of_crawl = [content for content in contents if content["id"] == job.id]
    assert {content["metadata"].get("build") for content in of_crawl} == {"7"}
    assert sum(headers.get("X-Team") == "search" for headers, _ in messages) == 5
    with refused(BadRequestError, "webhook.headers"):
        client.start_crawl(served.site, webhook=WebhookConfig(url=url, headers={"Host": "1"}))


def page(_: Firecrawl, served: Served) -> None:
    """Run the programs of the page on clients of Firecrawl, on this site."""
    text = (Path(__file__).parents[2] / "docs/howto/firecrawl-clients.md").read_text()
    programs = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    program = "\n".join(programs)
    for shown, used in {
        "cyt_…": served.token,
        "http://127.0.0.1:8700": served.url,
        "https://docs.example.org": served.site,
        "limit=100": "limit=5, delay=0",
        "limit=20": "limit=20, delay=0",
    }.items():
        assert shown in program, shown
        program = program.replace(shown, used)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    lines = done.stdout.split()
    assert lines.count("completed") == 1, lines
    assert sum(line.startswith(served.site) for line in lines) == 25, lines


def monitor(client: Firecrawl, served: Served) -> None:
    """Watch a part of a site for changes."""
    target = {"type": "crawl", "url": f"{served.site}/c-api/", "crawlOptions": {"limit": 5}}
    made = client.create_monitor("c-api", {"cron": "0 4 * * *"}, [target])
    assert made.schedule.cron == "0 4 * * *"
    assert made.status == "active"
    assert client.get_monitor(made.id).targets[0]["url"] == target["url"]
    assert made.id in {one.id for one in client.list_monitors()}
    assert client.update_monitor(made.id, status="paused").status == "paused"
    for found in ("new", "same"):
        check = client.run_monitor(made.id)
        assert check.trigger == "manual"
        deadline = time.monotonic() + 60
        while client.get_monitor_check(made.id, check.id).status in {"queued", "running"}:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        detail = client.get_monitor_check(made.id, check.id)
        assert detail.status == "completed", detail
        assert getattr(detail.summary, found) == detail.summary.total_pages == 5, detail.summary
        assert {page.status for page in detail.pages} == {found}
    assert len(client.list_monitor_checks(made.id)) == 2
    assert client.delete_monitor(made.id) is True
    with refused(FirecrawlError):
        client.get_monitor(made.id)


def kills(client: Firecrawl, served: Served) -> None:
    """Lose the worker, then the server, in the middle of one call."""
    proxied = Firecrawl(api_key=served.token, api_url=served.proxy)
    jobs, failures = [], []

    def call() -> None:
        try:
            jobs.append(
                proxied.crawl(served.site, limit=PAGES, **FAST, poll_interval=1, timeout=120)
            )
        except Exception as error:  # shown by the main thread
            failures.append(error)

    known = {one.id for one in client.get_active_crawls().crawls}
    thread = threading.Thread(target=call)
    thread.start()
    started = []
    while not started:
        assert thread.is_alive(), failures
        started = [one.id for one in client.get_active_crawls().crawls if one.id not in known]
        time.sleep(0.1)
    for name in ("worker", "server"):
        before = client.get_crawl_status(started[0])
        while (now := client.get_crawl_status(started[0])).completed <= before.completed:
            assert now.status == "scraping", f"the {name} cannot be killed: it is too late"
            time.sleep(0.1)
        served.kill(name)
        served.start(name)
    thread.join(150)
    assert not failures, failures
    each_once(jobs[0].data, PAGES)


def readers(_: Firecrawl, served: Served) -> None:
    """Load documents with LangChain and LlamaIndex."""
    options = {"limit": 5, "max_concurrency": 5}
    start = f"{served.site}/index.html"
    for base in (served.url, f"{served.url}/v2"):
        for mode, params in {"scrape": {}, "crawl": options, "map": {"limit": 5}}.items():
            loader = FireCrawlLoader(
                start, api_key=served.token, api_url=base, mode=mode, params=params
            )
            found = loader.load()
            assert len(found) == (1 if mode == "scrape" else 5), (mode, len(found))
            assert all(document.page_content for document in found)
            reader = FireCrawlWebReader(served.token, base, mode, dict(params))
            found = reader.load_data(start)
            assert len(found) == (1 if mode == "scrape" else 5), (mode, len(found))
            assert all(document.text for document in found)


def javascript(_: Firecrawl, served: Served) -> None:
    if shutil.which("npm") is None:
        return
    env = os.environ | {"SERVER": served.url, "SITE": served.site, "TOKEN": served.token}
    subprocess.run(["node", "use.mjs"], env=env, check=True, timeout=120)


def changes(client: Firecrawl, served: Served) -> None:
    """Compare a page and a crawl with the scrape and the crawl before."""
    formats = ["markdown", ChangeTrackingFormat(modes=["git-diff"], tag=str(time.time()))]
    for expected in ("new", "same"):
        document = client.scrape(f"{served.site}/about.html", formats=formats)
        assert document.change_tracking["changeStatus"] == expected, document.change_tracking
        assert (document.change_tracking["previousScrapeAt"] is None) == (expected == "new")
        assert document.change_tracking["visibility"] == "visible"
    options = ScrapeOptions(formats=formats)
    for expected in ("new", "same"):
        site = f"{served.site}/c-api/"
        done = client.crawl(site, limit=10, scrape_options=options, **FAST, poll_interval=1)
        assert {one.change_tracking["changeStatus"] for one in done.data} == {expected}
    with refused(BadRequestError, "changeTracking.modes", "language model"):
        client.scrape(served.site, formats=[ChangeTrackingFormat(modes=["json"])])


def screenshots(client: Firecrawl, served: Served) -> None:
    """Receive the window and the whole page as pictures, if there is a browser."""
    start = f"{served.site}/about.html"
    whole = {"type": "screenshot", "full_page": True}
    if not any(map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))):
        with refused(FirecrawlError, "Chromium is not installed"):
            client.scrape(start, formats=["screenshot"])
        return
    for formats in (["screenshot"], [whole], [ScreenshotFormat(full_page=True)]):
        picture = client.scrape(start, formats=formats).screenshot
        assert picture.startswith("data:image/png;base64,"), picture[:40]
    with refused(BadRequestError, "screenshot.quality"):
        client.scrape(start, formats=[ScreenshotFormat(quality=50)])


def queries(client: Firecrawl, served: Served) -> None:
    """Crawl each page once, whatever the queries of links to it."""
    options = {"limit": 60, "ignore_query_parameters": True, "poll_interval": 1, **FAST}
    done = client.crawl(served.site, **options)
    paths = [document.metadata.source_url.partition("?")[0] for document in done.data]
    assert len(paths) == len(set(paths)) == 60


def options(_: Firecrawl, served: Served) -> None:
    """Send each option that the SDK has; without a value, none may be unknown."""
    http = HttpClient(served.token, served.url)
    extra = {"crawl": ["scrapeOptions"], "map": [], "batch/scrape": [], "scrape": []}
    for path, kind in {
        "crawl": CrawlRequest,
        "map": MapOptions,
        "batch/scrape": BatchScrapeRequest,
        "scrape": ScrapeOptions,
    }.items():
        names = {_camel(name) for name in kind.model_fields} - {"url", "urls", "options"}
        body = dict.fromkeys([*names, *extra[path]])
        body |= {"urls": [served.site]} if path == "batch/scrape" else {"url": served.site}
        answer = http.post(f"/v2/{path}", body)
        assert answer.ok, (path, answer.text)
        if "id" in answer.json():
            http.delete(f"/v2/{path}/{answer.json()['id']}")


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    word = first + "".join(part.title() for part in rest)
    spelled = {"Urls": "URLs", "Pii": "PII", "FullUrl": "FullURL"}
    return next((word.replace(a, b) for a, b in spelled.items() if a in word), word)


STEPS = (
    scrape,
    not_ours,
    map_site,
    batch,
    crawl,
    watch,
    webhook,
    page,
    monitor,
    readers,
    changes,
    screenshots,
    queries,
    options,
    javascript,
    kills,
)


def main() -> None:
    """Run the steps with these names, or all; report each."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("firecrawl: interrupted"))
    failed = []
    with serve() as served:
        client = Firecrawl(api_key=served.token, api_url=served.url)
        for step in STEPS:
            if sys.argv[1:] and step.__name__ not in sys.argv[1:]:
                continue
            started = time.monotonic()
            try:
                step(client, served)
            except Exception as error:  # the others say what works
                failed.append(step.__name__)
                lines = [
                    f.lineno for f in extract_tb(error.__traceback__) if f.filename == __file__
                ]
                print(f"{step.__name__}, line {lines[-1]}: {error!r}"[:500])
            else:
                print(f"{step.__name__}: {time.monotonic() - started:.1f} s")
    if failed:
        sys.exit(f"firecrawl: failed: {' '.join(failed)}")


if __name__ == "__main__":
    main()
