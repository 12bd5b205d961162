"""The tabs of a job's page: pages, problems, queue, log, history and settings."""

from playwright.async_api import expect

from crawlyard.core.jobs.job_log import Level, LogLine
from tests.browser.crawls import LEASE, begun, settled
from tests.browser.job_page import (
    HOST,
    HOSTILE,
    TABS,
    crawled,
    tab,
    toast,
    turned,
)
from tests.browser.rig import Stage
from tests.builders import a_batch


async def test_tabs_are_addresses_that_keys_and_the_way_back_go_through(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        await expect(tab(page, "Overview")).to_have_attribute("aria-current", "page")
        await tab(page, "Pages 32").click()
        await expect(page).to_have_url(f"{stage.base}/jobs/{crawl.id}/pages")
        await expect(page.get_by_role("table", name="Pages")).to_be_visible()
        await page.keyboard.press("]")
        await expect(page).to_have_url(f"{stage.base}/jobs/{crawl.id}/problems")
        await expect(page.get_by_role("table", name="Pages")).to_be_hidden()
        for _ in range(3):
            await page.keyboard.press("[")
        await expect(tab(page, "Overview")).to_have_attribute("aria-current", "page")
        for _ in range(2):
            await page.go_back()
        await expect(page).to_have_url(f"{stage.base}/jobs/{crawl.id}/problems")
        await expect(tab(page, "Problems 5")).to_have_attribute("aria-current", "page")

        await page.goto(f"/jobs/{crawl.id}/nonsense")
        await expect(tab(page, "Overview")).to_have_attribute("aria-current", "page")


async def test_earlier_addresses_of_tabs_lead_to_those_that_took_their_place(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}/download") as page:
        await expect(page.locator("form.export")).to_be_visible()
        for old, now in (("errors", "Problems"), ("events", "History"), ("config", "Settings")):
            await page.goto(f"/jobs/{crawl.id}/{old}")
            await expect(page).to_have_url(f"{stage.base}/jobs/{crawl.id}/{now.lower()}")
            await expect(tab(page, now)).to_have_attribute("aria-current", "page")
            await expect(page.locator(TABS[now]).first).to_be_visible()


async def test_the_overview_shows_course_responses_states_and_problems(stage: Stage) -> None:
    crawl = await crawled(stage, limits={"pages": 6000})
    await settled(stage, crawl.claim)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        for chart in (
            "Pages per second: 19.3 on average, 23.9 at most",
            "Pages and found URLs: 4,632 pages, 389 in the queue",
            "Response time: 48 ms on average",
            "Responses: 3,636 2xx, 24 4xx, 12 5xx",
        ):
            await expect(page.get_by_role("slider", name=chart)).to_be_visible()
        await expect(page.locator("#course .limt")).to_have_text("page limit 6,000")
        steps = page.locator("#timeline li")
        await expect(steps).to_have_count(3)
        await expect(steps.nth(0)).to_contain_text("Waiting for")
        await expect(steps.nth(1)).to_contain_text("Running for")
        await expect(steps.nth(2)).to_contain_text("Completed")
        await expect(steps.nth(2)).not_to_contain_text("for", use_inner_text=True)
        problems = page.get_by_label("Overview", exact=True).locator(".err")
        await expect(problems.first).to_contain_text("Timed out")
        await page.get_by_role("link", name="4xx 24").click()
        await expect(page).to_have_url(f"{stage.base}/jobs/{crawl.id}/pages?status=4xx")
        await expect(page.get_by_role("table", name="Pages").locator("tbody tr")).to_have_count(2)


async def test_the_course_of_a_job_whose_only_url_failed_keeps_what_was_found(
    stage: Stage,
) -> None:
    course = {
        "object": "metrics",
        "step_s": 5.0,
        "points": [
            {
                "at": "2026-01-02T03:04:05Z",
                "seconds": 1.0,
                "pages": 0,
                "bytes": 0,
                "errors": 1,
                "statuses": {},
                "latency_ms": 0.0,
                "waiting": 0,
            }
        ],
    }
    crawl = await crawled(stage)  # without a page limit
    async with stage.context() as context:
        page = await context.new_page()
        await page.route("**/metrics*", lambda route: route.fulfill(json=course))
        await page.goto(f"/jobs/{crawl.id}")
        chart = page.locator("#course")
        await expect(chart.get_by_role("slider")).to_be_visible()
        await expect(chart.locator(".limt")).to_have_count(0)
        await chart.get_by_role("slider").focus()
        await page.keyboard.press("End")
        job = await stage.ask("GET", f"/jobs/{crawl.id}")
        discovered = job["progress"]["discovered"]
        await expect(chart).to_contain_text(f"{discovered:,}")


async def test_pages_are_filtered_by_an_address_that_can_be_shared(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}/pages") as page:
        rows = page.get_by_role("table", name="Pages").locator("tbody tr")
        await expect(rows).to_have_count(35)
        form = page.get_by_role("search", name="Filter pages")
        await form.get_by_label("Status").fill("4xx")
        await expect(rows).to_have_count(2)
        await expect(page).to_have_url(f"{stage.base}/jobs/{crawl.id}/pages?status=4xx")
        await page.reload()
        await expect(form.get_by_label("Status")).to_have_value("4xx")
        await expect(rows).to_have_count(2)

        await form.get_by_label("Status").fill("abc")
        await expect(toast(page)).to_contain_text("expected a status")
        await form.get_by_label("Status").fill("")
        await form.get_by_label("URL or title").fill("nothing is called so")
        await expect(page.get_by_text("no page matches the filter")).to_be_visible()
        await page.get_by_role("link", name="Show all pages").click()
        await expect(rows).to_have_count(35)


async def test_many_pages_are_turned_over(stage: Stage) -> None:
    crawl = await crawled(stage, pages=60)
    async with stage.page(f"/jobs/{crawl.id}/pages") as page:
        rows = page.get_by_role("table", name="Pages").locator("tbody tr")
        await expect(rows).to_have_count(50)
        await page.get_by_role("button", name="More", exact=True).click()
        await expect(rows).to_have_count(15)
        await page.get_by_role("button", name="Before").click()
        await expect(rows).to_have_count(50)


async def test_what_a_hostile_site_says_stays_text(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}/pages") as page:
        row = page.get_by_role("table", name="Pages").locator("tbody tr").first
        await expect(row).to_contain_text(HOSTILE)
        source = row.get_by_role("link", name=f"Open https://{HOST}/guide/page-0")
        await expect(source).to_have_attribute("rel", "noreferrer")
        await expect(source).to_have_attribute("href", f"https://{HOST}/guide/page-0")
        await expect(page.locator("#main img")).to_have_count(0)
        await tab(page, "Log").click()
        await expect(page.locator("#log")).to_contain_text(f"given up: {HOSTILE}")


async def test_rows_are_walked_through_and_opened_by_keys(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}/pages") as page:
        for name in ("Queue", "Pages"):
            await turned(page, name)
        await page.keyboard.press("j")
        await page.keyboard.press("j")
        await page.keyboard.press("Enter")
        title = page.get_by_role("heading", level=1)
        await expect(title).to_have_text("How to bound a crawl, part 1")
        await expect(page.locator("#next")).to_be_visible()
        await page.keyboard.press("j")
        await expect(title).to_have_text("How to bound a crawl, part 2")


async def test_problems_are_grouped_by_remedy_and_skipped_urls_are_shown_apart(
    stage: Stage,
) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}/problems") as page:
        groups = page.get_by_label("Problems", exact=True).locator(".err")
        await expect(groups).to_have_count(2)
        await expect(groups.first).to_contain_text("Timed out")
        await expect(groups.first).to_contain_text("Often temporary: retry.")
        await expect(groups.first).to_contain_text(f"https://{HOST}/slow/2")
        await expect(groups.nth(1)).to_contain_text("Not found (404)")
        await expect(groups.nth(1)).to_contain_text("Fix the links that lead there")
        await groups.nth(1).get_by_text("linked from 2").first.click()
        await expect(groups.nth(1)).to_contain_text(f"https://{HOST}/guide/page-1")
        rules = page.get_by_role("table", name="Skipped on purpose").locator("tbody tr")
        await expect(rules.filter(has_text="robots")).to_contain_text(f"https://{HOST}/secret")
        await expect(rules.filter(has_text="scope")).to_contain_text("https://other.example/x")
        await groups.first.get_by_role("link", name="Show pages").click()
        await expect(page).to_have_url(f"{stage.base}/jobs/{crawl.id}/pages?kind=timeout")
        await expect(page.get_by_role("table", name="Pages").locator("tbody tr")).to_have_count(3)


