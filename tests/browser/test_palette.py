"""The command palette: from any page, by keys alone or by a finger, to what there is."""

import asyncio
import re

from playwright.async_api import Page, Route, expect

from tests.browser.looking import faults_of, overflow_of
from tests.browser.rig import NARROW, Stage

SPEC = {"urls": ["https://docs.example.org/"]}


async def opened(page: Page, text: str = "") -> None:
    """Open the palette, and type."""
    await page.keyboard.press("Control+k")
    await expect(page.get_by_role("combobox", name="Search or jump to")).to_be_focused()
    await page.keyboard.type(text)


async def test_a_job_a_schedule_and_a_page_of_the_yard_are_gone_to_by_keys(stage: Stage) -> None:
    job = await stage.job(name="nightly docs")
    await stage.ask("POST", "/templates", {"name": "docs, as ever", "spec": SPEC})
    async with stage.page("/workers") as page:
        await opened(page, "docs")
        options = page.get_by_role("option")
        await expect(options.filter(has_text="nightly docs")).to_have_attribute(
            "aria-selected", "true"
        )
        await expect(options.filter(has_text="docs, as ever")).to_have_count(1)
        chosen = page.get_by_role("combobox")
        first = await chosen.get_attribute("aria-activedescendant")
        await page.keyboard.press("ArrowDown")
        await expect(chosen).not_to_have_attribute("aria-activedescendant", first or "")
        await expect(page.locator(f"#{first}")).to_have_attribute("aria-selected", "false")
        await page.keyboard.press("ArrowUp")
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{stage.base}/jobs/{job['id']}")

        await expect(page.locator("#here")).to_have_text("nightly docs")
        await opened(page, "zzz")
        await expect(options.filter(has_text="nightly docs")).to_have_count(0)
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await opened(page)
        await expect(options.first).to_have_text(re.compile("nightly docs"))  # been there last
        await page.keyboard.type("hosts")
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{stage.base}/workers")


async def test_an_id_a_filter_and_an_address_are_understood(stage: Stage) -> None:
    job = await stage.job(name="by its id")
    await stage.job(name="unlike", urls=["https://shop.example.com/"])
    async with stage.page("/events") as page:
        options = page.get_by_role("option")
        await opened(page, job["id"][-8:])
        await expect(options.filter(has_text="by its id")).to_have_count(1)
        await page.keyboard.press("Control+k")
        await opened(page, "host:shop.example.com state:pending")
        await expect(options.filter(has_text="unlike")).to_have_count(1)
        await expect(options.filter(has_text="by its id")).to_have_count(0)
        await page.keyboard.press("Control+k")
        await opened(page, "news.example.org")
        await options.filter(has_text="Crawl news.example.org").click()
        await page.wait_for_url(f"{stage.base}/jobs/new?url=news.example.org")


_AGAIN = """() => {
  const press = (key, more) => {
    const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more });
    document.activeElement.dispatchEvent(event);
    return event.defaultPrevented;
  };
  press("k", { ctrlKey: true });
  const closed = !document.querySelector("dialog.palette").open;
  press("k", { ctrlKey: true });
  return [closed, document.querySelector("dialog.palette").open, press("x")];
}"""


async def test_it_is_closed_and_opened_again_at_once(stage: Stage) -> None:
    async with stage.page("/events") as page:
        await opened(page, "docs")
        assert await page.evaluate(_AGAIN) == [True, True, False]


async def test_keys_typed_before_the_palette_opens_go_to_the_palette(stage: Stage) -> None:
    await stage.job(name="new ground")
    late = asyncio.Event()

    async def hold(route: Route) -> None:
        await late.wait()
        await route.continue_()

    async with stage.page("/workers") as page:
        await expect(page.locator("#live")).to_have_attribute("data-is", "live")
        await page.route("**/palette.js", hold)
        await page.keyboard.press("Control+k")
        await page.keyboard.type("new ground")  # "n" alone would begin a crawl
        late.set()
        await expect(page.get_by_role("combobox")).to_have_value("new ground")
        await expect(page.get_by_role("option").filter(has_text="new ground")).not_to_have_count(0)
        assert page.url.endswith("/workers")


async def test_what_a_page_can_do_and_the_theme_are_done_from_it(stage: Stage) -> None:
    job = await stage.job(name="to be paused")
    async with stage.page(f"/jobs/{job['id']}") as page:
        await expect(page.get_by_role("button", name="Pause", exact=True)).to_be_visible()
        await opened(page, "pause")
        await expect(page.get_by_role("group", name="This page")).to_contain_text("Pause")
        await page.keyboard.press("Enter")
        await expect(page.locator(".head .pill")).to_have_text("Paused")
        await opened(page, "theme")
        await page.keyboard.press("Enter")
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")


async def test_an_answer_to_what_was_typed_before_is_not_shown(stage: Stage) -> None:
    await stage.job(name="aaa first")
    await stage.job(name="bbb second")
    late = asyncio.Event()
    answered = asyncio.Event()

    async def hold(route: Route) -> None:
        await late.wait()
        await route.continue_()
        answered.set()

    async with stage.page("/workers") as page:
        await page.route(re.compile(r"/jobs\?q=%22aaa%22"), hold)
        options = page.get_by_role("option")
        async with page.expect_request(re.compile("aaa")):
            await opened(page, "aaa")
        await page.keyboard.press("Control+a")
        await page.keyboard.type("bbb")
        await expect(options.filter(has_text="second")).to_have_count(1)
        async with page.expect_response(re.compile("aaa")):
            late.set()
        await answered.wait()
        await expect(page.get_by_role("dialog").get_by_role("status")).to_have_text(
            re.compile("found")
        )
        await expect(options.filter(has_text="first")).to_have_count(0)
        await expect(options.filter(has_text="second")).to_have_count(1)


async def test_on_a_phone_it_opens_from_the_drawer_and_cuts_no_word(stage: Stage) -> None:
    long = "a crawl with a name that is longer than a phone is wide, and goes on after that"
    await stage.job(name=long)
    async with stage.page("/", size=NARROW, bypass_csp=True, dark=True) as page:
        await page.get_by_role("button", name="More").click()
        await expect(page.locator("#side a").first).to_be_focused()
        await page.get_by_role("button", name="Search or jump to").click()
        await page.keyboard.type("longer than a phone")
        option = page.get_by_role("option").filter(has_text=long)
        await expect(option).to_be_visible()
        assert await option.locator("span").evaluate("(el) => el.scrollWidth <= el.clientWidth")
        assert await faults_of(page) == []
        assert await overflow_of(page) == 0
        await page.get_by_role("button", name="Close").click()
        await expect(page.get_by_role("dialog")).to_have_count(0)
