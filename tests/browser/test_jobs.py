"""The page of jobs: found, sorted and watched."""

import re
from typing import Any

import pytest
from playwright.async_api import Page, expect

from crawlyard.core.jobs.filter import parse
from crawlyard.core.jobs.lifecycle import Move, StateReason
from tests.browser.crawls import begun, moved_on, settled
from tests.browser.jobs_list import FAR, PACE, ended, group, many, row, rows
from tests.browser.looking import faults_of, overflow_of
from tests.browser.rig import NARROW, Stage
from tests.builders_serve import a_report

HOSTILE = "<img src=x onerror=alert(1)>"


async def listed_texts(page: Page) -> list[str]:
    """Return what the list shows, in its order: headings of groups, and names of jobs."""
    texts = await page.locator("#jobs tr.gh th, #jobs a.main").all_inner_texts()
    return [" ".join(text.split()) for text in texts]


async def named(page: Page) -> list[str]:
    """Return the names of the jobs that are shown, in their order."""
    return await page.locator("#jobs a.main").all_text_contents()


async def test_a_row_shows_the_state_of_a_job(stage: Stage) -> None:
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
        pattern = re.compile(r"\d+[sm] \u2013 \d+m")
        await expect(running.locator("[data-c=eta]")).to_have_text(pattern)
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
        await expect(docs.locator("[data-c=pages]")).to_have_text(
            "1,000 of 4,000 URLs · page limit"
        )
        await expect(docs.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "25")
        assert await listed_texts(page) == [
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
        await expect(row(page, "Followed")).to_contain_text("4 of 8 URLs · the site is moved")
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
        eta = {"eta_p10_s": 0, "eta_p50_s": 4, "eta_p90_s": 9, "eta_confidence": "high"}
        await page.evaluate(_TELL, {"id": job["id"], "v": 9, **eta})

        await expect(row(page, "Nearly done").locator("[data-c=eta] span")).to_be_visible()
        await expect(row(page, "Nearly done").locator("[data-c=eta]")).to_have_text("0s \u2013 9s")


_TELL = """
  async (news) => {
    const { modules } = await import(document.querySelector("script").src);
    const { live } = modules["js/core/live.js"];
    live.dispatchEvent(new CustomEvent("progress", { detail: [news] }));
  }
"""


async def test_what_jobs_wait_for_is_kept_right(empty: Stage) -> None:
    await many(empty, 2, "waits")
    async with empty.page("/jobs") as page:
        await expect(row(page, "waits 2")).to_contain_text("no worker is alive")
        await expect(page.locator("#live")).to_have_text("Live")
        now = empty.yard.clock.now()
        await empty.yard.store.workers.save_heartbeat(a_report(beat_at=now, started_at=now))
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
    [job, *_] = await many(stage, 3, "url", tags=["url"])
    await ended(stage, job, Move.FAIL, detail="no start URL could be fetched")
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


async def test_column_heads_sort_and_jobs_are_grouped_by_the_selected_key(stage: Stage) -> None:
    await stage.user("nina")
    jobs = [await stage.job(name=name, tags=["sorts"], by="nina") for name in ("b", "c", "a")]
    for job, pages in zip(jobs, (20, 30, 10), strict=True):
        [claim] = await moved_on(
            stage, [await begun(stage, job)], discovered=40, done=30, pages=pages
        )
        await settled(stage, claim)
    await stage.job(name="mine", tags=["sorts"], urls=["https://other.example.org/"])
    async with stage.page("/jobs?q=tag:sorts&group=") as page:
        await expect(rows(page)).to_have_count(4)
        assert await listed_texts(page) == ["mine", "a", "c", "b"]
        for head, sorting, expected in [
            ("Pages", "descending", ["c", "b", "a", "mine"]),
            ("Pages", "ascending", ["mine", "a", "b", "c"]),
            ("Name and host", "ascending", ["a", "b", "c", "mine"]),
        ]:
            await page.locator("#jobs").get_by_role("link", name=head).click()
            is_sorted = page.get_by_role("columnheader", name=head)
            await expect(is_sorted).to_have_attribute("aria-sort", sorting)
            await expect(rows(page)).to_have_count(4)
            assert await listed_texts(page) == expected
        await page.get_by_label("Group").select_option("By owner")
        await expect(group(page, "nina")).to_be_visible()
        assert await listed_texts(page) == ["local", "mine", "nina", "a", "b", "c"]
        await page.get_by_label("Group").select_option("By host")
        await expect(group(page, "docs.example.org")).to_be_visible()


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


async def test_all_rows_of_a_long_list_follow_their_progress(empty: Stage) -> None:
    for job in await many(empty, 200):
        await begun(empty, job)
    async with empty.page("/jobs?limit=200") as page:
        await expect(rows(page)).to_have_count(200)
        at_once, visible, in_time = await page.evaluate(_CHANGE, _ROUNDS)
        # those in sight; the server's own progress may set all rows back in a round or two
        assert at_once > _ROUNDS / 2
        assert visible
        assert in_time == 200


_ROUNDS = 15
_CHANGE = """
  async (rounds) => {
    const { modules } = await import(document.querySelector("script").src);
    const { live } = modules["js/core/live.js"];
    const rows = [...document.querySelectorAll("#jobs tbody tr[data-id]")];
    const follows = (tr, i, n) => tr.textContent.includes((1000 + n * 4 + i).toLocaleString());
    const following = (n) => rows.filter((tr, i) => follows(tr, i, n)).length;
    let atOnce = 0; // rounds after which only rows in sight follow; the others take two seconds
    for (let n = 1; n <= rounds; n++) {
      const detail = rows.map((tr, i) => ({
        id: tr.dataset.id, done: 1000 + n * 4 + i, found: 4000 + n * 7, failed: n, pages: n,
        bytes: n, elapsed_s: n, rate: 9 + n, eta_p10_s: 60 * n, eta_p90_s: 120 * n, v: 2,
      }));
      live.dispatchEvent(new CustomEvent("progress", { detail }));
      await new Promise(requestAnimationFrame);
      const some = following(n);
      if (some > 0 && some < 100) atOnce++;
    }
    rows[150].scrollIntoView();
    for (let n = 0; n < 3; n++) await new Promise(requestAnimationFrame);
    const seen = follows(rows[150], 150, rounds);
    await new Promise((resolve) => setTimeout(resolve, 2500));
    return [atOnce, seen, following(rounds)];
  }
"""


@pytest.mark.parametrize("dark", [False, True])
async def test_the_list_is_accessible_and_fits_a_phone(stage: Stage, dark: bool) -> None:
    long = "a name that is longer than any column of the list " * 3
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


async def test_a_group_is_seen_from_its_jobs_and_cancelled(stage: Stage) -> None:
    forms = [{"urls": ["https://docs.example.org/"], "name": name} for name in ("One", "Two")]
    batch = await stage.ask("POST", "/jobs/batch", {"jobs": forms})
    await stage.job(name="Alone")
    async with stage.page(f"/jobs/{batch['results'][0]['id']}") as page:
        await page.get_by_role("link", name=f"group {batch['group_id']}").click()
        group = page.get_by_role("region", name="All jobs together")
        await expect(group).to_contain_text("0 of 2 jobs of this group ended")
        await expect(group).to_contain_text("2 waiting")
        await stage.ask("POST", f"/jobs/{batch['results'][0]['id']}/cancel")
        await expect(group).to_contain_text("1 of 2 jobs")
        assert sorted(await named(page)) == ["One", "Two"]
        await group.get_by_role("button", name="Cancel all").click()
        await page.locator("#ask").get_by_role("button", name="Cancel").click()
        await expect(group).to_contain_text("All 2 jobs of this group ended")
        await expect(group.get_by_role("button")).to_be_hidden()
        assert await faults_of(page) == []
    states = {job["spec"]["name"]: job["state"] for job in await all_jobs(stage)}
    assert (states["One"], states["Two"], states["Alone"]) == ("cancelled", "cancelled", "pending")


async def all_jobs(stage: Stage) -> list[dict[str, Any]]:
    """Return the newest jobs."""
    jobs: list[dict[str, Any]] = (await stage.ask("GET", "/jobs?fields=state,spec.name"))["items"]
    return jobs
