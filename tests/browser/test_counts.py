"""The numbers of one job on the dashboard: tiles, tabs, site map and lists show the same."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Locator, Page, expect

from crawlyard.demo.server import SiteServer
from tests.browser.job_page import tab
from tests.browser.rig import Stage, a_stage
from tests.counted_site import DEAD, FOUND_BEFORE_LIMIT, LIMIT, NUMBERS, CountedSite

FORM: dict[str, Any] = {
    "allow_private": True,
    "delay_s": 0,
    "per_host": 1,
    "url_retries": 0,
    "render": "never",
}


async def test_every_page_shows_the_same_numbers_of_a_job(browser: Browser, tmp_path: Path) -> None:
    works = ("worker", "operations")
    async with (
        SiteServer(CountedSite()) as server,
        a_stage(tmp_path, browser, works=works) as stage,
    ):
        await stage.ask("PUT", "/settings/grants", {"addresses": True, "private": True})
        start = f"{server.url}/"
        whole = await crawled(stage, name="Whole", urls=[start, DEAD])
        limited = await crawled(stage, name="Limited", urls=[start], limits={"pages": LIMIT})
        part = numbers_of(limited)
        assert numbers_of(whole) == {name: NUMBERS[name] for name in part}
        assert (part["pages"], part["found"]) == (LIMIT, FOUND_BEFORE_LIMIT)
        async with stage.context() as context:
            page = await context.new_page()
            await check_job(page, whole["id"], NUMBERS)
            await expect(page.get_by_label("Progress", exact=True)).to_contain_text(
                f"All {NUMBERS['found']} URLs are done, {NUMBERS['failed']} failed"
            )
            await check_job(page, limited["id"], part | await counted(stage, limited["id"]))
            await expect(page.get_by_label("Progress", exact=True)).to_contain_text(
                f"{part['done']} of {part['found']} found"
            )
            await page.goto("/jobs")
            await expect(row(page, "Whole")).to_contain_text(f"{NUMBERS['pages']} pages")
            await expect(row(page, "Limited")).to_contain_text(
                f"{part['done']} of {part['found']} URLs · page limit"
            )
            await page.goto("/")
            pages = NUMBERS["pages"] + part["pages"]
            await expect(page.get_by_role("region", name="Trends")).to_contain_text(
                re.compile(rf"Pages per hour\s*{pages},")
            )


async def crawled(stage: Stage, **form: Any) -> Mapping[str, Any]:
    """Return a job that has ended."""
    job = await stage.job(**FORM, **form)
    ended: dict[str, Any] = {}
    while not ended.get("ended_at"):
        ended = await stage.ask("GET", f"/jobs/{job['id']}/wait?timeout_s=20")
    return ended


def numbers_of(job: Mapping[str, Any]) -> dict[str, int]:
    """Return the numbers that the API has of a job itself."""
    progress, usage = job["progress"], job["usage"]
    return {
        "found": progress["discovered"],
        "done": progress["done"],
        "failed": progress["failed"],
        "skipped": usage["skipped"],
        "waiting": progress["discovered"] - progress["done"],
        "pages": progress["pages"],
    }


async def counted(stage: Stage, job_id: str) -> dict[str, int]:
    """Return the numbers of a job that its site map alone has."""
    total = (await stage.ask("GET", f"/jobs/{job_id}/map"))["total"]
    return {name: total[name] for name in ("fetched", "redirected")}


async def check_job(page: Page, job_id: str, numbers: Mapping[str, int]) -> None:
    """Check what the tiles and tabs of a job show."""
    await page.goto(f"/jobs/{job_id}")
    tiles = page.get_by_label("Progress", exact=True)
    for text in (
        f"{numbers['done']} done",
        f"{numbers['failed']} of them failed",
        f"{numbers['waiting']} never fetched",
    ):
        await expect(tiles.locator(".key")).to_contain_text(text)
    await expect(tile(tiles, "Pages")).to_have_text(str(numbers["pages"]))
    await expect(tile(tiles, "Skipped")).to_have_text(f"{numbers['skipped']} URLs")
    await check_tabs(page, numbers)


async def check_tabs(page: Page, numbers: Mapping[str, int]) -> None:
    for name, section, count, records in (
        ("Pages", "pages", numbers["pages"], numbers["fetched"] + numbers["failed"]),
        ("Queue", "queue", numbers["waiting"], numbers["waiting"]),
    ):
        await expect(tab(page, name).locator(".n")).to_have_text(str(count))
        await tab(page, name).click()
        rows = page.locator(f"section[data-tab={section}] tbody tr")
        await expect(rows).to_have_count(records)

    await expect(tab(page, "Problems").locator(".n")).to_have_text(str(numbers["failed"]))
    await tab(page, "Problems").click()
    problems = page.locator("section[data-tab=problems]")
    for loaded in (".err", "tbody tr"):
        await expect(problems.locator(loaded).first).to_be_visible()
    assert await total(problems.locator(".err > b")) == numbers["failed"]
    assert await total(problems.locator("tbody td.num")) == numbers["skipped"]

    await tab(page, "Site map").click()
    status = page.locator("section[data-tab=map] .said").first
    for name in ("fetched", "failed", "waiting", "redirected", "skipped"):
        text = "never fetched" if name == "waiting" else name
        if numbers[name]:  # the others are left out
            await expect(status).to_contain_text(f"{numbers[name]} {text}")


def tile(tiles: Locator, name: str) -> Locator:
    return (
        tiles.locator("dl > div").filter(has=tiles.page.get_by_text(name, exact=True)).locator("dd")
    )


def row(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name))


async def total(cells: Locator) -> int:
    return sum(int(text) for text in await cells.all_text_contents())
