"""The first page: how the yard stands, what needs somebody, and the first crawl of an empty one."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from crawlyard.core.access.user import LOCAL, Role
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.lifecycle import Move
from tests.browser.crawls import begun, moved_on, settled
from tests.browser.looking import faults_of, overflow_of
from tests.browser.rig import NARROW, Stage, a_stage
from tests.builders import a_batch, a_target, failed
from tests.builders_serve import a_report

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest_asyncio.fixture(loop_scope="session")
async def empty(browser: Browser, tmp_path: Path) -> AsyncIterator[Stage]:
    """A yard of its own, in which nothing was ever crawled."""
    async with a_stage(tmp_path, browser) as staged:
        yield staged


def part(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name)


def card(page: Page, name: str) -> Locator:
    return page.locator(".stat").filter(has_text=re.compile(rf"^{name}"))


async def ended(stage: Stage, move: Move, *, by: str = LOCAL.id, name: str = "ended") -> None:
    """Make a job that ends so."""
    job = await stage.job(by, name=name)
    [claim] = await moved_on(stage, [await begun(stage, job)], pages=1234, bytes=5_000_000)
    await settled(stage, claim, move)


async def worker(stage: Stage, ago: timedelta = timedelta(0), **fields: object) -> None:
    """Let a worker be heard, the last time so long ago."""
    now = stage.yard.clock.now() - ago
    report = a_report(beat_at=now, started_at=now - timedelta(hours=3), **fields)
    await stage.yard.store.workers.beat(report)


async def test_an_empty_yard_starts_its_first_crawl(empty: Stage) -> None:
    async with empty.page("/") as page:
        await expect(part(page, "Crawl your first site")).to_be_visible()
        await expect(page.locator("#first .banner")).to_contain_text("No worker is alive")
        await expect(page.locator(".stat").first).to_be_hidden()
        await page.get_by_label("Address of a site").fill("https://docs.example.org/")
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(re.compile(r"/jobs/[0-9a-z-]{36}$"))
        [job] = (await empty.ask("GET", "/jobs"))["items"]
        assert job["spec"]["urls"] == ["https://docs.example.org/"]

        await page.goto("/")
        await expect(card(page, "Pending")).to_contain_text("1")
        await expect(part(page, "Crawl your first site")).to_be_hidden()


async def test_a_first_address_that_is_refused_is_told_at_its_field(empty: Stage) -> None:
    async with empty.page("/") as page:
        field = page.get_by_label("Address of a site")
        await field.fill("ftp://docs.example.org/")
        await page.get_by_role("button", name="Start the crawl").click()
        await expect(field).to_have_attribute("aria-invalid", "true")
        await expect(page.locator("#start .error")).to_contain_text("http")


async def test_an_empty_page_becomes_the_yard_when_somebody_begins(empty: Stage) -> None:
    async with empty.page("/") as page:
        await expect(page.locator("#live")).to_have_text("Live")
        await expect(part(page, "Crawl your first site")).to_be_visible()
        await empty.job()
        await expect(card(page, "Pending")).to_contain_text("1")


async def test_cards_and_bars_tell_what_is_there_and_follow_it(empty: Stage) -> None:
    await worker(empty, slots=4, running=("a", "b"), pages_per_s=12.5)
    await worker(empty, timedelta(hours=1), id="w2", host="gone.local")
    await ended(empty, Move.COMPLETE)
    await ended(empty, Move.FAIL)
    job = await empty.job()
    async with empty.page("/") as page:
        await expect(card(page, "Completed")).to_contain_text("1in 24 hours")
        await expect(card(page, "Failed")).to_contain_text("1in 24 hours")
        await expect(card(page, "Running")).to_contain_text("02 of 4 slots")
        await expect(card(page, "Pending")).to_contain_text("the oldest for")
        await expect(card(page, "Pages/s")).to_contain_text("12.52,468 pages in 24 hours")
        await expect(card(page, "Data")).to_contain_text("10.0 MB")
        chart = page.get_by_role("slider", name="1 completed, 1 failed, 0 cancelled")
        await expect(chart).to_be_visible()
        await expect(part(page, "Workers")).to_contain_text("2 / 4")
        await expect(page.get_by_text("gone.local")).to_have_count(0)

        await settled(empty, await begun(empty, job))
        await expect(card(page, "Completed")).to_contain_text("2in 24 hours")
        await expect(page.get_by_role("slider", name="2 completed, 1 failed")).to_be_visible()
        await page.get_by_text("Show as table").click()
        table = page.locator(".chart tbody tr")
        await expect(table).to_have_count(24)
        await expect(table.first).to_contain_text(re.compile(r"\d\d:00210$"))


async def test_the_period_is_chosen(empty: Stage) -> None:
    await ended(empty, Move.COMPLETE)
    async with empty.page("/") as page:
        await expect(card(page, "Completed")).to_contain_text("in 24 hours")
        async with page.expect_response(re.compile("/stats")):
            pass  # as the stream has begun; then it is silent
        await page.get_by_label("Last").select_option("30 days")
        await expect(card(page, "Completed")).to_contain_text("in 30 days")
        await expect(page.get_by_role("heading", name="Jobs finished per day")).to_be_visible()
        await page.get_by_text("Show as table").click()
        await expect(page.locator(".chart tbody tr")).to_have_count(30)


async def test_what_needs_attention_has_a_link_and_an_action(empty: Stage) -> None:
    await worker(empty)
    for _ in range(3):
        await ended(empty, Move.FAIL, name=HOSTILE)
    async with empty.page("/") as page:
        notices = part(page, "Needs attention")
        link = notices.get_by_role("link", name=f"Runs failing: {HOSTILE}")
        await expect(link).to_have_attribute("href", re.compile(r"^/jobs/[0-9a-z-]{36}$"))
        await expect(notices).to_contain_text("3 in a row")
        await notices.get_by_role("button", name=f"Retry: {HOSTILE}").click()
        await expect(card(page, "Pending")).to_contain_text("1")
    assert (await empty.ask("GET", "/jobs/counts"))["states"]["pending"] == 1


async def test_jobs_that_no_worker_takes_need_attention_until_one_is_there(empty: Stage) -> None:
    await empty.job()
    async with empty.page("/") as page:
        notices = part(page, "Needs attention")
        await expect(notices).to_contain_text("No worker")
        await expect(page.locator("#live")).to_have_text("Live")
        await worker(empty)
        await expect(notices).to_contain_text("Nothing needs you now")


async def test_next_runs_and_failing_hosts_are_shown(empty: Stage) -> None:
    form = {"when": "0 * * * *", "overrides": {"urls": ["https://docs.example.org/"]}}
    await empty.ask("POST", "/schedules", form | {"name": f"Hourly {HOSTILE}"})
    held = await empty.ask("POST", "/schedules", form | {"name": "held"})
    await empty.ask("POST", f"/schedules/{held['id']}/pause")
    claim = await begun(empty, await empty.job())
    gone = [a_target(str(n), host="gone.example") for n in range(3)]
    now = empty.yard.clock.now()
    batch = a_batch(gone, [failed(one, ErrorKind.TIMEOUT, fetched_at=now) for one in gone])
    await empty.yard.store.frontier.record([(claim.lease, batch)], now, timedelta(minutes=1))
    async with empty.page("/") as page:
        runs = part(page, "Next runs").get_by_role("row")
        await expect(runs.get_by_role("link", name=f"Hourly {HOSTILE}")).to_have_count(1)
        await expect(runs.filter(has_text="held")).to_have_count(0)
        await expect(runs.last).to_contain_text(re.compile(r":00.*in (\d+m|\d+s|1h)"))
        failing = part(page, "Failing hosts")
        await expect(failing).to_contain_text("gone.example3 failed")
        await expect(failing.get_by_role("link", name="gone.example")).to_have_attribute(
            "href", "/jobs?q=host:gone.example"
        )


async def test_a_viewer_may_look_and_not_begin(empty: Stage) -> None:
    await empty.user("vera", Role.VIEWER)
    async with empty.page("/", by="vera") as page:
        start = page.get_by_role("button", name="Start the crawl")
        await expect(start).to_be_disabled()
        await expect(start).to_have_attribute("title", re.compile("may not do this"))


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
        await expect(part(page, "Needs attention")).to_contain_text("in a row")
        await expect(part(page, "Workers")).to_contain_text("a-very-long")
        assert await faults_of(page) == []
        await page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
        assert await overflow_of(page) == 0
        assert await faults_of(page) == []


async def test_a_keyboard_reaches_cards_and_goes_on(empty: Stage) -> None:
    await ended(empty, Move.FAIL)
    async with empty.page("/") as page:
        await expect(card(page, "Failed")).to_be_visible()
        await card(page, "Failed").focus()
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(re.compile(r"/jobs\?state=failed$"))
        await expect(page.locator("#live")).to_have_text("Live")
        await page.keyboard.press("g")
        await page.keyboard.press("o")
        await expect(page).to_have_url(f"{empty.base}/")
