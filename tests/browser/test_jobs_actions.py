"""The page of jobs: what is done to one of them, to the selected and to all that match."""

import re
from functools import partial

from playwright.async_api import expect

from crawlyard.core.access.user import LOCAL, Role
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.services.operations.bulk import AT_ONCE
from crawlyard.services.surface import Surface
from tests.browser.crawls import begun, moved_on, settled
from tests.browser.jobs_list import FAR, PACE, ended, group, many, row, rows
from tests.browser.rig import NARROW, Stage
from tests.conformance.copying import copy_job
from tests.conformance.steps import database_of


async def test_rows_have_the_actions_that_their_state_allows(stage: Stage) -> None:
    job = await stage.job(name="Acted on", tags=["acts"])
    async with stage.page("/jobs?q=tag:acts") as page:
        acts = row(page, "Acted on").get_by_role("button")
        await expect(acts).to_have_count(3)
        await page.get_by_role("button", name="Pause Acted on").click()
        await expect(page.get_by_text("Paused: Acted on")).to_be_visible()
        await expect(row(page, "Acted on")).to_contain_text("Paused")
        await page.get_by_role("button", name="Undo", exact=True).click()
        await expect(row(page, "Acted on")).to_contain_text("Waiting")
        await ended(stage, job, Move.FAIL)
        await expect(acts).to_have_count(2)
        await expect(
            page.get_by_role("button", name="Retry what failed in Acted on")
        ).to_be_visible()


async def test_cancelling_asks_for_confirmation_and_takes_a_reason(stage: Stage) -> None:
    await stage.job(name="Doomed", tags=["cancels"])
    async with stage.page("/jobs?q=tag:cancels") as page:
        await page.get_by_role("button", name="Cancel Doomed").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("Cancel Doomed?")
        await dialog.get_by_role("button", name="Back").click()
        await expect(row(page, "Doomed")).to_contain_text("Waiting")
        await page.get_by_role("button", name="Cancel Doomed").click()
        await dialog.get_by_label("Reason").fill("not needed")
        await dialog.get_by_role("button", name="Cancel").click()
        await expect(row(page, "Doomed")).to_contain_text("Cancelled")
        await expect(row(page, "Doomed").locator("[data-c=pages]")).to_have_text("not needed")


async def test_to_retry_takes_the_failed_urls_or_else_makes_a_new_job(stage: Stage) -> None:
    done = await stage.job(name="Whole", tags=["retries"])
    [claim] = await moved_on(stage, [await begun(stage, done)], discovered=3, done=3, pages=3)
    await settled(stage, claim)
    async with stage.page("/jobs?q=tag:retries") as page:
        await page.get_by_role("button", name="Run Whole again").click()
        await expect(rows(page)).to_have_count(2)
        await expect(rows(page).first).to_contain_text("Waiting")
        await expect(rows(page).first.locator("[data-c=by] span")).to_have_text("Retry")
        await rows(page).first.get_by_role("button", name="Peek at Whole").click()
        before = page.get_by_label("Peek", exact=True).get_by_label("The job before Whole")
        await expect(before).to_have_attribute("href", f"/jobs/{done['id']}")


async def test_a_refusal_shows_the_message_of_the_server(stage: Stage) -> None:
    job = await stage.job(name="Failed so", tags=["refuses"])
    await ended(stage, job, Move.FAIL)  # its record has no failed page
    async with stage.page("/jobs?q=tag:refuses") as page:
        await page.get_by_role("button", name="Retry what failed in Failed so").click()
        await expect(page.locator(".toast.bad")).to_contain_text("no URL of job")


async def test_rows_are_chosen_one_by_one_in_ranges_and_all_of_a_page(stage: Stage) -> None:
    await many(stage, 5, "chosen", tags=["chooses"])
    async with stage.page("/jobs?q=tag:chooses") as page:
        await expect(rows(page)).to_have_count(5)
        bar = page.locator("#bulk")
        await page.get_by_label("Select chosen 5").check()
        await page.get_by_label("Select chosen 3").click(modifiers=["Shift"])
        await expect(bar).to_contain_text("3 selected")
        await page.get_by_label("Select chosen 4").uncheck()
        await expect(bar).to_contain_text("2 selected")
        await page.get_by_label("Select all on this page").check()
        await expect(bar).to_contain_text("5 selected")
        await expect(page.locator("#match")).to_be_hidden()
        await bar.get_by_role("button", name="Priority…").click()
        await page.get_by_role("dialog").get_by_label("Priority").select_option("low")
        await page.get_by_role("dialog").get_by_role("button", name="Set").click()
        await expect(page.get_by_text("Priority changed: 5 jobs")).to_be_visible()
        await expect(bar).to_be_hidden()


