"""The viewer of a page: reader, parts, links, changes, the pages beside it."""

import json
import re
import struct
from typing import Any
from zlib import compress, crc32

import pytest
from msgspec.structs import replace
from playwright.async_api import expect

from crawlyard.core.crawl.link import encode_links
from crawlyard.core.crawl.page import Body, ErrorKind, Outcome, Target, Via
from crawlyard.engine.urls import packed_fingerprints
from tests.browser.crawls import LEASE, begun
from tests.browser.looking import faults_of, overflow_of
from tests.browser.rig import NARROW, Stage
from tests.browser.test_changes import two_runs
from tests.builders import a_batch, a_target, done, failed

HOST = "docs.example.org"
HOME = a_target("", host=HOST)
GUIDE = a_target("guide/", host=HOST, depth=1, parent=HOME.fp, via=Via.LINK)
PART = a_target("guide/part", host=HOST, depth=2, parent=GUIDE.fp, via=Via.LINK)
GONE = a_target("gone", host=HOST, depth=2, parent=GUIDE.fp, via=Via.LINK)
OUT = "https://other.example/x"
HOSTILE = "<img src=x onerror=alert(1)> [run](javascript:alert(2)) <script>alert(3)</script>"
TEXT = f"""# Installing the server

Two gigabytes of **memory**, see [the part]({PART.url}#more) or [elsewhere]({OUT}).

- one
  - two with `code`

| a | b |
| --- | ---: |
| 1 | 2 |

```sh
sudo true
```

{HOSTILE}
"""
HTML = "<!doctype html>\n<h1>Kept</h1>\n<script>top.document.title = 'taken'</script>"
HEADERS = (("Content-Type", "text/html"), ("X-Powered-By", "<b>bold</b>"))
LINKS: dict[Target, list[tuple[str, ...]]] = {
    HOME: [(GUIDE.url, "", "a", "", HOSTILE[:60])],
    GUIDE: [
        (PART.url, "more", "a", "", "the part"),
        (GONE.url, "", "a", "nofollow", "gone"),
        (OUT, "", "a", "", "elsewhere"),
    ],
    PART: [(GUIDE.url, "", "a", "", "back")],
}


def page_outcome(target: Target, text: str, **fields: Any) -> Outcome:
    """Return the outcome of a page with all bodies stored."""
    links = LINKS[target]
    bodies = {
        Body.TEXT: text.encode(),
        Body.HTML: HTML.encode(),
        Body.HEADERS: json.dumps(HEADERS).encode(),
        Body.LINKS: encode_links(links),
    }
    outcome = done(target, bodies, content_type="text/html", links=len(links), **fields)
    return replace(outcome, targets=packed_fingerprints(link[0] for link in links))


async def crawled(stage: Stage) -> tuple[str, dict[str, int]]:
    """Return a job of three pages and one that failed, and their ids by URL."""
    job = await stage.job(name="docs-full", urls=[HOME.url], keep_html=True)
    claim, now = await begun(stage, job), stage.yard.clock.now()
    outcomes = [
        page_outcome(HOME, "plain", fetched_at=now),
        page_outcome(
            GUIDE, TEXT, title=HOSTILE, structured={"og": {"title": "Guide"}}, fetched_at=now
        ),
        page_outcome(PART, "x" * 250_000, fetched_at=now),
        failed(GONE, ErrorKind.HTTP_4XX, "answered 404", status=404, fetched_at=now),
    ]
    batch = a_batch([HOME, GUIDE, PART, GONE], outcomes)
    await stage.yard.store.frontier.record([(claim.lease, batch)], now, LEASE)
    pages = await stage.ask("GET", f"/jobs/{job['id']}/pages")
    return job["id"], {page["url"]: page["id"] for page in pages["items"]}


