"""The pages that are lists and forms, by the keyboard alone."""

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.job_page import crawled
from tests.browser.rig import Stage

MOST_TABS = 80
SPEC = {"urls": ["https://docs.example.org/"]}


async def reach(page: Page, wanted: Locator) -> None:
    """Go to an element by Tab, as somebody without a mouse has to."""
    for _ in range(MOST_TABS):
        if await wanted.evaluate("(el) => el === document.activeElement"):
            return
        await page.keyboard.press("Tab")
    raise AssertionError(f"{wanted} is not reached by Tab")


@pytest.mark.parametrize("path", ["/templates", "/events", "/results"])
async def test_rows_are_found_walked_and_opened_by_keys(stage: Stage, path: str) -> None:
    await crawled(stage)
    await stage.ask("POST", "/templates", {"name": f"for {path[1:]}", "spec": SPEC})
    async with stage.page(path) as page:
        links = page.locator("tbody tr td a").first
        await expect(links).to_be_visible()
        await page.keyboard.press("/")
        await expect(page.locator("main [type=search]").first).to_be_focused()
        await page.keyboard.press("Escape")
        await page.keyboard.press("j")
        await expect(page.locator("tr.cur a").first).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).not_to_have_text(path[1:].title())


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
        keys = page.get_by_role("dialog", name="Keys")
        await expect(keys).to_be_visible()
        await page.keyboard.press("Escape")
        await page.keyboard.press("g")
        await page.keyboard.press("e")
        await page.wait_for_url(f"{stage.base}/events")
        await page.keyboard.press("?")
        await reach(page, keys.get_by_label("Keys are on"))
        await page.keyboard.press("Space")
        await page.keyboard.press("Escape")
        await page.keyboard.press("?")
        await expect(keys).to_be_hidden()
