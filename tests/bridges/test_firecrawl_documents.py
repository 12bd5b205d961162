"""Documents of Firecrawl's bridge from real crawls: reuse, changes, screenshots, errors."""

import asyncio
import base64
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from crawlyard import LOCAL, Settings, Yard
from crawlyard.bridges.firecrawl import documents
from crawlyard.config import BridgeName
from crawlyard.core.crawl.page import Skipped
from crawlyard.core.crawl.rendering import Browser
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import HTML, Answer
from crawlyard.engine.render.launch import launch_of
from crawlyard.web.app import create_app
from crawlyard.web.site import SiteOptions, open_site
from tests.bridges.test_firecrawl import TAGS
from tests.builders import a_batch, a_target, failed
from tests.clock import FakeClock
from tests.conformance.steps import claimed, recorded
from tests.site import Serve
from tests.web.rig import Rig

Document = dict[str, Any]
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass
class Pages:
    """A site whose pages may change: HTML, or a status; with headers of their own."""

    bodies: dict[str, str | int] = field(default_factory=dict)
    headers: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)

    def answer(self, method: str, path: str, host: str) -> Answer:
        body = self.bodies.get(path, 404)
        headers = (("Content-Type", HTML), *self.headers.get(path, ()))
        if isinstance(body, int):
            return Answer(body, headers)
        return Answer(200, headers, f"<!doctype html><title>t</title>{body}".encode())


class Server(Rig):
    """A server whose requests have contexts of their own, as over a socket."""

    async def ask(self, *args: Any, **more: Any) -> httpx.Response:
        return await asyncio.create_task(Rig.ask(self, *args, **more))


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Rig]:
    """Open a server with the bridge on the database in *folder*; its admin may name addresses."""
    async with Yard.open(Settings(data_dir=folder)) as yard:
        options = SiteOptions(rate_limits=False, bridges=(BridgeName.FIRECRAWL,))
        site = await open_site(yard, options)
        rig = Server(site=site, app=create_app(site), clock=FakeClock())
        await rig.token(LOCAL.id)
        grants = {"addresses": True, "private": False, "ignore_robots": False}
        saved = await rig.ask(
            "PUT", "/api/v1/settings/grants", json=grants, headers={"If-Match": "*"}
        )
        assert saved.status_code == 200, saved.text
        yield rig


@asynccontextmanager
async def working(rig: Rig) -> AsyncIterator[None]:
    """Run the jobs of a server for the block."""
    task = asyncio.create_task(rig.yard.worker().run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Rig]:
    """A server with the bridge and a worker."""
    async with opened(tmp_path) as rig, working(rig):
        yield rig


@pytest.fixture
async def site(site_server: Serve) -> tuple[Pages, SiteServer]:
    """A site with a start page."""
    pages = Pages({"/": "<p>a page with one line"})
    return pages, await site_server(pages)


async def scraped(rig: Rig, url: str, by: str = LOCAL.id, **options: Any) -> Document:
    """Return the document of a scrape."""
    answer = await rig.post("/v2/scrape", {"url": url} | options, by=by)
    assert answer.status_code == 200, answer.text
    document: Document = answer.json()["data"]
    return document


async def crawled(rig: Rig, url: str, **options: Any) -> dict[str, Document]:
    """Return the documents of a crawl, by path."""
    body = {"url": url, "delay": 0, "sitemap": "skip"} | options
    started = await rig.post("/v2/crawl", body)
    assert started.status_code == 200, started.text
    job = started.json()["id"]
    await rig.get(f"jobs/{job}/wait?states=completed,failed&timeout_s=30")
    answer = (await rig.get(f"/v2/crawl/{job}")).json()
    assert answer["status"] == "completed", answer
    return {
        document["metadata"]["sourceURL"].removeprefix(url): document for document in answer["data"]
    }


def state_of(document: Document) -> str:
    """Return whether a document was fetched for its request."""
    state: str = document["metadata"]["cacheState"]
    return state


# --- reuse


