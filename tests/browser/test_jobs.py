"""The page of jobs: found, watched, acted on."""

import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from crawlyard.core.access.user import LOCAL, Role
from crawlyard.core.jobs.filter import parse
from crawlyard.core.jobs.lifecycle import Move, StateReason
from crawlyard.core.jobs.pulse import Pulse
from crawlyard.core.jobs.spec_json import JobRequest
from crawlyard.services.jobs.bulk import AT_ONCE
from crawlyard.services.surface import Surface
from tests.browser.crawls import begun, moved_on, settled
from tests.browser.looking import faults_of, overflow_of
from tests.browser.rig import NARROW, Stage, a_stage
from tests.builders_serve import a_report
from tests.conformance.copying import copy_job
from tests.conformance.steps import database_of

HOSTILE = "<img src=x onerror=alert(1)>"
PACE = Pulse(rate=19.5, spread=9, pages_rate=3, samples=8)
FAR: dict[str, Any] = {"discovered": 4000, "done": 1000, "pages": 990, "errors": 10}


@pytest_asyncio.fixture(loop_scope="session")
async def empty(browser: Browser, tmp_path: Path) -> AsyncIterator[Stage]:
    """A yard of its own for a test that counts all jobs."""
    async with a_stage(tmp_path, browser, works=("operations",)) as staged:
        yield staged


def rows(page: Page) -> Locator:
    return page.locator("#jobs tbody tr[data-id]")


def row(page: Page, name: str) -> Locator:
    return rows(page).filter(has=page.get_by_role("link", name=name, exact=True))


def group(page: Page, title: str) -> Locator:
    """Return the heading of a group, with its count if that is known."""
    return page.get_by_role("rowheader", name=re.compile(rf"^{title}"))


async def shown(page: Page) -> list[str]:
    """Return what the list shows, in its order: headings of groups, and names of jobs."""
    found = await page.locator("#jobs tr.gh th, #jobs a.main").all_inner_texts()
    return [" ".join(text.split()) for text in found]


async def named(page: Page) -> list[str]:
    """Return the names of the jobs that are shown, in their order."""
    return await page.locator("#jobs a.main").all_text_contents()


async def many(stage: Stage, count: int, name: str = "job", **form: Any) -> list[dict[str, Any]]:
    """Make jobs with numbers behind their names, the first from 1."""
    made = []
    for n in range(1, count + 1):
        asked = JobRequest(form={"urls": [_URL], "name": f"{name} {n}"} | form)
        services = stage.site.yard.services
        draft = await services.requests.draft(LOCAL, asked)
        made.append({"id": (await services.jobs.enter(draft)).id})
    return made


_URL = "https://docs.example.org/"


async def ended(stage: Stage, job: dict[str, Any], move: Move, **said: Any) -> None:
    """Let a job end after some pages, ten of which failed."""
    [claim] = await moved_on(stage, [await begun(stage, job)], **FAR)
    await settled(stage, claim, move, **said)


async def test_a_row_tells_how_a_job_stands(stage: Stage) -> None:
    shop: dict[str, Any] = {"urls": ["https://shop.example.com/"], "limits": {"pages": 1980}}
    slow = await stage.job(name="Price watch", tags=["tells"], **shop)
    await stage.job(name="", urls=["https://wiki.example.org/a"], tags=["tells"], priority="high")
    await moved_on(stage, [await begun(stage, slow)], PACE, duration_s=50, **FAR)
    done = await stage.job(name="Docs", tags=["tells"])
    limit = StateReason.LIMIT_PAGES
    await ended(stage, done, Move.COMPLETE, reason=limit, detail="the limit of 990 pages")
    async with stage.page("/jobs?q=tag:tells") as page:
        running = row(page, "Price watch")
        await expect(running).to_contain_text("Running")
        await expect(running).to_contain_text("shop.example.com")
        await expect(running).to_contain_text("1,000 of 4,000")
        left = re.compile(r"\d+[sm] \u2013 \d+m")
        await expect(running.locator("[data-c=eta]")).to_have_text(left)
        await expect(running.locator("[data-c=started] time")).to_have_text(re.compile("ago|now"))
        await expect(running.locator("[data-c=took]")).to_have_text("50s")
        await expect(running.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "25")
        waiting = row(page, "wiki.example.org")
        await expect(waiting).to_contain_text("Waiting")
        await expect(waiting.locator("[data-c=pages]")).to_contain_text("no worker is alive")
        await expect(waiting.locator("[data-c=took]")).to_have_text(re.compile(r"^waits \d+s$"))
        await expect(waiting.get_by_role("progressbar")).to_be_hidden()
        docs = row(page, "Docs")
        await expect(docs).to_contain_text("Stopped early")
        await expect(docs.locator("[data-c=pages]")).to_have_text("1,000 of 4,000, page limit")
        await expect(docs.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "25")
        assert await shown(page) == [
            "Running 1", "Price watch", "Waiting 1", "wiki.example.org", "Ended 1", "Docs",
        ]  # fmt: skip