async def test_the_outcome_of_a_url_is_explained(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}/problems") as page:
        panel = page.locator("#why")
        await panel.get_by_label("URL").fill(f"https://{HOST}/secret")
        await page.keyboard.press("Enter")
        fate = page.locator("#fate")
        await expect(fate).to_contain_text("Skipped")
        await expect(fate).to_contain_text("robots: Disallow: /secret")
        await panel.get_by_label("URL").fill(f"https://{HOST}/guide/page-3")
        await panel.get_by_role("button", name="Details").click()
        await expect(fate).to_contain_text("Fetched")
        await fate.get_by_role("link", name="Its page").click()
        title = page.get_by_role("heading", level=1)
        await expect(title).to_have_text("How to bound a crawl, part 3")


async def test_the_log_is_followed_by_level_and_words_and_can_be_had(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}/log") as page:
        lines = page.locator("#log > :visible")
        await expect(lines).to_have_count(3)
        now = stage.yard.clock.now()
        news = LogLine(at=now, level=Level.WARNING, message="a new line", url=f"https://{HOST}/n")
        batches = [(crawl.claim.lease, a_batch(log=(news,)))]
        await stage.yard.store.frontier.record(batches, now, LEASE)
        await expect(lines).to_have_count(4)
        await expect(lines.last).to_contain_text(f"a new line https://{HOST}/n")
        await page.get_by_label("Filter lines").fill("slow")
        await expect(lines).to_have_count(2)
        await page.get_by_label("Filter lines").fill("")
        await page.get_by_label("Level").select_option("debug")
        await expect(lines).to_have_count(5)
        await page.get_by_label("Level").select_option("error")
        await expect(lines).to_have_count(1)
        async with page.expect_download() as download:
            await page.get_by_label("Log", exact=True).get_by_role("link", name="Download").click()
        saved = await (await download.value).path()
        assert "given up" in saved.read_text()


