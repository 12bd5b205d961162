"""The pages that are lists and forms, and a whole session, by the keyboard alone."""

import json
import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from crawlyard.demo.server import SiteServer
from tests.browser.job_page import crawled
from tests.browser.rig import Stage, a_stage
from tests.site import GraphSite

MOST_TABS = 80
SPEC = {"urls": ["https://docs.example.org/"]}
ENDLESS_SITE = GraphSite(  # 3,000 pages at 0.2 s each: the job is still running after ten minutes
    {"/": ["/0"], **{f"/{n}": [f"/{n + 1}", f"/{n + 2}"] for n in range(3000)}}
)
MOST_PAGES = 12


async def reach(page: Page, target: Locator) -> None:
    """Reach an element by Tab, as with a keyboard alone."""
    await expect(target).to_be_enabled()
    for _ in range(MOST_TABS):
        if await target.evaluate("(el) => el === document.activeElement"):
            return
        await page.keyboard.press("Tab")
    raise AssertionError(f"{target} is not reached by Tab")


@pytest.mark.parametrize("path", ["/templates", "/events", "/results"])
async def test_rows_are_found_walked_and_opened_by_keys(stage: Stage, path: str) -> None:
    await crawled(stage)
    await stage.ask("POST", "/templates", {"name": f"for {path[1:]}", "spec": SPEC})
    headings = {"/results": "Pages", "/events": "Activity", "/templates": "Templates"}
    async with stage.page(path) as page:
        links = page.locator("tbody tr td a:visible").first
        await expect(links).to_be_visible()
        await page.keyboard.press("/")
        await expect(page.locator("main [type=search]").first).to_be_focused()
        await page.keyboard.press("Escape")
        await page.keyboard.press("j")
        while not await page.locator("tr.cur a:visible").count():  # such as that of a sign-in
            await page.keyboard.press("j")
        await expect(page.locator("tr.cur a:visible").first).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).not_to_have_text(headings[path])


async def test_a_token_is_made_by_keys(stage: Stage) -> None:
    async with stage.page("/settings/tokens") as page:
        await reach(page, page.get_by_label("Name"))
        await page.keyboard.type("by keys")
        await page.keyboard.press("Enter")
        await expect(page.locator("#ask pre")).to_contain_text("cyt_")
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("row").filter(has_text="by keys")).to_have_count(1)


async def test_a_template_is_made_by_keys(stage: Stage) -> None:
    async with stage.page("/templates/new") as page:
        await reach(page, page.get_by_label("Name", exact=True))
        await page.keyboard.type("typed")
        await reach(page, page.get_by_label("Start URLs"))
        await page.keyboard.insert_text("docs.example.org")
        await reach(page, page.get_by_role("button", name="Create template"))
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("typed")


async def test_a_page_is_gone_to_and_the_keys_are_shown_and_switched_off(stage: Stage) -> None:
    async with stage.page("/workers") as page:
        await page.keyboard.press("?")
        keys = page.get_by_role("dialog", name="Keyboard shortcuts")
        await expect(keys).to_be_visible()
        await page.keyboard.press("Escape")
        await page.keyboard.press("g")
        await page.keyboard.press("a")
        await page.wait_for_url(f"{stage.base}/events")
        await page.keyboard.press("?")
        await reach(page, keys.get_by_label("Keys are on"))
        await page.keyboard.press("Space")
        await page.keyboard.press("Escape")
        await page.keyboard.press("?")
        await expect(keys).to_be_hidden()


async def pick(page: Page, words: str, name: str) -> None:
    """Find something in the command palette, and choose it."""
    await page.keyboard.press("Control+k")
    await page.keyboard.type(words)
    await expect(page.locator("[role=option][aria-selected=true]")).to_contain_text(name)
    await page.keyboard.press("Enter")


async def test_a_crawl_is_begun_watched_paused_bounded_and_downloaded_by_keys(
    browser: Browser, tmp_path: Path
) -> None:
    works = ("worker",)
    async with SiteServer(ENDLESS_SITE) as site, a_stage(tmp_path, browser, works=works) as stage:
        await stage.ask("PUT", "/settings/grants", {"private": True})
        spec = {"urls": [site.url], "allow_private": True, "delay_s": 0.2}
        await stage.ask("POST", "/templates", {"name": "a slow site", "spec": spec})
        async with stage.page("/") as page:
            await pick(page, "slow", "a slow site")
            await expect(page.get_by_role("heading", level=1)).to_have_text("a slow site")
            await pick(page, "run", "Run")
            await expect(page.get_by_label("Template", exact=True)).not_to_have_value("")
            await reach(page, page.get_by_role("button", name="Start crawl"))
            await page.keyboard.press("Enter")

            fetched = page.locator("nav [data-tab=pages] .n")
            await expect(fetched).to_have_text(re.compile("[1-9]"))
            await expect(page.get_by_role("button", name="Pause")).to_be_visible()
            await page.keyboard.press("p")
            await expect(page.get_by_role("button", name="Resume")).to_be_visible()

            await pick(page, "limits", "Limits…")
            await reach(page, page.get_by_role("dialog").get_by_label("Pages"))
            await page.keyboard.type(str(MOST_PAGES))
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("dialog")).to_have_count(0)
            await page.keyboard.press("p")
            await expect(page.get_by_text("Stopped early").first).to_be_visible()

            async with page.expect_download() as saved:
                await pick(page, "download", "Download")
            lines = (await (await saved.value).path()).read_text("utf-8").splitlines()
            assert len(lines) >= MOST_PAGES
            assert all(json.loads(line)["url"].startswith(site.url) for line in lines)
