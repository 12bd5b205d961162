"""Overview: running crawls, attention, past and planned runs, and the first crawl."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from crawlyard.core.access.user import LOCAL, Role
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.lifecycle import Move, StateReason
from crawlyard.core.jobs.pulse import Pulse, Workload
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import DemoSite
from tests.browser.crawls import begun, moved_on, settled
from tests.browser.looking import faults_of, overflow_of
from tests.browser.rig import NARROW, Stage, a_stage
from tests.builders import a_batch, a_target, failed
from tests.builders_schedules import a_schedule, schedule_event
from tests.builders_serve import a_report
from tests.builders_webhooks import stored_webhook

HOSTILE = "<img src=x onerror=alert(1)>"
HOUR = timedelta(hours=1)


@pytest_asyncio.fixture(loop_scope="session")
async def empty(browser: Browser, tmp_path: Path) -> AsyncIterator[Stage]:
    """A yard of its own, in which nothing was ever crawled."""
    async with a_stage(tmp_path, browser) as staged:
        yield staged


def part(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name)


def rows(page: Page) -> Locator:
    return page.get_by_role("list", name="Running crawls").get_by_role("listitem")


def need(page: Page, title: str) -> Locator:
    return page.locator("#attention li").filter(has_text=title)


def toast(page: Page) -> Locator:
    return page.locator("#toasts")


async def middle(el: Locator) -> float:
    """Return how far the middle of an element is from the top of its page."""
    box = await el.bounding_box()
    assert box is not None
    return box["y"] + box["height"] / 2


async def ended(
    stage: Stage, move: Move, reason: StateReason | None = None, *, by: str = LOCAL.id, **form: Any
) -> str:
    """Make a job that ends so; return its id."""
    job = await stage.job(by, **({"name": "ended"} | form))
    [claim] = await moved_on(
        stage, [await begun(stage, job)], pages=1234, done=1300, discovered=4000, bytes=5_000_000
    )
    await settled(stage, claim, move, reason)
    return str(job["id"])


WHILE_TESTED = timedelta(minutes=-10)  # it is alive on a slow machine too


async def worker(stage: Stage, ago: timedelta = WHILE_TESTED, **fields: object) -> None:
    """Let a worker be heard, the last time so long ago."""
    now = stage.yard.clock.now() - ago
    report = a_report(beat_at=now, started_at=now - timedelta(hours=3), **fields)
    await stage.yard.store.workers.save_heartbeat(report)


# --- the first crawl


async def test_an_empty_yard_starts_its_first_crawl(empty: Stage) -> None:
    async with empty.page("/") as page:
        await expect(part(page, "Crawl your first site")).to_be_visible()
        await expect(page.get_by_text("No worker is running, so jobs wait")).to_be_visible()
        await expect(page.get_by_text("No notifications when a crawl fails")).to_be_visible()
        await expect(part(page, "Needs attention")).to_be_hidden()
        field = page.get_by_label("Address of a site")
        await field.fill("ftp://docs.example.org/")
        await page.get_by_role("button", name="Start crawl").click()
        await expect(field).to_have_attribute("aria-invalid", "true")
        await expect(page.locator("#start .error")).to_contain_text("http")
        await field.fill("docs.example.org/")
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(re.compile(r"/jobs/[0-9a-z-]{36}$"))
        [job] = (await empty.ask("GET", "/jobs?fields=spec"))["items"]
        assert job["spec"]["urls"] == ["https://docs.example.org/"]

        await page.goto("/")
        await expect(page.get_by_text("Nothing is running, 1 waiting")).to_be_visible()
        await expect(part(page, "Crawl your first site")).to_be_hidden()


async def test_a_sample_is_crawled_without_opening_anything_else(
    browser: Browser, tmp_path: Path
) -> None:
    async with (
        SiteServer(DemoSite(pages=8, faults=False)) as site,
        a_stage(tmp_path, browser, works=("worker",), sample=site.authority) as stage,
    ):
        await stage.user("olga")
        async with stage.page("/", by="olga") as page:
            await expect(part(page, "Crawl your first site")).to_be_visible()
            await expect(page.get_by_text("See it work")).to_have_count(0)
        async with stage.page("/") as page:
            await page.get_by_role("button", name="Crawl the sample").click()
            await expect(page.get_by_role("heading", level=1)).to_have_text("Sample site")
            await expect(page.get_by_role("button", name="Download", exact=True)).to_be_visible()
        [job] = (await stage.ask("GET", "/jobs?fields=state,spec,usage"))["items"]
        assert (job["state"], job["spec"]["allow_addresses"]) == ("completed", [site.authority])
        assert job["usage"]["pages"] == 8
        refused = {"urls": [f"{site.url}/"], "allow_addresses": [site.authority]}
        with pytest.raises(AssertionError, match=r"403|422"):  # nothing is open to other jobs
            await stage.ask("POST", "/jobs", refused, by="olga")


async def test_an_empty_page_becomes_the_yard_when_somebody_begins(empty: Stage) -> None:
    async with empty.page("/") as page:
        await expect(page.locator("#live")).to_have_text("Live")
        await expect(part(page, "Crawl your first site")).to_be_visible()
        await empty.job()
        await expect(page.get_by_text("Nothing is running, 1 waiting")).to_be_visible()


async def test_a_viewer_may_look_and_not_begin(empty: Stage) -> None:
    await empty.user("vera", Role.VIEWER)
    async with empty.page("/", by="vera") as page:
        start = page.get_by_role("button", name="Start crawl")
        await expect(start).to_be_disabled()
        await expect(start).to_have_attribute("title", re.compile("may not do this"))


# --- what runs


async def test_a_button_of_a_crawl_is_clicked_though_another_begins_meanwhile(empty: Stage) -> None:
    claim = await begun(empty, await empty.job(name="First"))
    async with empty.page("/") as page:
        await rows(page).get_by_role("button", name="Pause").hover()
        await page.mouse.down()
        await begun(empty, await empty.job(name="Second"), worker="w2")
        await expect(rows(page)).to_have_count(2)
        await page.mouse.up()
        await expect(toast(page)).to_contain_text("Paused First")
    assert (await empty.ask("GET", f"/jobs/{claim.job.id}"))["state"] == "paused"


async def test_running_crawls_move_and_say_why_they_are_slow(empty: Stage) -> None:
    job = await empty.job(name=HOSTILE)
    claim = await begun(empty, job)
    await moved_on(empty, [await begun(empty, await empty.job())], pages=1, done=1, discovered=2)
    async with empty.page("/") as page:
        await expect(page.get_by_role("heading", name="2 crawls running")).to_be_visible()
        await expect(rows(page)).to_have_count(2)
        row = rows(page).filter(has_text=HOSTILE)
        await expect(row.get_by_role("link")).to_have_attribute("href", f"/jobs/{job['id']}")
        await expect(row).to_contain_text("docs.example.org")
        await expect(row).to_contain_text("no URL finished yet")

        pulse = Pulse(rate=2.5, done=(50, 50), active_s=(20, 20), workload=Workload(hold_s=40))
        usage = {"duration_s": 40.0, "done": 100, "discovered": 400, "errors": 7}
        [claim] = await moved_on(empty, [claim], pulse, **usage)
        await expect(row).to_contain_text("100 of 400 found")
        await expect(row).to_contain_text("7 failed")
        await expect(row).to_contain_text("2.5 /s")
        await expect(row).to_contain_text("every host asked for a pause, for another 40 seconds")
        await expect(row.locator(".eta")).to_contain_text("left")
        ring = row.get_by_role("img", name="running, 25%")
        await expect(ring).to_be_visible()
        middles = [await middle(el) for el in (row, ring, row.locator(".prog"))]
        assert max(middles) - min(middles) <= 1
        await expect(row.locator(".spark path").last).to_have_attribute("d", re.compile("^M"))
        await expect(rows(page).first).to_contain_text(HOSTILE)  # the other has no position
        await moved_on(empty, [claim], pulse, duration_s=10.0, done=100)
        await expect(row).to_contain_text("200 of 400 found")

        await row.get_by_role("button", name="Pause").click()
        await expect(rows(page)).to_have_count(1)
        await toast(page).get_by_role("button", name="Undo").click()
        await expect(page.get_by_text("1 crawl running, 1 waiting")).to_be_visible()


async def test_eight_rows_are_shown_and_the_queue_says_for_what_it_waits(empty: Stage) -> None:
    await worker(empty, slots=9, running=tuple("abcdefghi"))
    for n in range(9):
        claim = await begun(empty, await empty.job(name=f"crawl {n}"))
        pulse = Pulse(rate=1.0, done=(50, 50), active_s=(50, 50))
        await moved_on(empty, [claim], pulse, duration_s=100.0, done=100, discovered=200 - 9 * n)
    for tags in ([], [], ["gpu"]):
        await empty.job(worker_tags=tags)
    async with empty.page("/") as page:
        await expect(rows(page)).to_have_count(8)
        await expect(rows(page).first).to_contain_text("crawl 8")
        await expect(rows(page).last).to_contain_text("crawl 1")
        await expect(page.get_by_role("link", name="and 1 more")).to_be_visible()
        waiting = page.locator("#queue")
        await expect(waiting).to_contain_text("3 waiting")
        await expect(waiting).to_contain_text(
            "2 for a free slot, 1 for a worker with its tags (gpu)"
        )


# --- attention


async def test_each_notice_has_its_fix_beside_it(empty: Stage) -> None:
    store, now = empty.yard.store, empty.yard.clock.now()
    await worker(empty)
    await ended(empty, Move.FAIL, name=HOSTILE)
    for _ in range(3):
        await ended(empty, Move.FAIL, name="news")
    stopped = await ended(empty, Move.COMPLETE, StateReason.LIMIT_ERRORS, name="docs-full")
    tagged = await empty.job(name="images", worker_tags=["gpu"])
    late = a_schedule(name="nightly", fire_at=now - HOUR)
    await store.schedules.add(late, schedule_event(late))
    await stored_webhook(store, failing_since=now - HOUR, failures=5)
    await stored_webhook(store, active=False, disabled_reason="410", failing_since=now - HOUR)
    async with empty.page("/") as page:
        for title, fix, detail in [
            ("images waits for a worker", "Change the tag…", "with the tag gpu"),
            ("nightly is overdue", "Run now", "No scheduler"),
            ("news keeps failing", "Retry", "3 in a row"),
            (f"{HOSTILE} failed", "Retry", "internal error"),
            ("docs-full stopped early", "Raise and continue…", "error limit: 1,300 of 4,000 found"),
            (" fails", "Send a test", "5 attempts failed in a row"),
            ("was switched off", "Switch on", "410"),
        ]:
            row = need(page, title).filter(has=page.get_by_role("button", name=fix))
            await expect(row).to_have_count(1)
            await expect(row).to_contain_text(re.compile(re.escape(detail), re.IGNORECASE))
        await expect(part(page, "Needs attention")).to_contain_text("Needs attention 7")

        await need(page, "images").get_by_role("button", name="Change the tag…").click()
        await page.get_by_label("Only workers with these tags").fill("")
        await page.get_by_role("button", name="Save").click()
        await expect(need(page, "images")).to_have_count(0)
        await need(page, HOSTILE).get_by_role("button", name="Retry").click()
        await expect(toast(page)).to_contain_text(f"Retrying {HOSTILE}")
        await expect(need(page, HOSTILE)).to_have_count(0)

        await need(page, "docs-full").get_by_role("button", name="Raise and continue").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("2,700 URLs were never fetched")
        await dialog.get_by_label("Error limit").fill("5000")
        await dialog.get_by_role("button", name="Raise and continue").click()
        await expect(need(page, "docs-full")).to_have_count(0)
    assert (await empty.ask("GET", f"/jobs/{tagged['id']}"))["spec"]["worker_tags"] == []
    job = await empty.ask("GET", f"/jobs/{stopped}")
    assert (job["state"], job["spec"]["limits"]["errors"]) == ("pending", 5000)


async def test_a_notice_is_dismissed_and_comes_back(empty: Stage) -> None:
    await worker(empty)
    await ended(empty, Move.FAIL, name="news")
    async with empty.page("/") as page:
        notice = need(page, "news failed")
        await notice.get_by_role("button", name="Dismiss: news failed").click()
        await expect(notice).to_have_count(0)
        await expect(page.get_by_text("All clear")).to_be_visible()
        await toast(page).get_by_role("button", name="Undo").click()
        await expect(notice).to_have_count(1)

        await notice.get_by_role("button", name="Dismiss").click()
        await expect(page.get_by_text("1 dismissed")).to_be_visible()
        await page.reload()
        await expect(page.get_by_text("1 dismissed")).to_be_visible()
        await expect(notice).to_have_count(0)
        await page.get_by_role("button", name="Show again").click()
        await expect(notice).to_have_count(1)


async def test_many_stops_at_a_host_are_one_notice_and_of_many_notices_the_rest_is_folded(
    empty: Stage,
) -> None:
    await worker(empty)
    for n in range(9):
        url = f"https://site{n}.example/"
        await ended(empty, Move.COMPLETE, StateReason.LIMIT_ERRORS, name=f"site {n}", urls=[url])
    for n in range(3):
        urls = [f"https://shop.example:8080/{n}"]
        await ended(empty, Move.COMPLETE, StateReason.LIMIT_ERRORS, name=f"shop {n}", urls=urls)
    async with empty.page("/") as page:
        notices = page.locator("#attention li")
        await expect(notices).to_have_count(8)
        await expect(part(page, "Needs attention")).to_contain_text("Needs attention 10")
        first = notices.first
        await expect(first).to_contain_text("3 crawls of shop.example:8080 stopped early")
        await expect(first).to_contain_text("The last one, shop 2: stopped at its error limit")
        await expect(page.get_by_text("and 2 more")).to_be_visible()
        await page.get_by_role("button", name="Show all").click()
        await expect(notices).to_have_count(10)
        await expect(notices.nth(8).get_by_role("link")).to_be_focused()
        await expect(page.get_by_text("and 2 more")).to_be_hidden()

        await first.get_by_role("link", name="Show the jobs").click()
        await expect(page.get_by_role("row").filter(has_text=re.compile("shop "))).to_have_count(3)


async def test_jobs_without_a_worker_need_attention_until_one_starts(empty: Stage) -> None:
    await empty.job()
    async with empty.page("/") as page:
        await expect(need(page, "no worker takes any")).to_be_visible()
        await expect(page.locator("#live")).to_have_text("Live")
        await worker(empty)
        await expect(page.get_by_text("All clear")).to_be_visible()


# --- room, runs, trends


async def test_capacity_shows_slots_workers_and_hosts(empty: Stage) -> None:
    await worker(empty, slots=4, running=("a", "b"), pages_per_s=12.5)
    await worker(empty, timedelta(hours=1), id="w2", host="gone.local")
    claim = await begun(empty, await empty.job())
    targets = [a_target(str(n), host="gone.example") for n in range(3)]
    now = empty.yard.clock.now()
    batch = a_batch(
        targets, [failed(target, ErrorKind.TIMEOUT, fetched_at=now) for target in targets]
    )
    await empty.yard.store.frontier.record([(claim.lease, batch)], now, timedelta(minutes=1))
    await empty.ask("POST", "/hosts/shut.example/block", {})
    async with empty.page("/") as page:
        room = page.get_by_role("complementary", name="Capacity")
        await expect(room).to_contain_text("Slots2 of 4")
        await expect(room).to_contain_text("2 of 4 slots")
        await expect(room).not_to_contain_text("gone.local")
        await expect(room).to_contain_text("gone.example3 failed")
        await expect(room).to_contain_text("shut.exampleblocked")
        await expect(room).to_contain_text("Disk")


async def test_past_and_planned_runs_share_an_axis_that_keys_step_along(empty: Stage) -> None:
    form = {"when": "* * * * *", "overrides": {"urls": ["https://docs.example.org/"]}}
    schedule = await empty.ask("POST", "/schedules", form | {"name": f"often {HOSTILE}"})
    held_schedule = await empty.ask("POST", "/schedules", form | {"name": "held"})
    await empty.ask("POST", f"/schedules/{held_schedule['id']}/pause")
    run = await empty.ask("POST", f"/schedules/{schedule['id']}/run")
    claim = await begun(empty, run)
    await settled(empty, claim, Move.FAIL)
    cut = await ended(empty, Move.COMPLETE, StateReason.LIMIT_PAGES, name="by hand")
    async with empty.page("/") as page:
        chart = part(page, "Past and planned runs")
        axis = chart.get_by_role("slider", name="Runs of 2 schedules")
        await expect(axis.locator("rect.c-failed")).to_have_count(1)
        await expect(axis.locator("rect.c-stopped")).to_have_count(1)
        assert await axis.locator("rect.ghost").count() > 600
        await expect(axis).to_contain_text("Now ")
        await expect(axis).not_to_contain_text("held")
        await expect(chart.locator(".key")).to_contain_text("Stopped earlyFailed")

        await axis.focus()
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("End")
        by_hand = re.compile("Runs by hand: by hand: Stopped early, 1,234 pages")
        await expect(axis).to_have_attribute("aria-valuetext", by_hand)
        await page.keyboard.press("ArrowUp")
        await page.keyboard.press("Home")
        failure = re.compile("^often .*: Failed, ")
        await expect(axis).to_have_attribute("aria-valuetext", failure)
        await page.keyboard.press("ArrowRight")
        await expect(axis).to_have_attribute("aria-valuetext", re.compile("Planned"))
        await expect(chart.locator(".tip")).to_contain_text("Planned")

        await chart.get_by_text("Show as table").click()
        table = chart.get_by_role("row").filter(has_text="Stopped early")
        await expect(table.get_by_role("link")).to_have_attribute("href", f"/jobs/{cut}")
        await axis.focus()
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(re.compile(f"/jobs/{cut}$"))


async def test_trends_have_axes_a_period_and_follow_what_ends(empty: Stage) -> None:
    await ended(empty, Move.COMPLETE)
    await ended(empty, Move.FAIL)
    by_user = await empty.job()
    await moved_on(empty, [await begun(empty, by_user)], discovered=9, done=3)
    await empty.ask("POST", f"/jobs/{by_user['id']}/cancel")
    job = await empty.job()
    async with empty.page("/") as page:
        trends = part(page, "Trends")
        name = "Jobs ended: 1 completed, 1 stopped early, 0 cancelled, 1 failed"
        chart = trends.get_by_role("slider", name=name)
        await expect(chart).to_be_visible()
        await expect(chart.locator("text").first).to_have_text("0")
        [claim] = await moved_on(empty, [await begun(empty, job)], discovered=9, done=3)
        await settled(empty, claim, reason=StateReason.LIMIT_PAGES)
        name = "Jobs ended: 1 completed, 2 stopped early, 0 cancelled, 1 failed"
        chart = trends.get_by_role("slider", name=name)
        await expect(chart).to_be_visible()

        await chart.focus()
        await page.keyboard.press("End")
        await expect(chart).to_have_attribute(
            "aria-valuetext", re.compile("Failed 1, Stopped early 2, Completed 1")
        )
        await page.keyboard.press("ArrowLeft")
        await expect(chart).to_have_attribute("aria-valuetext", re.compile(r":00: nothing$"))
        figure = trends.locator("figure").filter(has_text="Jobs ended")
        await expect(figure.locator(".tip")).to_contain_text("nothing")
        await page.keyboard.press("Escape")
        await expect(figure.locator(".tip")).to_be_hidden()
        await figure.get_by_text("Show as table").click()
        table = figure.locator("tbody tr")
        await expect(table).to_have_count(24)
        await expect(table.first).to_contain_text(re.compile(r"\d\d:00121$"))
        await expect(trends).to_contain_text("Pages per hour")

        await trends.get_by_role("button", name="30 days").click()
        await expect(table).to_have_count(30)
        await expect(trends).to_contain_text("Pages per day")


@pytest.mark.parametrize("dark", [False, True])
async def test_the_overview_is_accessible_and_fits_a_phone(empty: Stage, dark: bool) -> None:
    async with empty.page("/", dark=dark, bypass_csp=True) as page:
        await expect(part(page, "Crawl your first site")).to_be_visible()
        assert await faults_of(page) == []
        await page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
        assert await overflow_of(page) == 0
        await page.set_viewport_size({"width": 1440, "height": 900})
        await worker(empty, host="a-very-long-name-of-a-machine.in-a-data-centre.example.org")
        for _ in range(3):
            await ended(empty, Move.FAIL, name="a name that goes on " * 5)
        await begun(empty, await empty.job(name="a name that goes on " * 5))
        await expect(rows(page)).to_have_count(1)
        await expect(need(page, "keeps failing")).to_have_count(1)
        await expect(page.get_by_role("list", name="Workers")).to_contain_text("a-very-long")
        for summary in await page.get_by_text("Show as table").all():
            await summary.click()
        assert await faults_of(page) == []
        await page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
        assert await overflow_of(page) == 0
        assert await faults_of(page) == []


async def test_a_keyboard_reaches_rows_and_goes_on(empty: Stage) -> None:
    await ended(empty, Move.FAIL)
    async with empty.page("/") as page:
        await expect(need(page, "ended failed")).to_be_visible()
        await need(page, "ended failed").get_by_role("link").focus()
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(re.compile(r"/jobs/[0-9a-z-]{36}$"))
        await expect(page.locator("#live")).to_have_text("Live")
        await page.keyboard.press("g")
        await page.keyboard.press("o")
        await expect(page).to_have_url(f"{empty.base}/")