async def test_all_that_match_are_cancelled_by_an_operation_that_shows_how_far_it_is(
    empty: Stage,
) -> None:
    count = AT_ONCE + 20
    await many(empty, count, "mass", tags=["mass"])
    job = await empty.job(name="kept")
    async with empty.page("/jobs?q=tag:mass") as page:
        await expect(rows(page)).to_have_count(50)
        await page.get_by_label("Select all on this page").check()
        await page.get_by_role("button", name=f"Select all {count} that match").click()
        await expect(page.locator("#bulk")).to_contain_text(f"All {count} that match are selected")
        await page.locator("#bulk").get_by_role("button", name="Cancel").click()
        await expect(page.get_by_role("dialog")).to_contain_text(f"Cancel {count} jobs?")
        await page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
        await expect(page.get_by_text(f"Cancelled: {count} jobs")).to_be_visible(timeout=60_000)
        await expect(page.locator("#operation")).to_be_hidden()
        await expect(group(page, "Ended")).to_contain_text(str(count))
    assert (await empty.ask("GET", f"/jobs/{job['id']}"))["state"] == "pending"


async def test_counts_by_a_filter_stop_and_what_is_done_to_all_is_counted_in_full(
    empty: Stage,
) -> None:
    job = await empty.job(name="one of many", tags=["mass"])
    await database_of(empty.yard.store).write(partial(copy_job, job_id=job["id"], count=10_010))
    await empty.yard.store.upkeep.tidy()
    async with empty.page("/jobs?q=tag:mass") as page:
        await expect(group(page, "Waiting")).to_contain_text("10,000+")
        await page.get_by_label("Select all on this page").check()
        await page.get_by_role("button", name="Select all 10,000+ that match").click()
        await expect(page.locator("#bulk")).to_contain_text("All 10,011 that match are selected")
        await page.goto("/jobs?q=tag:mass&sort=-duration")
        await expect(page.get_by_role("alert")).to_contain_text("more than 10,000 jobs match")
        await page.goto("/jobs")
        await expect(group(page, "Waiting")).to_contain_text("10,011")


async def test_without_a_filter_an_action_applies_to_all_jobs_and_reports_failures(
    empty: Stage,
) -> None:
    [first, *_] = await many(empty, 52, "every")
    await ended(empty, first, Move.COMPLETE)
    async with empty.page("/jobs") as page:
        await expect(rows(page)).to_have_count(50)
        await page.get_by_label("Select all on this page").check()
        await page.get_by_role("button", name="Select all 52 that match").click()
        await page.locator("#bulk").get_by_role("button", name="Pause").click()
        await expect(page.locator(".toast.bad")).to_contain_text(
            "Paused: 51 of 52 jobs. cannot pause a job that is completed"
        )
        await page.locator("summary", has_text="State").click()
        await expect(page.get_by_role("button", name="Paused 51")).to_be_visible()


async def test_the_peek_follows_the_row_and_acts_without_leaving_the_list(stage: Stage) -> None:
    await many(stage, 2, "peeked", tags=["peeks"])
    broken = await stage.job(name="peeked 3", tags=["peeks"])
    await moved_on(stage, [await begun(stage, broken)], PACE, **FAR)
    async with stage.page("/jobs?q=tag:peeks") as page:
        await expect(rows(page)).to_have_count(3)
        peek = page.get_by_label("Peek", exact=True)
        await page.keyboard.press("j")
        await page.keyboard.press("Space")
        await expect(peek.get_by_role("heading", name="peeked 3")).to_be_visible()
        await expect(peek).to_contain_text("1,000 of 4,000")
        await expect(peek).to_contain_text("10 URLs")
        await page.keyboard.press("j")
        await expect(peek.get_by_role("heading", name="peeked 2")).to_be_visible()
        await expect(peek).to_contain_text("no worker is alive")
        await peek.get_by_role("button", name="Pause").click()
        await expect(peek.get_by_role("button", name="Resume")).to_be_visible()
        await page.keyboard.press("k")
        await page.keyboard.press("j")
        await page.keyboard.press("Space")
        await expect(peek).to_be_hidden()
        await page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
        await page.get_by_role("button", name="Peek at peeked 1").click()
        box = await peek.bounding_box()
        assert box is not None
        assert (box["x"], box["width"], box["y"] + box["height"]) == (0, *NARROW)
        await peek.get_by_role("button", name="Close").click()
        await expect(peek).to_be_hidden()