async def test_rows_and_counts_follow_what_happens(stage: Stage) -> None:
    job = await stage.job(name="Followed", tags=["follows"])
    async with stage.page("/jobs?q=tag:follows") as page:
        await expect(row(page, "Followed")).to_contain_text("Waiting")
        await expect(page.locator("#live")).to_have_text("Live")

        claim = await begun(stage, job)
        await expect(row(page, "Followed")).to_contain_text("Running")
        await expect(group(page, "Running")).to_have_text(re.compile(r"^\s*Running\s+1$"))
        await expect(group(page, "Waiting")).to_have_count(0)
        await moved_on(stage, [claim], discovered=8, done=4, pages=4)
        await expect(row(page, "Followed")).to_contain_text("4 of 8")
        await expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "50")
        await stage.ask("POST", f"/jobs/{job['id']}/pause", {"reason": "the site is moved"})
        await expect(row(page, "Followed")).to_contain_text("Paused")
        await expect(row(page, "Followed")).to_contain_text("4 of 8, the site is moved")
        await expect(group(page, "Running")).to_have_count(0)


async def test_news_older_than_what_is_shown_change_nothing(stage: Stage) -> None:
    job = await stage.job(name="Versions", tags=["versions"])
    await moved_on(stage, [await begun(stage, job)], discovered=8, done=4, pages=4)
    async with stage.page("/jobs?q=tag:versions") as page:
        await expect(row(page, "Versions")).to_contain_text("4 of 8")
        await page.evaluate(_TELL, {"id": job["id"], "done": 5, "v": 1})
        await page.evaluate(_TELL, {"id": job["id"], "found": 9, "v": 3})
        await expect(row(page, "Versions")).to_contain_text("4 of 9")


async def test_a_range_of_time_that_begins_at_zero_is_shown(stage: Stage) -> None:
    job = await stage.job(name="Nearly done", tags=["nearly"])
    async with stage.page("/jobs?q=tag:nearly") as page:
        await expect(row(page, "Nearly done")).to_be_visible()
        left = {"eta_p10_s": 0, "eta_p50_s": 4, "eta_p90_s": 9, "eta_confidence": "high"}
        await page.evaluate(_TELL, {"id": job["id"], "v": 9, **left})

        await expect(row(page, "Nearly done").locator("[data-c=eta] span")).to_be_visible()
        await expect(row(page, "Nearly done").locator("[data-c=eta]")).to_have_text("0s \u2013 9s")


_TELL = """
  async (news) => {
    const { live } = await import(document.querySelector("link[href*='core/live.js']").href);
    live.dispatchEvent(new CustomEvent("progress", { detail: [news] }));
  }
"""


async def test_what_jobs_wait_for_is_kept_right(empty: Stage) -> None:
    await many(empty, 2, "waits")
    async with empty.page("/jobs") as page:
        await expect(row(page, "waits 2")).to_contain_text("no worker is alive")
        await expect(page.locator("#live")).to_have_text("Live")
        now = empty.yard.clock.now()
        await empty.yard.store.workers.beat(a_report(beat_at=now, started_at=now))
        await empty.job(name="third")
        await expect(row(page, "waits 2")).to_contain_text("1 job is ahead of it")
        await expect(page.locator(".toast")).to_have_count(0)