async def test_a_page_is_reused_for_its_user_url_and_options_alone(
    served: Rig, site: tuple[Pages, SiteServer]
) -> None:
    pages, server = site
    pages.bodies["/?bob"] = "<p>for all"
    url = f"{server.url}/"
    first = await scraped(served, url)
    again = await scraped(served, url, maxAge=HOUR_MS)
    assert (state_of(first), state_of(again)) == ("miss", "hit")
    assert again["markdown"] == first["markdown"]
    assert again["metadata"]["scrapeId"] == first["metadata"]["scrapeId"]

    await served.user("bob")
    for more in ({"maxAge": 0}, {"maxAge": 1}, {"onlyMainContent": False}, {"by": "bob"}):
        assert state_of(await scraped(served, url, **{"maxAge": HOUR_MS} | more)) == "miss", more
    for by in ("bob", LOCAL.id):  # the admin, who sees the job of bob
        of_bob = await scraped(served, f"{url}?bob", by, maxAge=HOUR_MS)
        assert state_of(of_bob) == "miss"
    assert len(server.hits) == 1 + 4 + 2 + sum(hit.path == "/robots.txt" for hit in server.hits)


async def test_a_page_that_was_sent_credentials_is_not_reused(
    served: Rig, site: tuple[Pages, SiteServer]
) -> None:
    pages, server = site
    url, headers = f"{server.url}/", {"Authorization": "Basic eDp5"}
    for more in ({"headers": headers}, {}, {"headers": headers}):
        options: dict[str, Any] = {"maxAge": HOUR_MS, **more}
        assert state_of(await scraped(served, url, **options)) == "miss", more

    # a redirect that sets a cookie, which the page is then requested with
    pages.bodies |= {"/old": 302, "/new": "<p>for you alone"}
    pages.headers["/old"] = (("Location", "/new"), ("Set-Cookie", "id=1"))
    for _ in range(2):
        document = await scraped(served, f"{server.url}/old", maxAge=HOUR_MS)
        assert (state_of(document), document["markdown"]) == ("miss", "for you alone")


async def test_a_scrape_is_continued_by_another_server_and_after_a_restart(
    tmp_path: Path, site: tuple[Pages, SiteServer]
) -> None:
    _, server = site
    body = {"url": f"{server.url}/", "headers": {"X-Key": "1"}, "timeout": 50}

    async def timed_out(rig: Rig, **more: Any) -> int:
        answer = await rig.post("/v2/scrape", body | more)
        assert answer.json()["code"] == "SCRAPE_TIMEOUT", answer.text
        jobs: list[Any] = (await rig.get("jobs")).json()["items"]
        return len(jobs)

    async with opened(tmp_path) as server_a, opened(tmp_path) as server_b:
        assert await timed_out(server_a) == await timed_out(server_b) == 1
        assert await timed_out(server_b, headers={"X-Key": "2"}) == 2
    async with opened(tmp_path) as restarted:
        assert await timed_out(restarted) == 2
        job = (await restarted.get("jobs")).json()["items"][-1]["id"]
        await restarted.yard.worker(only=job).run()
        answer = (await restarted.post("/v2/scrape", body)).json()
        assert answer["data"]["metadata"]["scrapeId"].startswith(job)
        assert "X-Key" not in str((await restarted.get(f"jobs/{job}")).json()["spec"]["tags"])


# --- what changed


def tracked(*modes: str, **more: Any) -> dict[str, Any]:
    return {"formats": ["markdown", {"type": "changeTracking", "modes": modes, **more}]}


def status_in(document: Document) -> str:
    tracking = document["changeTracking"]
    assert tracking["visibility"] == "visible"
    assert (tracking["previousScrapeAt"] is None) == (tracking["changeStatus"] == "new")
    status: str = tracking["changeStatus"]
    return status


