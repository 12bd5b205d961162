"""The list of schedules and the calendar: what runs when, how it went, and acting on it."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, Request, expect

from crawlyard.core.access.user import Role
from crawlyard.core.events.event import EventName
from crawlyard.core.workers.status import WorkerReport
from tests.browser.looking import faults_of, overflow_of
from tests.browser.rig import NARROW, WIDE, Stage, a_stage
from tests.browser.scheduled import HOSTILE, a_schedule, lived, overdue, week_of_schedules
from tests.builders_schedules import a_firing, schedule_event
from tests.builders_schedules import a_schedule as stored

BERLIN = {"zone": "Europe/Berlin"}


def row_of(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))


async def test_a_row_says_when_how_it_went_and_when_it_is_next(stage: Stage) -> None:
    schedule = await a_schedule(
        stage, "Row", when="30 8 * * mon-fri", description="All of it", **BERLIN
    )
    past = ["failed", "skipped", *["completed"] * 40, "missed", *["completed"] * 30]
    [failed, *_] = await lived(stage, schedule, past)

    async with stage.page("/schedules?q=Row") as page:
        row = row_of(page, "Row")
        for text in (
            "At 08:30 on Monday through Friday",
            "30 8 * * mon-fri",
            "Europe/Berlin",
            "All of it",
        ):
            await expect(row).to_contain_text(text)
        await expect(
            row.get_by_role("img", name="Last 30 runs: 1 failed, 0 stopped early")
        ).to_be_visible()
        await expect(row.locator("rect")).to_have_count(30)
        await expect(row.locator("rect.c-skipped")).to_have_count(1)
        await expect(row.locator(".cross")).to_have_count(1)  # failed: by shape as well as hue
        await expect(row.get_by_role("link", name="Failed")).to_have_attribute(
            "href", re.compile(f"/jobs/{failed}$")
        )
        coming = row.locator("time").nth(1)
        await expect(coming).to_have_text(re.compile("^in "))
        await expect(coming).to_have_attribute("title", re.compile(r"\d{4}.*08:30:00"))
        await expect(row.get_by_role("cell").nth(5)).to_have_text("120")  # pages of the last run


async def test_the_filter_narrows_is_kept_in_the_url_and_says_when_it_hides_all(
    stage: Stage,
) -> None:
    await a_schedule(stage, "Filtered one")
    two = await a_schedule(stage, "Filtered two")
    await stage.ask("POST", f"/schedules/{two['id']}/pause")

    async with stage.page("/schedules") as page:
        await page.get_by_label("Filter by name").fill("Filtered")
        await expect(page.locator("tbody tr")).to_have_count(2)
        await page.get_by_label("Status").select_option("Paused")
        await expect(page.locator("tbody tr")).to_have_count(1)
        await expect(row_of(page, "Filtered two")).to_be_visible()
        await expect(page).to_have_url(re.compile(r"/schedules\?q=Filtered&paused=true$"))

        await page.reload()
        await expect(page.get_by_label("Filter by name")).to_have_value("Filtered")
        await expect(page.locator("tbody tr")).to_have_count(1)

        await page.get_by_label("Filter by name").fill("Filtered not at all")
        await expect(page.get_by_text("No schedule matches.")).to_be_visible()
        await page.get_by_role("link", name="Show all").click()
        await expect(row_of(page, "Filtered one")).to_be_visible()


async def test_where_there_is_none_the_list_says_what_one_is_and_leads_to_the_form(
    stage: Stage,
) -> None:
    await stage.user("nobody-yet")
    async with stage.page("/schedules", by="nobody-yet") as page:
        await expect(page.get_by_text("No schedules yet.")).to_be_visible()
        await page.get_by_role("link", name="Create schedule").click()
        await expect(page).to_have_url(f"{stage.base}/schedules/new")


async def test_a_row_is_paused_and_resumed_by_key_and_run_by_button_with_the_focus_kept(
    stage: Stage,
) -> None:
    schedule = await a_schedule(stage, "Handled")
    async with stage.page("/schedules?q=Handled") as page:
        row = row_of(page, "Handled")
        await expect(row).to_be_visible()
        await page.keyboard.press("j")
        await page.keyboard.press("p")
        await expect(row).to_contain_text("Paused")
        await expect(page.locator("#toasts")).to_contain_text("Paused: Handled")
        await page.keyboard.press("p")
        await expect(row).not_to_contain_text("Paused")

        pause = row.get_by_role("button", name="Pause Handled")
        await pause.focus()
        await page.keyboard.press("Enter")
        await expect(row.get_by_role("button", name="Resume Handled")).to_be_focused()

        await row.get_by_role("button", name="Run Handled now").click()
        await expect(row.get_by_role("link", name="Waiting")).to_be_visible()
    counts = await stage.ask("GET", f"/jobs/counts?schedule={schedule['id']}")
    assert counts["total"] == 1


async def test_what_happens_elsewhere_shows_by_itself(stage: Stage) -> None:
    async with stage.page("/schedules?q=Elsewhere") as page:
        await expect(page.locator("#live")).to_have_text("Live")
        await expect(page.get_by_text("No schedule matches")).to_be_visible()
        schedule = await a_schedule(stage, "Elsewhere")
        row = row_of(page, "Elsewhere")
        await expect(row).to_contain_text("Never")
        reason = {"reason": "the site is moving"}
        await stage.ask("POST", f"/schedules/{schedule['id']}/pause", reason)
        await expect(row).to_contain_text("the site is moving")
        job = await stage.ask("POST", f"/schedules/{schedule['id']}/run")
        await expect(row.get_by_role("link", name="Waiting")).to_be_visible()
        await stage.ask("POST", f"/jobs/{job['id']}/cancel")
        await expect(row.get_by_role("link", name="Cancelled")).to_be_visible()
        await stage.ask("DELETE", f"/schedules/{schedule['id']}")
        await expect(row).to_have_count(0)


async def test_a_schedule_that_no_scheduler_runs_is_late_and_one_without_instants_has_ended(
    stage: Stage,
) -> None:
    await overdue(stage, await a_schedule(stage, "Overdue"), timedelta(minutes=6))
    ended = await stage.yard.store.schedules.get((await a_schedule(stage, "Over"))["id"])
    over = a_firing(ended, next_at=None, fire_at=None)
    assert await stage.yard.store.ticks.fire([over]) == [True]
    async with stage.page("/schedules?q=Over") as page:
        await expect(row_of(page, "Overdue")).to_contain_text("no scheduler has started it")
        await expect(row_of(page, "Overdue")).to_contain_text("6m ago")
        await expect(row_of(page, "Over")).to_contain_text("Ended")


async def test_a_viewer_sees_the_same_without_the_actions(stage: Stage) -> None:
    await stage.user("vera", Role.VIEWER)
    schedule = stored(owner="vera", name="Hers", next_at=None, fire_at=None)
    created = schedule_event(schedule, EventName.SCHEDULE_CREATED)
    await stage.yard.store.schedules.add(schedule, created)
    async with stage.page("/schedules", by="vera") as page:
        row = row_of(page, "Hers")
        await expect(row).to_be_visible()
        await expect(row.get_by_role("button")).to_have_count(0)
        await expect(page.locator("a", has_text="New schedule")).to_have_attribute(
            "aria-disabled", "true"
        )
        await page.goto(f"/schedules/{schedule.id}")
        await expect(page.get_by_role("heading", name="Hers")).to_be_visible()
        await page.get_by_label("More actions").click()
        await expect(page.get_by_role("link", name="Atom feed of changes")).to_be_visible()
        for name in ("Run now", "Pause", "Backfill missed runs…", "Delete…"):
            await expect(page.get_by_role("button", name=name, exact=True)).to_be_hidden()
        await expect(page.get_by_role("button", name="Save", exact=True)).to_be_disabled()
        await expect(page.get_by_label("When", exact=True)).to_be_disabled()


async def test_hostile_names_stay_text(stage: Stage) -> None:
    schedule = await a_schedule(stage, HOSTILE, description=HOSTILE, when="* * * * *")
    await stage.ask("POST", f"/schedules/{schedule['id']}/pause", {"reason": HOSTILE})
    for path in ("/schedules", f"/schedules/{schedule['id']}", "/schedules/calendar"):
        async with stage.page(path) as page:
            await expect(page.get_by_text(HOSTILE).first).to_be_visible()
            await expect(page.locator("main img:not([role])")).to_have_count(0)
    await stage.ask("DELETE", f"/schedules/{schedule['id']}")


# --- the calendar


def cell(page: Page, hour: int, day: int) -> Locator:
    """Return the field of an hour, of a day from Monday on."""
    return page.locator("#grid tbody button, #plan tbody button").nth(hour * 7 + day)


async def test_the_calendar_counts_runs_by_hour_and_lists_them_by_arrow_keys_and_by_mouse(
    stage: Stage,
) -> None:
    await stage.user("cal")
    await a_schedule(stage, "Early", "cal", when="5 7 * * *", **BERLIN)
    await a_schedule(stage, "Late", "cal", when="0 8 * * mon", **BERLIN)
    held_schedule = await a_schedule(stage, "Held", "cal", when="0 9 * * *", **BERLIN)
    await stage.ask("POST", f"/schedules/{held_schedule['id']}/pause", by="cal")
    async with stage.page("/schedules/calendar", by="cal") as page:
        await page.get_by_role("button", name="Week after").click()
        await expect(cell(page, 7, 0)).to_have_text("1")
        await expect(cell(page, 8, 0)).to_have_text("1")
        await expect(cell(page, 8, 1)).to_have_text("")
        await expect(cell(page, 9, 0)).to_have_class("held")

        # one stop of the Tab key in 168 fields
        await page.get_by_role("button", name="Week after").focus()
        await page.keyboard.press("Tab")
        await expect(page.locator("#grid button:focus")).to_have_count(1)
        await cell(page, 7, 0).focus()
        runs = page.locator("#runs li")
        await expect(runs).to_have_count(1)
        await expect(runs).to_contain_text("07:05")
        await expect(runs.get_by_role("link", name="Early")).to_be_visible()
        await page.keyboard.press("ArrowDown")
        await expect(runs.get_by_role("link", name="Late")).to_be_visible()
        await page.keyboard.press("ArrowDown")
        await expect(runs).to_contain_text("Paused")
        await page.keyboard.press("ArrowUp")
        await page.keyboard.press("ArrowRight")
        await expect(page.get_by_text("No runs.")).to_be_visible()
        await page.keyboard.press("ArrowLeft")
        await expect(runs.get_by_role("link", name="Late")).to_be_visible()
        await cell(page, 7, 3).hover()
        await expect(runs.get_by_role("link", name="Early")).to_be_visible()

        await page.get_by_text("Show as table").click()
        await expect(page.get_by_role("row").filter(has_text="1 run planned")).to_have_count(8)


async def test_the_calendar_turns_to_other_weeks_and_follows_what_changes(stage: Stage) -> None:
    await stage.user("cal2")
    await a_schedule(stage, "Sundays", "cal2", when="0 12 * * sun")
    monday = datetime.now(UTC).date() - timedelta(days=datetime.now(UTC).weekday())
    async with stage.page("/schedules/calendar", by="cal2") as page:
        range_label = page.locator("#range")
        await expect(range_label).to_contain_text(f"{monday.day} ")
        await page.get_by_role("button", name="Week after").click()
        await expect(range_label).to_contain_text(f"{(monday + timedelta(days=7)).day} ")
        await page.keyboard.press("[")
        await page.keyboard.press("[")
        await expect(range_label).to_contain_text(f"{(monday - timedelta(days=7)).day} ")
        await page.get_by_role("button", name="This week").click()
        await expect(page.locator("thead [aria-current=date]")).to_have_count(1)
        await expect(page.locator("#grid [aria-current=time]")).to_have_count(1)

        await page.keyboard.press("]")
        await a_schedule(stage, "Mondays", "cal2", when="0 4 * * mon", **BERLIN)
        await expect(cell(page, 4, 0)).to_have_text("1")


async def test_the_calendar_is_read_at_most_every_ten_seconds(stage: Stage) -> None:
    await stage.user("cal6")
    await a_schedule(stage, "Daily", "cal6", when="0 7 * * *")
    reads: list[str] = []

    def note(request: Request) -> None:
        if "/calendar/hours" in request.url:
            reads.append(request.url)

    async def end_a_job(page: Page, number: int) -> None:
        job = await stage.job("cal6")
        await stage.ask("POST", f"/jobs/{job['id']}/cancel", by="cal6")
        await page.evaluate("(number) => window.untilEnded(number)", number)

    async def wait(page: Page, milliseconds: int) -> int:
        """Let time pass on the page; return how often it has read the calendar since its start."""
        await page.clock.run_for(milliseconds)
        await page.evaluate("() => fetch('/api/v1/auth/me')")
        return len(reads)

    async with stage.context(by="cal6") as context:
        page = await context.new_page()
        await page.clock.install()
        page.on("request", note)
        await page.goto("/schedules/calendar")
        await expect(cell(page, 7, 6)).to_be_visible()
        await page.evaluate(_COUNT_ENDS)
        await page.clock.pause_at(datetime.now(UTC) + timedelta(minutes=1))
        first = len(reads)

        await end_a_job(page, 1)
        assert await wait(page, 1_100) == first + 1
        await end_a_job(page, 2)
        await end_a_job(page, 3)
        assert await wait(page, 8_000) == first + 1
        assert await wait(page, 2_000) == first + 2
        assert await wait(page, 30_000) == first + 2


_COUNT_ENDS = """async () => {
  let [ended, wake] = [0, () => {}];
  const { modules } = await import(document.querySelector("script").src);
  modules["js/core/live.js"].on("job.state", ({ to }) => {
    ended += to === "cancelled";
    wake();
  });
  window.untilEnded = (number) => new Promise((resolve) => {
    wake = () => ended >= number && resolve();
    wake();
  });
}"""


async def test_few_runs_and_many_differ_and_what_is_not_computed_is_hatched(stage: Stage) -> None:
    await stage.user("cal3")
    await a_schedule(stage, "Seldom", "cal3", when="0 7 * * *", **BERLIN)
    await a_schedule(stage, "Often", "cal3", when="* 9 * * *", **BERLIN)
    await a_schedule(stage, "Twice as often", "cal3", when="*/2 9 * * *", **BERLIN)
    async with stage.page("/schedules/calendar", by="cal3") as page:
        await page.get_by_role("button", name="Week after").click()
        await expect(cell(page, 9, 0)).to_have_text("90")
        await expect(cell(page, 9, 0)).to_have_class(re.compile(r"\bn4\b"))
        await expect(cell(page, 7, 0)).to_have_class(re.compile(r"\bn1\b"))
        key = page.locator(".key span")
        await expect(key).to_have_text(
            [
                text.replace("-", "\N{EN DASH}")
                for text in ("1-3", "4-9", "10-29", "30-90 runs planned")
            ]
        )

        for n in range(3):
            await a_schedule(stage, f"Each minute {n}", "cal3", when="* * * * *", **BERLIN)
        await expect(cell(page, 7, 0)).to_have_text("181")
        await expect(cell(page, 23, 6)).to_have_class("beyond")
        await expect(cell(page, 23, 6)).to_have_accessible_name(re.compile("not computed yet"))
        await expect(key.last).to_have_text(re.compile(r"^Beyond Fri .*: not computed yet$"))
        await cell(page, 23, 6).focus()
        await expect(page.get_by_text("Not computed yet.")).to_be_visible()
        await expect(page.get_by_text("No runs.")).to_have_count(0)


async def test_an_hour_with_a_failed_run_shows_it_beside_runs_to_come(stage: Stage) -> None:
    await stage.user("cal5")
    schedule = await a_schedule(stage, "Each minute", "cal5", when="* * * * *")
    await lived(stage, schedule, ["failed"])
    now = datetime.now(ZoneInfo("Europe/Berlin"))
    async with stage.page("/schedules/calendar", by="cal5") as page:
        here = cell(page, now.hour, now.weekday())
        await expect(here).to_have_class("was c-failed")
        await expect(here).to_have_accessible_name(re.compile(r"1 failed(, \d+ runs? planned)?$"))


async def test_the_past_shows_what_became_of_runs_and_nothing_before_the_start(
    stage: Stage,
) -> None:
    await stage.user("cal4")
    schedule = await a_schedule(stage, "Young", "cal4", when="0 * * * *")
    await lived(stage, schedule, ["failed"])
    now = datetime.now(ZoneInfo("Europe/Berlin"))
    for path in ("/schedules/calendar", f"/schedules/{schedule['id']}"):
        async with stage.page(path, by="cal4") as page:
            here = cell(page, now.hour, now.weekday())
            await expect(here).to_have_class("was c-failed")
            await expect(here).to_have_text("\N{MULTIPLICATION SIGN}")
            await expect(here).to_have_accessible_name(re.compile("1 failed$"))
            earlier = page.locator(".week button.was")
            await expect(earlier).to_have_count(1)
            await page.keyboard.press("[")
            await expect(page.locator(".week button.was")).to_have_count(0)
            if "calendar" not in path:
                await expect(page.locator(".week button.before")).to_have_count(168)
                await expect(page.locator(".week .key")).to_contain_text("Before its start")


async def test_more_runs_at_one_moment_than_slots_are_marked_as_likely_to_wait(
    browser: Browser, tmp_path: Path
) -> None:
    async with a_stage(tmp_path, browser) as stage:
        now = stage.yard.clock.now()
        await stage.yard.store.workers.save_heartbeat(
            WorkerReport(
                id="w1", host="h", pid=1, version="1", slots=2, started_at=now, beat_at=now
            )
        )
        for name in ("One", "Two"):
            await a_schedule(stage, name, when="0 3 * * *", **BERLIN)
        for name in ("Three", "Four"):
            schedule = await a_schedule(stage, name, when="0 3 * * tue", **BERLIN)
        async with stage.page("/schedules/calendar") as page:
            await page.get_by_role("button", name="Week after").click()
            monday, tuesday = cell(page, 3, 0), cell(page, 3, 1)
            clash = re.compile(r"\bclash\b")
            await expect(tuesday).to_have_class(clash)
            await expect(tuesday).to_have_accessible_name(re.compile("likely to wait for a slot"))
            await expect(page.locator(".key")).to_contain_text("more at one moment than 2 slots")
            await expect(monday).to_have_text("2")
            await expect(monday).not_to_have_class(clash)  # two runs, two slots

            await stage.ask("POST", f"/schedules/{schedule['id']}/pause")
            await expect(tuesday).to_have_text("3")
            await expect(tuesday).to_have_class(clash)
            await stage.ask("DELETE", f"/schedules/{schedule['id']}")
            await stage.ask("DELETE", "/schedules/Three")
            await expect(tuesday).not_to_have_class(clash)


# --- how they look


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def week(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Stage, dict[str, str]]]:
    async with a_stage(tmp_path_factory.mktemp("week"), browser) as staged:
        yield staged, await week_of_schedules(staged)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(
    ("path", "waits_for"),
    [
        ("/schedules", "the wiki is being moved"),
        ("/schedules/calendar", "Show as table"),
        ("/schedules/new", "Without a template"),
        ("/schedules/{Price watch}", "Monday through Friday"),
        ("/schedules/{Wiki snapshot}", "the wiki is being moved"),
    ],
)
async def test_a_week_of_schedules_is_accessible_and_fits_a_phone(
    week: tuple[Stage, dict[str, str]], path: str, waits_for: str, dark: bool
) -> None:
    stage, ids = week
    for size in (WIDE, NARROW):
        where = path.format_map(ids)
        async with stage.page(where, dark=dark, bypass_csp=True, size=size) as page:
            await expect(page.get_by_text(waits_for).first).to_be_visible()
            assert await faults_of(page) == []
            assert await overflow_of(page) == 0
            if "Price" in path:
                await page.get_by_label("More actions").click()
                await page.get_by_role("button", name="Backfill").click()
                await expect(page.get_by_label("From", exact=True)).to_be_visible()
                assert await faults_of(page) == []
