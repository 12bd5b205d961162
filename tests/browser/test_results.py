"""The pages of all jobs: searched, filtered, opened and exported."""

import json
import re

import pytest
from playwright.async_api import expect

from crawlyard.core.search.search import SearchBounds
from crawlyard.services.search.search import Archive
from tests.browser.job_page import HOSTILE, crawled
from tests.browser.looking import faults_of, overflow_of
from tests.browser.rig import NARROW, Stage


async def test_pages_of_all_jobs_are_found_by_words_status_and_host(stage: Stage) -> None:
    await crawled(stage, name="Guide")
    async with stage.page("/results") as page:
        pages = page.get_by_role("table", name="Pages")
        await expect(pages.get_by_role("row")).to_have_count(36)
        await expect(page.locator("#looked")).to_have_text("35 pages")
        await page.get_by_label("Words in URL").fill("part 17")
        row = pages.get_by_role("row").nth(1)
        await expect(pages.get_by_role("row")).to_have_count(2)
        await expect(row).to_contain_text("How to bound a crawl, part 17")
        assert "q=part+17" in page.url

        await page.get_by_label("Words in URL").fill("")
        await page.get_by_label("Status").fill("4xx")
        await expect(pages.get_by_role("row")).to_have_count(3)
        await expect(row).to_contain_text("404")
        await page.reload()
        await expect(pages.get_by_role("row")).to_have_count(3)
        await page.get_by_label("Host").fill("nowhere.example")
        await expect(page.get_by_role("heading", name="No page matches")).to_be_visible()


async def test_where_pages_are_read_one_by_one_it_says_how_far_and_goes_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    crawl = await crawled(stage)
    few, services = SearchBounds(pages=1), stage.yard.services
    reading = Archive(services.store, services.clock, few, indexed=False)
    monkeypatch.setitem(vars(services), "archive", reading)
    async with stage.page(f"/results?q=nowhere&job={crawl.id}") as page:
        looked, more = page.locator("#looked"), page.get_by_role("button", name="Keep searching")
        await expect(looked).to_have_text(re.compile(r"^Searched 26 of \d+ pages, 0 matches$"))
        await expect(page.locator("#index")).to_contain_text("search index is off")
        await expect(page.get_by_role("heading", name="No page matches")).to_be_hidden()
        await more.click()
        await expect(page.get_by_role("heading", name="No page matches")).to_be_visible()
        await expect(more).to_be_hidden()


async def test_what_the_index_has_is_found_and_the_page_says_what_it_lacks(stage: Stage) -> None:
    await crawled(stage)
    async with stage.page("/results?q=part+17") as page:
        row = page.get_by_role("table", name="Pages").get_by_role("row").nth(1)
        await expect(row).to_contain_text("part 17")
        await expect(page.locator("#index")).to_contain_text("pages are not indexed yet")
        await stage.yard.indexer.catch_up()
        await page.get_by_label("Words in URL").fill("part 1")
        await expect(row).to_contain_text("part 1")
        await expect(page.locator("#index")).to_be_hidden()


async def test_a_page_that_is_found_is_looked_at_as_text(stage: Stage) -> None:
    await crawled(stage)
    async with stage.page("/results?q=onerror") as page:
        row = page.get_by_role("table", name="Pages").get_by_role("row").nth(1)
        await expect(row).to_contain_text(HOSTILE)
        await row.get_by_role("link").first.click()
        await expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)


async def test_the_exports_have_what_the_filter_shows(stage: Stage) -> None:
    await crawled(stage)
    async with stage.page("/results?status=404") as page:
        await expect(page.locator("#looked")).not_to_be_empty()
        async with page.expect_download() as started:
            await page.get_by_role("link", name="JSON Lines").click()
        path = await (await started.value).path()
        records = [json.loads(line) for line in path.read_text().splitlines()]
        assert {record["status"] for record in records} == {404}


@pytest.mark.parametrize("dark", [False, True])
async def test_the_page_is_accessible_and_fits_a_phone(stage: Stage, dark: bool) -> None:
    await crawled(stage)
    async with stage.page("/results", dark=dark, bypass_csp=True) as page:
        await expect(page.locator("#looked")).not_to_be_empty()
        assert await faults_of(page) == []
    async with stage.page("/results", size=NARROW) as page:
        await expect(page.locator("#looked")).not_to_be_empty()
        assert await overflow_of(page) == 0