async def test_a_page_is_read_with_links_to_other_pages_and_what_is_hostile_stays_text(
    stage: Stage,
) -> None:
    job, ids = await crawled(stage)
    async with stage.page(f"/jobs/{job}/pages") as page:
        await page.get_by_role("link", name=HOSTILE).click()
        await expect(page).to_have_url(f"{stage.base}/jobs/{job}/pages/{ids[GUIDE.url]}")
        await expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
        reader = page.get_by_role("tabpanel", name="Reader")
        await expect(reader.get_by_role("heading", level=2)).to_have_text("Installing the server")
        await expect(reader.locator("strong")).to_have_text("memory")
        await expect(reader.locator("li li code")).to_have_text("code")
        await expect(reader.locator("td.num")).to_have_text("2")
        await expect(reader.locator("figure")).to_have_text("shsudo true")
        await expect(reader.locator("p").last).to_have_text(HOSTILE)
        inside = reader.get_by_role("link", name="the part")
        await expect(inside).to_have_attribute("href", f"/jobs/{job}/pages/{ids[PART.url]}")
        out = reader.get_by_role("link", name="elsewhere")
        await expect(out).to_have_attribute("rel", "noopener noreferrer nofollow")
        await expect(out).to_have_attribute("href", OUT)
        assert await page.locator("#main img, #main script, a[href^=javascript]").count() == 0
        await expect(page.locator("#way li")).to_have_text(
            ["/start URL", f"/guide/link “{HOSTILE[:60]}”"]
        )
        structured = page.get_by_text("Structured data", exact=True)
        await structured.click()
        await expect(page.get_by_label("Structured data")).to_contain_text('"title": "Guide"')


async def test_what_is_kept_of_a_page_is_a_tab_each(stage: Stage) -> None:
    job, ids = await crawled(stage)
    async with stage.page(f"/jobs/{job}/pages/{ids[GUIDE.url]}#text") as page:
        await expect(page.get_by_label("Text", exact=True).locator("pre")).to_have_text(TEXT)
        await page.get_by_role("tab", name="Source").click()
        source = page.get_by_role("region", name="Source")
        await expect(source.locator("pre").first).to_have_text("1\n2\n3")
        await expect(source.locator("pre").last).to_have_text(HTML)
        await page.keyboard.press("]")
        frame = page.locator("iframe")
        await expect(frame).to_have_attribute("sandbox", "")
        await expect(frame.content_frame.get_by_role("heading")).to_have_text("Kept")
        await page.get_by_role("tab", name="Preview").press("ArrowRight")
        await expect(page.get_by_role("tabpanel", name="Headers")).to_contain_text("<b>bold</b>")
        await page.get_by_role("tab", name="Links 3 out").click()
        link_rows = page.get_by_role("table", name="Links to this page").locator("tbody tr")
        await expect(link_rows.first).to_contain_text(HOME.url)
        await expect(link_rows.first).to_contain_text(HOSTILE[:60])
        own = page.get_by_role("table", name="Links from this page").locator("tbody tr")
        await expect(own).to_have_count(3)
        await expect(own.nth(1)).to_contain_text("404 broken")
        await expect(own.nth(1)).to_contain_text("nofollow")
        await expect(own.nth(2)).to_contain_text("not in this crawl")
        await page.get_by_role("tab", name="Changes").click()
        await expect(page.get_by_role("tabpanel")).to_contain_text("Only runs of a schedule")
        await expect(page).to_have_title(f"{HOSTILE} · Crawlyard")
        await page.get_by_label("Download").click()
        async with page.expect_download() as download:
            await page.get_by_role("link", name="Source").click()
        saved = await download.value
        assert saved.suggested_filename == "guide.html"
        assert (await saved.path()).read_text() == HTML
    [blocked] = stage.faults
    assert "Blocked script execution" in blocked
    stage.faults.clear()


async def test_the_pages_beside_one_are_those_of_the_list_that_it_was_opened_from(
    stage: Stage,
) -> None:
    job, ids = await crawled(stage)
    async with stage.page(f"/jobs/{job}/pages?under={HOST}/guide/") as page:
        await page.get_by_role("table", name="Pages").locator("a.main").first.click()
        url = f"{stage.base}/jobs/{job}/pages/{{}}?under={HOST}/guide/"
        before = page.get_by_role("link", name="Previous page")
        await expect(page.locator("#next")).to_be_visible()
        await expect(before).to_be_hidden()
        await page.get_by_role("tab", name="Text").click()
        await page.keyboard.press("j")
        await expect(page).to_have_url(f"{url.format(ids[PART.url])}#text")
        await expect(
            page.get_by_text("Only the first 200,000 characters are shown")
        ).to_be_visible()
        await expect(page.locator("#next")).to_be_hidden()
        await before.click()
        await expect(page).to_have_url(f"{url.format(ids[GUIDE.url])}#text")

        await page.goto(f"/jobs/{job}/pages/{ids[GONE.url]}")
        await expect(page.locator("#place")).to_have_text("4 of 4")
        await expect(page.get_by_text("No text is stored for this page.")).to_be_visible()
        await expect(page.get_by_text("answered 404")).to_be_visible()
        await page.goto(f"/jobs/{job}/pages/{2**40}")
        await expect(page.get_by_role("heading", name="Not found")).to_be_visible()