async def test_new_jobs_are_offered_and_do_not_shift_the_list(stage: Stage) -> None:
    await many(stage, 2, "old", tags=["shifts"])
    async with stage.page("/jobs?q=tag:shifts") as page:
        await expect(rows(page)).to_have_count(2)
        await expect(page.locator("#live")).to_have_text("Live")
        await stage.job(name="other")
        await stage.job(name="fresh", tags=["shifts"])

        await page.get_by_role("button", name="1 new, show").click()
        await expect(rows(page)).to_have_count(3)
        assert await named(page) == ["fresh", "old 2", "old 1"]
        await expect(page.locator(".fresh")).to_be_hidden()


async def test_pages_of_the_list_are_turned_by_cursor(stage: Stage) -> None:
    await many(stage, 51, "paged", tags=["pages"])
    async with stage.page("/jobs?q=tag:pages") as page:
        await expect(rows(page)).to_have_count(50)
        await page.get_by_role("button", name="More", exact=True).click()
        await expect(rows(page)).to_have_count(1)
        assert await named(page) == ["paged 1"]
        await page.get_by_role("button", name="Back", exact=True).click()
        await expect(rows(page)).to_have_count(50)
        await page.get_by_text("Columns").first.click()
        await page.get_by_label("Rows").select_option("100")
        await expect(page).to_have_url(re.compile("limit=100"))
        await expect(rows(page)).to_have_count(51)


async def test_the_url_carries_filter_and_state_and_counts_follow_the_filter(stage: Stage) -> None:
    [one, *_] = await many(stage, 3, "url", tags=["url"])
    await ended(stage, one, Move.FAIL, detail="no start URL could be fetched")
    async with stage.page("/jobs") as page:
        await page.keyboard.press("/")
        await page.keyboard.type("tag:url")
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(f"{stage.base}/jobs?q=tag%3Aurl")
        await expect(rows(page)).to_have_count(3)
        await page.locator("summary", has_text="State").click()
        await expect(page.get_by_role("button", name="Waiting 2")).to_be_visible()
        await page.get_by_role("button", name="Failed 1").click()
        await expect(page).to_have_url(f"{stage.base}/jobs?q=tag%3Aurl+state%3Afailed")
        await expect(rows(page)).to_have_count(1)
        await expect(row(page, "url 1")).to_contain_text("no start URL could be fetched")
        await expect(page.get_by_label("Filter jobs")).to_have_value("tag:url state:failed")
        await page.get_by_role("button", name="Remove the filter state: failed").click()
        await expect(rows(page)).to_have_count(3)
        await page.go_back()
        await expect(rows(page)).to_have_count(1)
        await page.goto("/jobs?state=failed&q=tag:url")
        await expect(page.get_by_label("Filter jobs")).to_have_value("tag:url state:failed")
        await expect(rows(page)).to_have_count(1)


async def test_a_filter_that_cannot_be_read_is_shown_its_fault_at_its_place(stage: Stage) -> None:
    async with stage.page("/jobs?q=host:x+state:runing") as page:
        fault = page.get_by_role("alert")
        await expect(fault).to_contain_text("expected one of pending, running")
        marked = await fault.locator("pre").text_content()
        assert marked is not None
        assert marked.index("^") == "host:x state:runing".index("runing")
        await expect(page.get_by_label("Filter jobs")).to_be_visible()
        await expect(page.get_by_role("table", name="Jobs")).to_be_hidden()


async def test_words_of_the_filter_are_completed_and_all_of_them_can_be_read(stage: Stage) -> None:
    async with stage.page("/jobs") as page:
        options = page.locator("#words option")
        for word in [str(await o.get_attribute("value")) for o in await options.all()]:
            value = {"created_after:": "2027-01-01", "created_before:": "2027-01-01"}.get(word, "x")
            parse(word + (value if word.endswith(":") else ""))
        await page.get_by_label("Filter jobs").press_sequentially("tag:x -sta")
        await expect(options).to_have_count(6)
        await expect(options.first).to_have_attribute("value", "tag:x -state:pending")


async def test_an_empty_list_says_whether_the_filter_hides_all(empty: Stage) -> None:
    async with empty.page("/jobs") as page:
        await expect(page.get_by_text("There are no jobs yet")).to_be_visible()
        await expect(page.get_by_text("No job matches this filter")).to_be_hidden()
        await empty.job(name="first")
        await expect(rows(page)).to_have_count(1)
        await page.goto("/jobs?state=failed")
        await expect(page.get_by_text("No job matches this filter")).to_be_visible()
        await page.get_by_role("link", name="Show all jobs").click()
        await expect(rows(page)).to_have_count(1)


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