async def test_what_is_done_to_the_selected_is_undone(stage: Stage) -> None:
    [paused, *_] = await many(stage, 3, "undone", tags=["undoes"])
    await stage.ask("POST", f"/jobs/{paused['id']}/pause")
    async with stage.page("/jobs?q=tag:undoes") as page:
        await expect(rows(page)).to_have_count(3)
        states = page.locator("#jobs [data-c=state]")

        async def do(name: str) -> None:
            await page.get_by_label("Select all on this page").check()
            await page.locator("#bulk").get_by_role("button", name=name, exact=True).click()

        for name, state in [("Cancel", "Cancelled"), ("Pause", "Paused")]:
            await do(name)
            await expect(states.filter(has_text=state)).to_have_count(3)
            await page.get_by_role("button", name="Undo", exact=True).click()
            await expect(states.filter(has_text="Waiting")).to_have_count(2)
            await expect(row(page, "undone 1")).to_contain_text("Paused")
            await expect(page.locator(".toast")).to_have_count(0)
        await do("Tag…")
        await page.get_by_role("dialog").get_by_label("Tags").fill("extra")
        await page.get_by_role("dialog").get_by_role("button", name="Tag").click()
        await expect(page.locator(".tag", has_text="extra")).to_have_count(3)
        await page.get_by_role("button", name="Undo", exact=True).click()
        await expect(page.locator(".tag", has_text="extra")).to_have_count(0)


async def test_the_selected_are_downloaded_together_and_deleted_once_their_number_is_confirmed(
    stage: Stage,
) -> None:
    jobs = await many(stage, 2, "leaves", tags=["leaves"])
    for job in jobs:
        await ended(stage, job, Move.COMPLETE)
    async with stage.page("/jobs?q=tag:leaves") as page:
        await expect(rows(page)).to_have_count(2)
        await page.get_by_label("Select all on this page").check()
        link = page.locator("#bulk").get_by_role("link", name="Download")
        href = await link.get_attribute("href") or ""
        assert all(f"job={job['id']}" in href for job in jobs)
        async with page.expect_download() as begun_to:
            await link.click()
        await (await begun_to.value).path()
        await page.locator("#bulk").get_by_role("button", name="Delete…").click()
        await expect(page.get_by_role("dialog")).to_contain_text("Delete 2 jobs?")
        await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        await expect(page.get_by_text("No job matches this filter")).to_be_visible()


async def test_a_keyboard_is_enough(stage: Stage) -> None:
    await many(stage, 3, "keys", tags=["keys"])
    async with stage.page("/jobs?q=tag:keys") as page:
        await expect(rows(page)).to_have_count(3)
        for key in ("j", "j", "k", "x", "j", "j", "Shift+x"):
            await page.keyboard.press(key)
        await expect(page.locator("#bulk")).to_contain_text("3 selected")
        await page.keyboard.press("p")
        await expect(row(page, "keys 1")).to_contain_text("Paused")
        await page.keyboard.press("p")
        await expect(row(page, "keys 1")).to_contain_text("Waiting")
        await page.keyboard.press("c")
        await expect(page.get_by_role("dialog")).to_contain_text("Cancel keys 1?")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(row(page, "keys 1")).to_contain_text("Cancelled")
        await page.keyboard.press("k")
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(re.compile(r"/jobs/[0-9a-z-]{36}$"))


async def test_a_viewer_sees_the_actions_disabled_and_why(stage: Stage) -> None:
    await stage.user("olga")
    await stage.job(name="Looked at", tags=["viewer"], by="olga")
    await Surface(stage.site.yard.services, LOCAL).users.edit("olga", role=Role.VIEWER)
    async with stage.page("/jobs?q=tag:viewer", by="olga") as page:
        pause = page.get_by_role("button", name="Pause Looked at")
        await expect(pause).to_be_disabled()
        await expect(pause).to_have_attribute("title", re.compile("may not do this"))
        await page.get_by_label("Select Looked at").check()
        await expect(page.locator("#bulk").get_by_role("button", name="Cancel")).to_be_disabled()
