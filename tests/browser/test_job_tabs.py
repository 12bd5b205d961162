"""The tabs of a job's page: pages, errors, log, events, configuration and results."""

from playwright.async_api import expect

from crawlyard.core.jobs.job_log import Level, LogLine
from tests.browser.crawls import LEASE, begun, settled
from tests.browser.job_page import (
    HOST,
    HOSTILE,
    HTML,
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
        await expect(page).to_have_url(f"{stage.base}/jobs/{crawl.id}/errors")
        await expect(page.get_by_role("table", name="Pages")).to_be_hidden()
        for _ in range(3):
            await page.keyboard.press("[")
        await expect(tab(page, "Overview")).to_have_attribute("aria-current", "page")
        for _ in range(2):
            await page.go_back()
        await expect(page).to_have_url(f"{stage.base}/jobs/{crawl.id}/errors")
        await expect(tab(page, "Errors 5")).to_have_attribute("aria-current", "page")

        await page.goto(f"/jobs/{crawl.id}/nonsense")
        await expect(tab(page, "Overview")).to_have_attribute("aria-current", "page")


async def test_the_overview_shows_course_answers_states_and_errors(stage: Stage) -> None:
    crawl = await crawled(stage)
    await settled(stage, crawl.claim)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        for chart in ("Pages per second: 19.1 now, 23.9", "In the queue: 389 now, 901"):
            await expect(page.get_by_role("slider", name=f"{chart} at most")).to_be_visible()
        steps = page.locator("#timeline li")
        await expect(steps).to_have_count(3)
        await expect(steps.nth(0)).to_contain_text("Pending for")
        await expect(steps.nth(1)).to_contain_text("Running for")
        await expect(steps.nth(2)).to_contain_text("Completed")
        await expect(steps.nth(2)).not_to_contain_text("for", use_inner_text=True)
        errors = page.get_by_role("table", name="Errors by kind").locator("tr")
        await expect(errors.nth(1)).to_contain_text("timeout")
        await page.get_by_role("link", name="4xx 24").click()
        await expect(page).to_have_url(f"{stage.base}/jobs/{crawl.id}/pages?status=4xx")
        await expect(page.get_by_role("table", name="Pages").locator("tbody tr")).to_have_count(2)


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
        await expect(page.get_by_text("none fits the filter")).to_be_visible()
        await page.get_by_role("link", name="Show all pages").click()
        await expect(rows).to_have_count(35)


async def test_many_pages_are_turned_over(stage: Stage) -> None:
    crawl = await crawled(stage, pages=60)
    async with stage.page(f"/jobs/{crawl.id}/pages") as page:
        rows = page.get_by_role("table", name="Pages").locator("tbody tr")
        await expect(rows).to_have_count(50)
        await page.get_by_role("button", name="More", exact=True).click()
        await expect(rows).to_have_count(15)
        await rows.first.get_by_role("link").first.click()
        await expect(page.locator("#preview")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(rows).to_have_count(15)
        await page.go_back()
        await expect(page.locator("#preview")).to_be_hidden()
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
        await row.get_by_role("link", name=HOSTILE).click()

        shown = page.locator("#preview")
        await expect(shown.get_by_role("heading")).to_have_text(HOSTILE)
        await expect(shown.get_by_label("Text")).to_have_text(HOSTILE)
        await shown.get_by_text("Headers of the response").click()
        await expect(shown.get_by_label("Headers")).to_contain_text("<script>alert(2)</script>")
        await shown.get_by_text("HTML source").click()
        await expect(shown.get_by_label("HTML source")).to_have_text(HTML)
        await shown.get_by_text("As a page").click()
        frame = shown.locator("iframe")
        await expect(frame).to_have_attribute("sandbox", "")
        await expect(frame.content_frame.get_by_role("heading")).to_have_text("Kept")
        await expect(page).to_have_title("Docs of the yard · Crawlyard")
        await expect(page.locator("img")).to_have_count(0)
        [blocked] = stage.faults
        assert "Blocked script execution" in blocked
        stage.faults.clear()

        await shown.get_by_role("button", name="Close").click()
        await tab(page, "Log").click()
        await expect(page.locator("#log")).to_contain_text(f"given up: {HOSTILE}")


async def test_rows_are_walked_through_and_opened_by_keys(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}/pages") as page:
        for name in ("Errors", "Pages"):
            await turned(page, name)
        await page.keyboard.press("j")
        await page.keyboard.press("j")
        await page.keyboard.press("Enter")
        shown = page.locator("#preview")
        await expect(shown.get_by_role("heading")).to_have_text("How to bound a crawl, part 1")
        await page.keyboard.press("Escape")
        await page.keyboard.press("j")
        await page.keyboard.press("Enter")
        await expect(shown.get_by_role("heading")).to_have_text("How to bound a crawl, part 2")


async def test_what_is_not_kept_of_a_page_is_said_to_be_so(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}/pages?kind=timeout") as page:
        await page.get_by_role("table", name="Pages").get_by_role("link").first.click()
        shown = page.locator("#preview")
        await expect(shown).to_contain_text("timeout: no answer within 30 s")
        await expect(shown.get_by_label("Text")).to_have_text("Nothing is kept of it.")
        await expect(shown.locator("iframe")).to_have_attribute("src", "about:blank")


async def test_errors_are_told_by_kind_and_what_rules_keep_out_apart(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}/errors") as page:
        errors = page.get_by_role("table", name="Errors by kind").locator("tbody tr:visible")
        await expect(errors).to_have_count(2)
        await expect(errors.first).to_contain_text("timeout")
        await expect(errors.first).to_contain_text(f"https://{HOST}/slow/2")
        rules = page.get_by_role("table", name="Kept out by rules").locator("tbody tr")
        await expect(rules.filter(has_text="robots")).to_contain_text(f"https://{HOST}/secret")
        await expect(rules.filter(has_text="scope")).to_contain_text("https://other.example/x")
        await errors.first.get_by_role("link", name="timeout").click()
        await expect(page).to_have_url(f"{stage.base}/jobs/{crawl.id}/pages?kind=timeout")
        await expect(page.get_by_role("table", name="Pages").locator("tbody tr")).to_have_count(3)


async def test_what_became_of_a_url_is_told(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}/errors") as page:
        await page.get_by_label("What became of a URL").fill(f"https://{HOST}/secret")
        await page.keyboard.press("Enter")
        fate = page.locator("#fate")
        await expect(fate).to_contain_text("Skipped")
        await expect(fate).to_contain_text("robots: Disallow: /secret")
        await page.get_by_label("What became of a URL").fill(f"https://{HOST}/guide/page-3")
        await page.get_by_role("button", name="Say why").click()
        await expect(fate).to_contain_text("Fetched")
        await fate.get_by_role("link", name="Its page").click()
        await expect(page.locator("#preview")).to_contain_text("How to bound a crawl, part 3")


async def test_the_log_is_followed_by_level_and_words_and_can_be_had(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}/log") as page:
        lines = page.locator("#log > :visible")
        await expect(lines).to_have_count(3)
        now = stage.yard.clock.now()
        news = LogLine(at=now, level=Level.WARNING, message="a new line", url=f"https://{HOST}/n")
        said = [(crawl.claim.lease, a_batch(log=(news,)))]
        await stage.yard.store.frontier.record(said, now, LEASE)
        await expect(lines).to_have_count(4)
        await expect(lines.last).to_contain_text(f"a new line https://{HOST}/n")
        await page.get_by_label("Only lines with").fill("slow")
        await expect(lines).to_have_count(2)
        await page.get_by_label("Only lines with").fill("")
        await page.get_by_label("Level").select_option("debug")
        await expect(lines).to_have_count(5)
        await page.get_by_label("Level").select_option("error")
        await expect(lines).to_have_count(1)
        async with page.expect_download() as download:
            await page.get_by_label("Log", exact=True).get_by_role("link", name="Download").click()
        saved = await (await download.value).path()
        assert "given up" in saved.read_text()

        await tab(page, "Overview").click()
        await expect(page.locator("#tail")).to_contain_text("given up")


async def test_the_log_goes_on_when_an_ended_job_does(stage: Stage) -> None:
    crawl = await crawled(stage)
    await settled(stage, crawl.claim)
    async with stage.page(f"/jobs/{crawl.id}/log") as page:
        lines = page.locator("#log > :visible")
        await expect(lines).to_have_count(3)
        await stage.ask("POST", f"/jobs/{crawl.id}/retry", {"scope": "failed"})
        await expect(page.locator(".head .st")).to_have_text("Pending")
        claim, now = await begun(stage, {"id": crawl.id}), stage.yard.clock.now()
        news = LogLine(at=now, level=Level.INFO, message="back again")
        await stage.yard.store.frontier.record([(claim.lease, a_batch(log=(news,)))], now, LEASE)
        await expect(lines.last).to_contain_text("back again")


async def test_a_preview_that_was_closed_stays_closed(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}/pages") as page:
        await page.get_by_role("link", name="part 1", exact=False).first.click()
        await expect(page.locator("#preview")).to_be_visible()
        await page.keyboard.press("Escape")
        await stage.ask("PATCH", f"/jobs/{crawl.id}", {"name": "Changed"})
        await expect(page.get_by_role("heading", level=1)).to_have_text("Changed")
        await expect(page.locator("#preview")).to_be_hidden()
        await expect(page).to_have_url(f"{stage.base}/jobs/{crawl.id}/pages")


async def test_events_tell_who_did_what_and_what_changed(stage: Stage) -> None:
    crawl = await crawled(stage)
    await stage.ask("PATCH", f"/jobs/{crawl.id}", {"limits": {"pages": 77}})
    await stage.ask("POST", f"/jobs/{crawl.id}/pause", {"reason": "moving house"})
    async with stage.page(f"/jobs/{crawl.id}/events") as page:
        rows = page.get_by_role("table", name="Events").locator("tbody tr")
        await expect(rows).to_have_count(4)
        await expect(rows.nth(0)).to_contain_text("local")
        await expect(rows.nth(0)).to_contain_text("running → paused")
        await expect(rows.nth(0)).to_contain_text("moving house")
        await expect(rows.nth(1)).to_contain_text("limits.pages: 77")
        await expect(rows.nth(2)).to_contain_text("pending → running")
        await expect(rows.nth(2)).to_contain_text("worker:w1")


async def test_results_are_exported_as_asked(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}/download") as page:
        form = page.locator("form.export")
        await form.get_by_label("Format").select_option("csv")
        await form.get_by_label("Only what came without an error").check()
        async with page.expect_download() as download:
            await form.get_by_role("button", name="Download").click()
        saved = await download.value
        assert saved.suggested_filename.endswith(".csv")
        lines = (await saved.path()).read_text().splitlines()
        assert len(lines) == 31