async def test_what_changed_since_the_run_before_is_a_tab(stage: Stage) -> None:
    _, first, second = await two_runs(stage, "Read nightly")
    [listed_pages] = (await stage.ask("GET", f"/jobs/{second}/pages?q=install"))["items"]
    async with stage.page(f"/jobs/{second}/pages/{listed_pages['id']}#changes") as page:
        diff = page.get_by_role("region", name="What changed in the text")
        await expect(diff.locator("del")).to_have_text(["1 "])
        await expect(diff.locator("ins")).to_have_text(["2 "])
        before = page.get_by_role("link", name="the previous run")
        await expect(before).to_have_attribute("href", re.compile(f"/jobs/{first}/pages/\\d+"))
        assert await page.locator("#main img").count() == 0


@pytest.mark.parametrize("dark", [False, True])
async def test_the_viewer_is_accessible_and_fits_a_phone(stage: Stage, dark: bool) -> None:
    job, ids = await crawled(stage)
    path = f"/jobs/{job}/pages/{ids[GUIDE.url]}#links"
    async with stage.page(path, dark=dark, bypass_csp=True, size=NARROW) as page:
        await expect(page.locator("#links-out tbody tr")).to_have_count(3)
        assert await faults_of(page) == []
        await page.get_by_role("tab", name="Reader").click()
        await expect(page.locator(".doc h2")).to_be_visible()
        assert await faults_of(page) == []
        assert await overflow_of(page) == 0


def a_picture() -> bytes:
    """Return a PNG of one red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", compress(b"\0\xff\0\0")) + chunk(b"IEND", b"")
    )


async def test_a_rendered_page_shows_what_its_scripts_made_of_it_and_its_picture(
    stage: Stage,
) -> None:
    job = await stage.job(urls=[HOME.url], keep_html=True, render="always", screenshot="png")
    claim, now = await begun(stage, job), stage.yard.clock.now()
    outcome = page_outcome(
        HOME, "text", rendered_by="chromium 156", render_reason="always", fetched_at=now
    )
    made_of_it = {Body.RENDERED: b"<h1>Made</h1>", Body.SCREENSHOT: a_picture()}
    bodies = {**outcome.bodies, **made_of_it}
    batch = a_batch([HOME], [replace(outcome, bodies=bodies)])
    await stage.yard.store.frontier.record([(claim.lease, batch)], now, LEASE)
    [stored] = (await stage.ask("GET", f"/jobs/{job['id']}/pages"))["items"]
    async with stage.page(f"/jobs/{job['id']}/pages/{stored['id']}#screenshot") as page:
        picture = page.get_by_role("img", name="The page as rendered by chromium 156")
        await expect(picture).to_be_visible()
        await expect(picture).to_have_js_property("naturalWidth", 1)
        await expect(page.locator("#details")).to_contain_text(
            "by chromium 156, like all pages of the job"
        )
        await page.keyboard.press("[")
        await expect(page.locator("iframe").content_frame.get_by_text("Made")).to_be_visible()
        await page.get_by_role("tab", name="Source").click()
        await expect(page.get_by_role("region", name="Source")).to_contain_text("<h1>Made</h1>")
        await expect(page.get_by_role("link", name="As sent by the server")).to_be_visible()
        await expect(page.locator("[data-if=needs_scripts]")).to_be_hidden()


async def test_a_page_that_was_not_rendered_has_no_tab_for_a_picture(stage: Stage) -> None:
    job, ids = await crawled(stage)
    async with stage.page(f"/jobs/{job}/pages/{ids[GUIDE.url]}#screenshot") as page:
        await expect(page.get_by_role("tab", name="Reader")).to_have_attribute(
            "aria-selected", "true"
        )
        await expect(page.get_by_role("tab", name="Screenshot")).to_be_hidden()