async def test_to_cancel_asks_and_takes_a_reason(stage: Stage) -> None:
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


async def test_a_refusal_is_told_in_the_words_of_the_server(stage: Stage) -> None:
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
    kept = await empty.job(name="kept")
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
    assert (await empty.ask("GET", f"/jobs/{kept['id']}"))["state"] == "pending"


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
        await page.goto("/jobs?q=tag:mass&sort=-pages")
        await expect(page.get_by_role("alert")).to_contain_text("more than 10,000 jobs match")
        await page.goto("/jobs")
        await expect(group(page, "Waiting")).to_contain_text("10,011")


async def test_without_a_filter_all_jobs_are_meant_and_what_cannot_be_is_told(
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


async def test_heads_sort_and_groups_are_by_what_is_asked(stage: Stage) -> None:
    await stage.user("nina")
    made = [await stage.job(name=name, tags=["sorts"], by="nina") for name in ("b", "c", "a")]
    for job, pages in zip(made, (20, 30, 10), strict=True):
        [claim] = await moved_on(
            stage, [await begun(stage, job)], discovered=40, done=30, pages=pages
        )
        await settled(stage, claim)
    await stage.job(name="mine", tags=["sorts"], urls=["https://other.example.org/"])
    async with stage.page("/jobs?q=tag:sorts&group=") as page:
        await expect(rows(page)).to_have_count(4)
        assert await shown(page) == ["mine", "a", "c", "b"]
        for head, sorting, expected in [
            ("Pages", "descending", ["c", "b", "a", "mine"]),
            ("Pages", "ascending", ["mine", "a", "b", "c"]),
            ("Name and host", "ascending", ["a", "b", "c", "mine"]),
        ]:
            await page.locator("#jobs").get_by_role("link", name=head).click()
            is_sorted = page.get_by_role("columnheader", name=head)
            await expect(is_sorted).to_have_attribute("aria-sort", sorting)
            await expect(rows(page)).to_have_count(4)
            assert await shown(page) == expected
        await page.get_by_label("Group").select_option("By owner")
        await expect(group(page, "nina")).to_be_visible()
        assert await shown(page) == ["local", "mine", "nina", "a", "b", "c"]
        await page.get_by_label("Group").select_option("By host")
        await expect(group(page, "docs.example.org")).to_be_visible()


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
    made = await many(stage, 2, "leaves", tags=["leaves"])
    for job in made:
        await ended(stage, job, Move.COMPLETE)
    async with stage.page("/jobs?q=tag:leaves") as page:
        await expect(rows(page)).to_have_count(2)
        await page.get_by_label("Select all on this page").check()
        link = page.locator("#bulk").get_by_role("link", name="Download")
        href = await link.get_attribute("href") or ""
        assert all(f"job={job['id']}" in href for job in made)
        async with page.expect_download() as begun_to:
            await link.click()
        await (await begun_to.value).path()
        await page.locator("#bulk").get_by_role("button", name="Delete…").click()
        await expect(page.get_by_role("dialog")).to_contain_text("Delete 2 jobs?")
        await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        await expect(page.get_by_text("No job matches this filter")).to_be_visible()


async def test_a_view_is_saved_opened_and_deleted(stage: Stage) -> None:
    async with stage.page("/jobs?q=tag:views&state=failed") as page:
        await page.locator("summary", has_text="Views").click()
        await page.get_by_role("button", name="Save this view").click()
        await page.get_by_role("dialog").get_by_label("Name").fill(HOSTILE)
        await page.get_by_role("dialog").get_by_role("button", name="Save").click()
        await page.get_by_role("link", name=HOSTILE).click()
        await expect(page.get_by_label("Filter jobs")).to_have_value("tag:views state:failed")
        await page.locator("summary", has_text="Views").click()
        await page.get_by_role("button", name=f"Delete the view {HOSTILE}").click()
        await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        await expect(page.get_by_role("link", name=HOSTILE)).to_have_count(0)
    assert (await stage.ask("GET", "/views?page=jobs"))["items"] == []


async def test_columns_are_chosen_and_remembered(stage: Stage) -> None:
    await stage.job(name="Columns", tags=["columns"])
    async with stage.page("/jobs?q=tag:columns") as page:
        heads = page.get_by_role("columnheader")
        await expect(heads.filter(has_text="Tags")).to_be_visible()
        await expect(heads.filter(has_text="Submitted")).to_be_hidden()
        await page.locator("summary", has_text="Columns").click()
        await page.get_by_label("Tags", exact=True).uncheck()
        await page.get_by_label("Submitted").check()
        await page.keyboard.press("Escape")
        await expect(page.get_by_label("Submitted")).to_be_hidden()
        await page.reload()
        await expect(rows(page)).to_have_count(1)
        await expect(heads.filter(has_text="Tags")).to_be_hidden()
        await expect(heads.filter(has_text="Submitted")).to_be_visible()
        await expect(row(page, "Columns").locator("[data-c=tags]")).to_be_hidden()


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


async def test_focus_stays_where_it_is_while_rows_change(stage: Stage) -> None:
    job = await stage.job(name="Focused", tags=["focus"])
    async with stage.page("/jobs?q=tag:focus") as page:
        cancel = page.get_by_role("button", name="Cancel Focused")
        await cancel.focus()
        claim = await begun(stage, job)
        await moved_on(stage, [claim], discovered=2, done=1, pages=1)
        await expect(row(page, "Focused")).to_contain_text("1 of 2")
        await expect(cancel).to_be_focused()
        await stage.ask("POST", f"/jobs/{job['id']}/cancel")
        await expect(page.get_by_role("link", name="Focused")).to_be_focused()


async def test_what_a_site_or_user_says_stays_text(stage: Stage) -> None:
    job = await stage.job(
        name=HOSTILE, tags=["hostile"], urls=["https://evil.example/<script>alert(1)</script>"]
    )
    await ended(stage, job, Move.FAIL, detail=f"dns: no address for {HOSTILE}")
    async with stage.page("/jobs?q=tag:hostile") as page:
        await expect(row(page, HOSTILE)).to_contain_text(f"no address for {HOSTILE}")
        await expect(page.locator("#jobs img, #jobs script")).to_have_count(0)


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


async def test_all_rows_of_a_long_list_follow_their_progress(empty: Stage) -> None:
    for job in await many(empty, 200):
        await begun(empty, job)
    async with empty.page("/jobs?limit=200") as page:
        await expect(rows(page)).to_have_count(200)
        assert await page.evaluate(_CHANGE, _ROUNDS) == 200


_ROUNDS = 15
_CHANGE = """
  async (rounds) => {
    const { live } = await import(document.querySelector("link[href*='core/live.js']").href);
    const rows = [...document.querySelectorAll("#jobs tbody tr[data-id]")];
    for (let n = 1; n <= rounds; n++) {
      const detail = rows.map((tr, i) => ({
        id: tr.dataset.id, done: 1000 + n * 4 + i, found: 4000 + n * 7, failed: n, pages: n,
        bytes: n, elapsed_s: n, rate: 9 + n, eta_p10_s: 60 * n, eta_p90_s: 120 * n, v: 2,
      }));
      live.dispatchEvent(new CustomEvent("progress", { detail }));
      await new Promise(requestAnimationFrame);
    }
    return rows.filter((tr, i) => tr.textContent.includes((1060 + i).toLocaleString())).length;
  }
"""


@pytest.mark.parametrize("dark", [False, True])
async def test_the_list_is_accessible_and_fits_a_phone(stage: Stage, dark: bool) -> None:
    long = "a name that nobody would have thought to be so long " * 3
    await stage.job(
        name=long.strip(), tags=[f"a11y{dark}"], urls=[f"https://{'sub.' * 20}example.org/"]
    )
    job = await stage.job(name="東京の図書館", tags=[f"a11y{dark}"])
    await moved_on(stage, [await begun(stage, job)], discovered=12345678, done=9345678)
    async with stage.page(f"/jobs?q=tag:a11y{dark}", dark=dark, bypass_csp=True) as page:
        await expect(row(page, "東京の図書館")).to_contain_text("9,345,678 of 12,345,678")
        await page.get_by_label("Select all on this page").check()
        assert await faults_of(page) == []
        await page.get_by_role("button", name="Peek at 東京の図書館").click()
        assert await faults_of(page) == []
        await page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
        assert await overflow_of(page) == 0
        assert await faults_of(page) == []