async def test_a_scrape_is_compared_with_the_last_one_of_its_options(
    served: Rig, site: tuple[Pages, SiteServer]
) -> None:
    pages, server = site
    url = f"{server.url}/"
    first = await scraped(served, url, formats=["changeTracking"])
    assert (status_in(first), "markdown" in first) == ("new", False)
    again = await scraped(served, url, formats=["changeTracking"], maxAge=DAY_MS)
    assert (status_in(again), state_of(again)) == ("same", "miss")
    assert again["changeTracking"]["previousScrapeAt"] is not None

    assert status_in(await scraped(served, url, **tracked("git-diff"))) == "new"
    pages.bodies["/"] = "<p>a page with one line<p>and another"
    assert status_in(await scraped(served, url, **tracked("git-diff", tag="mine"))) == "new"
    changed = (await scraped(served, url, **tracked("git-diff")))["changeTracking"]
    assert changed["changeStatus"] == "changed"
    assert changed["diff"]["text"] == ("@@ -1,1 +1,2 @@\n a page with one line\n+and another")
    (file,) = changed["diff"]["json"]["files"]
    assert (file["additions"], file["deletions"]) == (1, 0)
    assert file["chunks"][0]["changes"] == [
        {"type": "normal", "normal": True, "content": " a page with one line", "ln1": 1, "ln2": 1},
        {"type": "add", "add": True, "content": "+and another", "ln": 2},
    ]
    assert "diff" not in (await scraped(served, url, formats=["changeTracking"]))["changeTracking"]

    pages.bodies["/"] = 404
    assert status_in(await scraped(served, url, **tracked("git-diff"))) == "removed"
    missing = await scraped(served, url, **tracked("git-diff"))
    assert ("changeTracking" in missing, "not compared" in missing["warning"]) == (False, True)


async def test_the_pages_of_a_crawl_are_compared_with_those_of_the_last_one(
    served: Rig, site: tuple[Pages, SiteServer]
) -> None:
    pages, server = site
    pages.bodies |= {
        "/": "<p>start<a href=/same>1</a><a href=/other>2</a><a href=/gone>3</a>",
        "/same": "<p>the same text",
        "/other": "<p>an old text",
        "/gone": "<p>a text",
    }
    options = {"scrapeOptions": tracked("git-diff")}
    first = await crawled(served, server.url, **options)
    assert {status_in(document) for document in first.values()} == {"new"}

    pages.bodies |= {
        "/": "<p>start<a href=/same>1</a><a href=/other>2</a><a href=/gone>3</a>"
        "<a href=/more>4</a>",
        "/other": "<p>a new text",
        "/gone": 410,
        "/more": "<p>more",
    }
    second = await crawled(served, server.url, **options)
    assert {path: status_in(document) for path, document in second.items()} == {
        "/": "changed",
        "/same": "same",
        "/other": "changed",
        "/gone": "removed",
        "/more": "new",
    }
    assert second["/other"]["changeTracking"]["diff"]["text"].splitlines()[1:] == [
        "-an old text",
        "+a new text",
    ]


@pytest.mark.parametrize(
    ("format_", "words"),
    [
        (
            tracked("git-diff", "json")["formats"][1],
            "changeTracking.modes: expected git-diff; json",
        ),
        (tracked(prompt="prices")["formats"][1], "changeTracking.prompt"),
        (tracked(schema={})["formats"][1], "changeTracking.schema"),
        ({"type": "screenshot", "quality": 80}, "screenshot.quality"),
        ({"type": "screenshot", "viewport": {"width": 1, "height": 1}}, "screenshot.viewport"),
        ({"type": "json", "prompt": "prices"}, "formats: expected markdown"),
        ("summary", "formats: expected markdown"),
    ],
)
async def test_an_option_of_a_format_that_cannot_be_kept_is_refused(
    bridged: Rig, format_: object, words: str
) -> None:
    answer = await bridged.post("/v2/scrape", {"url": "https://a.example", "formats": [format_]})
    assert (answer.status_code, words in answer.json()["error"]) == (400, True), answer.text


async def test_a_check_of_a_monitor_has_the_diffs_of_its_pages(
    served: Rig, site: tuple[Pages, SiteServer]
) -> None:
    pages, server = site
    target = {"type": "scrape", "urls": [f"{server.url}/"]}
    form = {"name": "m", "schedule": {"cron": "0 4 * * *"}, "targets": [target]}
    monitor = (await served.post("/v2/monitor", form)).json()["data"]["id"]
    for text in ("an old text", "a new text"):
        pages.bodies["/"] = f"<p>{text}"
        check = (await served.post(f"/v2/monitor/{monitor}/run", {})).json()["data"]["id"]
        async with asyncio.timeout(30):
            while True:
                answer = await served.get(f"/v2/monitor/{monitor}/checks/{check}")
                if answer.json()["data"]["status"] == "completed":
                    break
                await asyncio.sleep(0.05)
    (page,) = answer.json()["data"]["pages"]
    assert (page["status"], page["diff"]["text"].splitlines()[1:]) == (
        "changed",
        ["-an old text", "+a new text"],
    )


