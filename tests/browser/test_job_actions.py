"""Actions on the page of a job: pause, retry, edit, copy, delete."""

import asyncio
import gzip
import json
import re
import zipfile

from playwright.async_api import Route, expect
from sqlalchemy import update

from crawlyard.core.access.user import LOCAL, Role
from crawlyard.core.jobs.lifecycle import Move, StateReason
from crawlyard.services.surface import Surface
from crawlyard.store.tables.jobs import jobs
from tests.browser.crawls import settled
from tests.browser.job_page import (
    HOST,
    button,
    crawled,
    menu,
    state_of,
    tab,
    toast,
)
from tests.browser.rig import Stage
from tests.conformance.steps import database_of


async def test_a_job_is_paused_resumed_and_cancelled_by_keys_alone(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        await expect(button(page, "Pause")).to_be_visible()
        await page.keyboard.press("p")
        await expect(page.locator(".head .pill")).to_have_text("Paused")
        await page.keyboard.press("p")
        await expect(page.locator(".head .pill")).to_have_text("Waiting")
        await page.keyboard.press("c")
        dialog = page.get_by_role("dialog", name="Stop this crawl?")
        await expect(dialog.get_by_label("Keep what is there")).to_be_checked()
        await expect(dialog).to_contain_text("Its 32 pages can be read and downloaded.")
        await expect(dialog).to_contain_text("40 URLs in the queue are not fetched")
        await dialog.get_by_label("Reason").fill("no use")
        await page.keyboard.press("Enter")
        await expect(page.locator(".head .pill")).to_have_text("Stopped")
        far = page.get_by_label("Progress", exact=True)
        await expect(far).to_contain_text("35 of 75 found")
        await expect(far).to_contain_text("40 URLs in the queue were never fetched")
        await expect(far.get_by_role("button", name="Raise the limit")).to_be_hidden()
        await expect(button(page, "Download")).to_be_visible()
        await expect(button(page, "Resume")).to_be_visible()
        await expect(far).to_contain_text("no use")
        await expect(button(page, "Stop")).to_be_hidden()
    assert await state_of(stage, crawl) == "cancelled"


async def test_a_pause_can_be_undone_from_its_notice(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        await button(page, "Pause").click()
        await expect(page.locator(".head .pill")).to_have_text("Paused")
        await toast(page).get_by_role("button", name="Undo").click()
        await expect(page.locator(".head .pill")).to_have_text("Waiting")
    assert await state_of(stage, crawl) == "pending"


async def test_a_crawl_is_stopped_and_what_it_brought_discarded(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        await button(page, "Stop").click()
        dialog = page.get_by_role("dialog", name="Stop this crawl?")
        await expect(dialog).to_contain_text(
            "Its 32 pages and all data on 75 URLs are permanently deleted"
        )
        await dialog.get_by_label("Discard it").check()
        await dialog.get_by_role("button", name="Stop").click()
        await page.wait_for_url(f"{stage.base}/jobs")
        await page.goto(f"/jobs/{crawl.id}")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Not found")


async def test_one_group_of_problems_is_tried_again(stage: Stage) -> None:
    crawl = await crawled(stage)
    await settled(stage, crawl.claim)
    async with stage.page(f"/jobs/{crawl.id}/problems") as page:
        groups = page.get_by_label("Problems", exact=True).locator(".err:visible")
        await groups.filter(has_text="Timed out").get_by_role("button", name="Retry").click()
        await expect(page.locator(".head .pill")).to_have_text("Waiting")
        await expect(groups).to_have_count(1)
        await expect(groups).to_contain_text("Not found (404)")
        await expect(page.get_by_label("Progress", exact=True)).to_contain_text("43 in the queue")


async def test_all_failed_urls_are_tried_again_from_the_head(stage: Stage) -> None:
    crawl = await crawled(stage)
    await settled(stage, crawl.claim, Move.FAIL, StateReason.START_FAILED, "no start URL answered")
    async with stage.page(f"/jobs/{crawl.id}") as page:
        far = page.get_by_label("Progress", exact=True)
        await expect(far).to_contain_text("Failed: no start URL could be fetched, 35 of 75 found")
        await expect(far).to_contain_text("no start URL answered")
        await far.get_by_role("button", name="Retry failed URLs").click()
        await expect(toast(page)).to_contain_text("queued again")
        await expect(page.locator(".head .pill")).to_have_text("Waiting")
        await expect(far).to_contain_text("45 in the queue")


async def test_a_job_is_run_again_as_a_new_one(stage: Stage) -> None:
    crawl = await crawled(stage)
    await settled(stage, crawl.claim)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        await button(page, "Run again").click()
        await expect(page.get_by_role("link", name="repeats another job")).to_have_attribute(
            "href", f"/jobs/{crawl.id}"
        )


async def test_a_damaged_job_can_only_be_deleted(stage: Stage) -> None:
    crawl = await crawled(stage)
    await settled(stage, crawl.claim)
    broken = update(jobs).where(jobs.c.id == crawl.id).values(spec='{"urls": "docs"}')
    await database_of(stage.yard.store).write(lambda conn: conn.execute(broken))
    async with stage.page(f"/jobs/{crawl.id}/problems") as page:
        await expect(
            page.get_by_text("This job cannot run; it can only be deleted")
        ).to_be_visible()
        await expect(
            page.get_by_label("Problems", exact=True).locator(".err:visible")
        ).to_have_count(2)
        await page.get_by_label("More actions").click()
        await expect(page.get_by_role("button", name="Delete…")).to_be_visible()
        for verb in ("Run again", "Retry", "Resume", "Raise the limit", "Limits…", "Start now"):
            await expect(page.get_by_role("button", name=verb)).to_have_count(0)


async def test_a_limit_that_stopped_a_job_is_raised_and_the_job_goes_on(stage: Stage) -> None:
    crawl = await crawled(stage, limits={"pages": 32})
    await settled(stage, crawl.claim, reason=StateReason.LIMIT_PAGES)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        await expect(page.locator(".head .pill")).to_have_text("Stopped at its page limit")
        far = page.get_by_label("Progress", exact=True)
        await expect(far).to_contain_text("35 of 75 found")
        await expect(far).to_contain_text("40 URLs in the queue were never fetched")
        await expect(far).to_contain_text("About 1m 49s and 772 kB more to fetch the rest")
        await far.get_by_role("button", name="Raise the limit and continue").click()
        form = page.get_by_role("dialog", name="Limits")
        await expect(form.get_by_label("Pages")).to_have_value("32")
        await expect(form.get_by_role("status")).to_contain_text(
            "40 URLs in the queue: about 1m 49s and 772 kB to fetch them at the pace seen"
        )
        await form.get_by_label("Pages").fill("42")
        await expect(form.get_by_role("status")).to_contain_text("10 pages more: about 27s")
        await form.get_by_label("Pages").fill("0")
        await form.get_by_role("button", name="Raise and continue").click()
        await expect(form.locator(".error")).to_contain_text("expected more than 0")
        await form.get_by_label("Pages").fill("500")
        await form.get_by_label("Running time").fill("1h 30m")
        await form.get_by_label("Data").fill("2 GB")
        await form.get_by_role("button", name="Raise and continue").click()
        await expect(page.locator(".head .pill")).to_have_text("Waiting")
        await expect(far).to_contain_text("Nearest limit: 500 pages")
    job = await stage.ask("GET", f"/jobs/{crawl.id}")
    assert job["spec"]["limits"] == {
        "pages": 500,
        "bytes": 2 * 10**9,
        "duration_s": 5400,
        "errors": None,
        "render_s": None,
    }


async def test_pace_and_rules_are_changed_while_a_job_runs(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        await menu(page, "Change", "Priority and pace")
        form = page.get_by_role("dialog", name="Priority and pace")
        await form.get_by_label("Priority").select_option("high")
        await form.get_by_label("Delay between requests").fill("2s")
        await form.get_by_role("button", name="Save").click()
        await expect(page.locator(".dots")).to_contain_text("high priority")
        await menu(page, "Change", "Name, tags, patterns")
        form = page.get_by_role("dialog", name="Name, tags, patterns")
        await form.get_by_label("Name").fill("Other docs")
        await form.get_by_label("Exclude URLs matching").fill("*/print/*\n*.zip")
        await form.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Other docs")
    job = await stage.ask("GET", f"/jobs/{crawl.id}")
    assert (job["spec"]["priority"], job["spec"]["delay_s"]) == ("high", 2)
    assert job["spec"]["exclude"] == ["*/print/*", "*.zip"]


async def test_a_concurrent_edit_by_another_user_is_shown_and_kept(stage: Stage) -> None:
    crawl = await crawled(stage, limits={"pages": 100})
    async with stage.page(f"/jobs/{crawl.id}") as page:
        await menu(page, "Change", "Limits")
        form = page.get_by_role("dialog", name="Limits")
        await form.get_by_label("Failed URLs").fill("9")
        await stage.ask("PATCH", f"/jobs/{crawl.id}", {"limits": {"pages": 200}})
        await form.get_by_role("button", name="Save", exact=True).click()
        await expect(form.locator(".errors")).to_contain_text("limits.pages 100 → 200")
        await expect(form.get_by_label("Pages")).to_have_value("200")
        await expect(form.get_by_label("Failed URLs")).to_have_value("9")
        await form.get_by_role("button", name="Save", exact=True).click()
        await expect(form).to_be_hidden()
    job = await stage.ask("GET", f"/jobs/{crawl.id}")
    assert (job["spec"]["limits"]["pages"], job["spec"]["limits"]["errors"]) == (200, 9)


async def test_an_exclusion_shows_the_urls_it_removes_before_it_is_saved(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        await menu(page, "Change", "Exclude URLs")
        form = page.get_by_role("dialog", name="Exclude URLs")
        await form.get_by_label("Pattern").fill("*/print/*")
        await page.keyboard.press("Enter")
        await expect(form.get_by_role("status")).to_contain_text("40 waiting URLs would be skipped")
        await expect(form.get_by_role("status")).to_contain_text(f"https://{HOST}/print/0")
        assert (await stage.ask("GET", f"/jobs/{crawl.id}"))["spec"]["exclude"] == []
        await form.get_by_label("Pattern").fill("re:(")
        await form.get_by_role("button", name="Try").click()
        await expect(form.locator(".error")).to_be_visible()
        await form.get_by_label("Pattern").fill("*/print/*")
        await form.get_by_role("button", name="Exclude", exact=True).click()
        await expect(toast(page)).to_contain_text("40 waiting URLs will be skipped")
    assert (await stage.ask("GET", f"/jobs/{crawl.id}"))["spec"]["exclude"] == ["*/print/*"]


async def test_a_group_of_problems_is_kept_out_by_a_pattern_like_its_first_sample(
    stage: Stage,
) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}/problems") as page:
        groups = page.get_by_label("Problems", exact=True).locator(".err:visible")
        await groups.filter(has_text="Timed out").get_by_role("button", name="Exclude").click()
        form = page.get_by_role("dialog", name="Exclude URLs")
        await expect(form.get_by_label("Pattern")).to_have_value(f"https://{HOST}/slow/0")


async def test_a_button_that_is_pressed_while_its_list_is_redrawn_is_clicked(stage: Stage) -> None:
    crawl = await crawled(stage)
    linked = asyncio.Event()

    async def hold(route: Route) -> None:
        await linked.wait()
        await route.continue_()

    async with stage.context() as context:
        page = await context.new_page()
        await page.route("**/errors?*referrers=true", hold)
        await page.goto(f"/jobs/{crawl.id}/problems")
        groups = page.get_by_label("Problems", exact=True).locator(".err:visible")
        await groups.filter(has_text="Not found").get_by_role("button", name="Exclude").hover()
        await page.mouse.down()
        linked.set()
        await expect(groups.filter(has_text="Not found")).to_contain_text("linked from 2")
        await page.mouse.up()
        form = page.get_by_role("dialog", name="Exclude URLs")
        await expect(form.get_by_label("Pattern")).to_have_value(f"https://{HOST}/gone/0")


async def test_a_job_becomes_a_template_and_is_copied(stage: Stage) -> None:
    crawl = await crawled(stage, limits={"pages": 100})
    async with stage.context(permissions=["clipboard-read", "clipboard-write"]) as context:
        page = await context.new_page()
        await page.goto(f"/jobs/{crawl.id}")
        copied = {}
        await menu(page, "More", "Share…")
        share = page.get_by_role("dialog", name="Share")
        for item in ("Link", "Id", "Command line", "curl", "Settings as JSON"):
            await share.get_by_role("button", name=f"Copy {item}", exact=True).click()
            await expect(toast(page)).to_contain_text(f"{item} copied")
            copied[item] = await page.evaluate("() => navigator.clipboard.readText()")
        await share.get_by_role("button", name="Close").click()
        assert copied["Link"] == f"{stage.base}/jobs/{crawl.id}"
        assert copied["Id"] == crawl.id
        assert copied["Command line"] == f"crawlyard jobs watch {crawl.id}"
        assert f"/api/v1/jobs/{crawl.id}" in copied["curl"]
        own = json.loads(copied["Settings as JSON"])
        assert (own["name"], own["limits"]["pages"]) == ("Docs of the yard", 100)
        assert "scope" not in own

        await menu(page, "More", "Save as template")
        await page.get_by_role("dialog").get_by_label("Name").fill("made of a job")
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{stage.base}/templates/*")
    [template] = (await stage.ask("GET", "/templates?q=made of a job"))["items"]
    assert template["spec"]["limits"]["pages"] == 100
    assert "delay_s" not in template["spec"]


async def test_a_download_takes_the_format_that_was_used_last_at_once(stage: Stage) -> None:
    crawl = await crawled(stage)
    await settled(stage, crawl.claim)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        async with page.expect_download() as download:
            await button(page, "Download").click()
        assert (await download.value).suggested_filename.endswith(".jsonl")
        await button(page, "Choose a format").click()
        form = page.locator("form.export")
        await form.get_by_label("CSV").check()
        await form.get_by_label("Successful pages only").check()
        async with page.expect_download() as download:
            await form.get_by_role("button", name="Download CSV").click()
        saved = await download.value
        assert saved.suggested_filename.endswith(".csv")
        assert len((await saved.path()).read_text().splitlines()) == 31

        await page.reload()
        await expect(form).to_be_hidden()
        async with page.expect_download() as download:
            await button(page, "Download").click()
        saved = await download.value
        assert saved.suggested_filename.endswith(".csv")
        assert len((await saved.path()).read_text().splitlines()) == 36

        await button(page, "Choose a format").click()
        await form.get_by_label("Compressed (gzip)").check()
        async with page.expect_download() as download:
            await form.get_by_role("button", name="Download CSV").click()
        saved = await download.value
        assert saved.suggested_filename.endswith(".csv.gz")
        assert len(gzip.decompress((await saved.path()).read_bytes()).splitlines()) == 36
        await form.get_by_label("Markdown").check()
        await expect(form.get_by_label("Compressed (gzip)")).to_be_hidden()
        async with page.expect_download() as download:
            await form.get_by_role("button", name="Download Markdown").click()
        saved = await download.value
        assert saved.suggested_filename.endswith(".zip")
        with zipfile.ZipFile(await saved.path()) as archive:
            assert archive.testzip() is None
            assert archive.namelist()


async def test_a_job_is_deleted_once_it_was_said_what_goes(stage: Stage) -> None:
    crawl = await crawled(stage)
    await settled(stage, crawl.claim)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        await menu(page, "More", "Delete")
        dialog = page.get_by_role("dialog", name="Delete this job?")
        await expect(dialog).to_contain_text("Its 32 pages")
        await expect(dialog).to_contain_text("75 URLs")
        await dialog.get_by_role("button", name="Delete for good").click()
        await page.wait_for_url(f"{stage.base}/jobs")


async def test_what_the_server_refuses_is_said(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        await expect(button(page, "Pause")).to_be_visible()
        await page.route("**/pause", lambda route: route.abort())
        await button(page, "Pause").click()
        await expect(toast(page)).to_contain_text("the server does not respond")
        await expect(page.locator(".head .pill")).to_have_text("Running")


async def test_a_viewer_sees_the_same_and_that_he_may_not_act(stage: Stage) -> None:
    await stage.user("vera")
    crawl = await crawled(stage, by="vera")
    await Surface(stage.site.yard.services, LOCAL).users.edit("vera", role=Role.VIEWER)
    async with stage.page(f"/jobs/{crawl.id}", by="vera") as page:
        await expect(page.get_by_label("Progress", exact=True)).to_contain_text("35 of 75 found")
        for name in ("Pause", "Stop"):
            await expect(button(page, name)).to_be_disabled()
            await expect(button(page, name)).to_have_attribute(
                "title", re.compile("may not do this")
            )
        await page.keyboard.press("p")
        await tab(page, "Pages 32").click()
        await expect(page.get_by_role("table", name="Pages").locator("tbody tr")).to_have_count(35)
    assert await state_of(stage, crawl) == "running"