async def test_the_log_goes_on_when_an_ended_job_does(stage: Stage) -> None:
    crawl = await crawled(stage)
    await settled(stage, crawl.claim)
    async with stage.page(f"/jobs/{crawl.id}/log") as page:
        lines = page.locator("#log > :visible")
        await expect(lines).to_have_count(3)
        await stage.ask("POST", f"/jobs/{crawl.id}/retry", {"scope": "failed"})
        await expect(page.locator(".head .pill")).to_have_text("Waiting")
        claim, now = await begun(stage, {"id": crawl.id}), stage.yard.clock.now()
        news = LogLine(at=now, level=Level.INFO, message="back again")
        await stage.yard.store.frontier.record([(claim.lease, a_batch(log=(news,)))], now, LEASE)
        await expect(lines.last).to_contain_text("back again")


async def test_the_history_shows_actors_actions_and_changes(stage: Stage) -> None:
    crawl = await crawled(stage)
    await stage.ask("PATCH", f"/jobs/{crawl.id}", {"limits": {"pages": 77}})
    await stage.ask("POST", f"/jobs/{crawl.id}/pause", {"reason": "moving house"})
    async with stage.page(f"/jobs/{crawl.id}/history") as page:
        rows = page.get_by_role("table", name="History").locator("tbody tr")
        await expect(rows).to_have_count(4)
        await expect(rows.nth(0)).to_contain_text("local")
        await expect(rows.nth(0)).to_contain_text("Running → Paused")
        await expect(rows.nth(0)).to_contain_text("moving house")
        await expect(rows.nth(1)).to_contain_text("limits.pages: 77")
        await expect(rows.nth(2)).to_contain_text("Waiting → Running")
        await expect(rows.nth(2)).to_contain_text("worker:w1")


async def test_what_waits_is_listed_and_called_never_fetched_once_the_job_has_ended(
    stage: Stage,
) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}/queue") as page:
        rows = page.get_by_role("table", name="Queue").locator("tbody tr")
        await expect(rows).to_have_count(40)
        await expect(rows.first).to_contain_text(f"https://{HOST}/print/0")
        await expect(rows.first).to_contain_text(f"https://{HOST}/guide/page-0")
        await expect(tab(page, "Queue")).to_have_text("Queue 40")
        await settled(stage, crawl.claim)
        await expect(tab(page, "Queue")).to_have_text("Never fetched 40")