# --- screenshots


def size_of(document: Document) -> tuple[int, int]:
    """Return the width and the height of a screenshot."""
    kind, _, data = document["screenshot"].partition(",")
    assert kind == "data:image/png;base64"
    width, height = struct.unpack(">II", base64.b64decode(data)[16:24])
    return width, height


@pytest.mark.slow
async def test_a_screenshot_is_a_data_url(
    served: Rig, site: tuple[Pages, SiteServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    pages, server = site
    pages.bodies["/"] = "<p style='height: 3000px'>tall<a href=/a>a</a>"
    pages.bodies["/a"] = "<p>low"
    if launch_of(Browser.CHROMIUM).missing():
        answer = await served.post("/v2/scrape", {"url": server.url, "formats": ["screenshot"]})
        assert "Chromium is not installed" in answer.json()["error"]
        return
    window = size_of(await scraped(served, server.url, formats=["screenshot"]))
    whole = size_of(await scraped(served, server.url, formats=["screenshot@fullPage"]))
    named: dict[str, Any] = {"type": "screenshot", "fullPage": True}
    assert size_of(await scraped(served, server.url, formats=[named])) == whole
    assert window[1] < 3_000 <= whole[1] < 3_200

    monkeypatch.setattr(documents, "MOST_PICTURES", 1)  # one for each answer
    options = {"url": server.url, "sitemap": "skip", "scrapeOptions": {"formats": ["screenshot"]}}
    job = (await served.post("/v2/crawl", options)).json()["id"]
    await served.get(f"jobs/{job}/wait?states=completed&timeout_s=30")
    first = (await served.get(f"/v2/crawl/{job}")).json()
    second = (await served.get(first["next"].removeprefix("http://127.0.0.1:8700"))).json()
    assert [len(answer["data"]) for answer in (first, second)] == [1, 1]
    assert "next" not in second
    monkeypatch.setattr(documents, "MOST_PICTURE_BYTES", 10)
    large = await scraped(served, server.url, formats=["screenshot"], maxAge=DAY_MS)
    assert ("screenshot" in large, "/screenshot" in large["warning"]) == (False, True)


async def test_without_a_browser_a_screenshot_is_an_error_that_says_so(
    tmp_path: Path, site: tuple[Pages, SiteServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    async with opened(tmp_path) as rig, working(rig):
        body = {"url": site[1].url, "formats": ["screenshot"]}
        answer = await rig.post("/v2/scrape", body)
        assert answer.status_code == 500
        assert "Chromium is not installed" in answer.json()["error"]


# --- queries, errors


async def test_a_crawl_that_ignores_queries_has_one_page_for_each_path(
    served: Rig, site: tuple[Pages, SiteServer]
) -> None:
    pages, server = site
    links = "".join(f"<a href='/a?n={n}'>{n}</a>" for n in range(3))
    pages.bodies |= {"/": links} | {f"/a?n={n}": f"<p>{n}" for n in range(3)}
    assert set(await crawled(served, server.url, ignoreQueryParameters=True)) == {"/", "/a?n=0"}
    assert len(await crawled(served, server.url)) == 4


async def test_all_errors_are_listed(bridged: Rig) -> None:
    job = await bridged.job(tags=TAGS)
    store = bridged.yard.store
    claim = await claimed(store, (await store.jobs.get(job["id"])).job)
    slow = [a_target(f"slow{n}") for n in range(450)]
    secret = [Skipped(a_target(f"secret{n}"), "robots: Disallow: /secret") for n in range(230)]
    await recorded(store, claim.lease, a_batch(slow, [failed(each) for each in slow], secret))
    answer: Mapping[str, list[Any]] = (await bridged.get(f"/v2/crawl/{job['id']}/errors")).json()
    assert len({error["url"] for error in answer["errors"]}) == len(answer["errors"]) == 450
    assert len(set(answer["robotsBlocked"])) == len(answer["robotsBlocked"]) == 230
