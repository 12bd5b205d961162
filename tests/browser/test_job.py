"""The page of one job: how far it has come, what can be done about it, and its tabs."""

import json
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from playwright.async_api import Browser, Page, expect

from crawlyard.core.checkpoint import Claim
from crawlyard.core.lifecycle import Move, StateReason
from crawlyard.core.page import Body, ErrorKind, Skipped
from crawlyard.core.pulse import Pulse
from crawlyard.core.user import LOCAL, Role
from crawlyard.core.watch import Course, Level, LogLine, Point
from crawlyard.demo.server import SiteServer
from tests.browser.crawls import LEASE, begun, moved_on, settled
from tests.browser.looking import faults_of, overflow_of
from tests.browser.rig import NARROW, Stage, a_stage
from tests.builders import a_batch, a_target, done, failed
from tests.site import GraphSite, refetched

HOSTILE = "<img src=x onerror=alert(1)> Ünïcode 価格 «тест»"
HOST = "docs.example.org"
HEADERS = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("X-Powered-By", "<script>alert(2)</script>"),
)
HTML = "<!doctype html><h1>Kept</h1><script>top.document.title = 'taken'</script>"


@dataclass
class Crawl:
    """A running job of some pages, and how to go on with it."""

    id: str
    claim: Claim


async def crawled(stage: Stage, *, pages: int = 30, **form: Any) -> Crawl:
    """Return a job of *pages* pages, five failures, two URLs kept out by rules, 40 that wait."""
    store, now = stage.yard.store, stage.yard.clock.now()
    made = await stage.job(**{"name": "Docs of the yard", "keep_html": True, **form})
    claim = await begun(stage, made)
    bodies = {
        Body.TEXT: b"A guide.",
        Body.HTML: b"<h1>A guide</h1>",
        Body.HEADERS: json.dumps(HEADERS).encode(),
    }
    hostile = bodies | {Body.TEXT: HOSTILE.encode(), Body.HTML: HTML.encode()}
    targets = [a_target(f"guide/page-{n}", host=HOST, depth=n % 4) for n in range(pages)]
    good = [
        done(
            one,
            bodies if n else hostile,
            title=HOSTILE if n == 0 else f"How to bound a crawl, part {n}",
            content_type="text/html; charset=utf-8",
            fetched_at=now - timedelta(seconds=pages - n),
            elapsed_ms=41 + n,
            bytes=18_000 + 311 * n,
        )
        for n, one in enumerate(targets)
    ]
    slow = [a_target(f"slow/{n}", host=HOST, depth=2) for n in range(3)]
    gone = [a_target(f"gone/{n}", host=HOST, depth=1) for n in range(2)]
    bad = [failed(one, fetched_at=now, error_detail="no answer within 30 s") for one in slow]
    bad += [failed(one, ErrorKind.HTTP_4XX, status=404, fetched_at=now) for one in gone]
    waiting = [replace(a_target(f"print/{n}", host=HOST), parent=targets[0].fp) for n in range(40)]
    skipped = [
        Skipped(a_target("secret", host=HOST), "robots: Disallow: /secret"),
        Skipped(a_target("x", host="other.example"), "scope: other host"),
    ]
    log = [
        LogLine(at=now, level=level, message=message, url=f"https://{HOST}/{path}")
        for level, message, path in (
            (Level.INFO, "robots.txt allows all but /secret", "robots.txt"),
            (Level.DEBUG, "sitemap has 40 URLs", "sitemap.xml"),
            (Level.WARNING, "no answer within 30 s, tried again", "slow/0"),
            (Level.ERROR, f"given up: {HOSTILE}", "slow/1"),
        )
    ]
    course = Course(
        points=tuple(
            Point(
                at=now - timedelta(seconds=10 * (24 - n)),
                seconds=10,
                pages=150 + (n * 37) % 90,
                bytes=2_000_000,
                errors=n % 3,
                statuses={"2xx": 140 + n, "4xx": n % 3, "5xx": n % 2},
                latency_ms=48.0,
                waiting=600 + (n * 53) % 400 - 10 * n,
            )
            for n in range(24)
        )
    )
    outcomes = [*good, *bad]
    batch = a_batch(
        [*targets, *slow, *gone, *waiting],
        outcomes,
        skipped,
        log=tuple(log),
        course=course,
        current_url=f"https://{HOST}/guide/page-31",
        pulse=Pulse(rate=19.5, spread=4, pages_rate=19, bytes_rate=4e5, samples=20),
    )
    batch = replace(batch, usage=replace(batch.usage, duration=timedelta(seconds=95)))
    [answer] = await store.frontier.record([(claim.lease, batch)], now, LEASE)
    return Crawl(made["id"], Claim(lease=answer.lease, job=claim.job, shard=claim.shard))


def button(page: Page, name: str) -> Any:
    return page.locator(".acts").get_by_role("button", name=name)


def tab(page: Page, name: str) -> Any:
    return page.get_by_label("About this job").get_by_role("link", name=name)


def toast(page: Page) -> Any:
    return page.locator("#toasts")


async def menu(page: Page, name: str, item: str) -> None:
    """Choose something of a menu in the head."""
    await page.locator(".acts summary", has_text=name).click()
    await page.locator(".acts details[open]").get_by_text(item).click()


TABS = {  # what is there once a tab is shown
    "Overview": "#timeline li",
    "Pages": "section[data-tab=pages] tbody tr",
    "Errors": "section[data-tab=errors] tbody tr",
    "Log": "#log > div",
    "Events": "section[data-tab=events] tbody tr",
    "Config": "#config tbody tr",
    "Results": "form.export",
}


async def turned(page: Page, name: str) -> None:
    """Open a tab, and wait for what it shows."""
    await tab(page, name).click()
    await expect(page.locator(TABS[name]).first).to_be_visible()


async def state_of(stage: Stage, crawl: Crawl) -> str:
    return str((await stage.ask("GET", f"/jobs/{crawl.id}"))["state"])


# --- how it stands


async def test_a_running_job_tells_how_far_it_is_and_how_sure_that_is(stage: Stage) -> None:
    crawl = await crawled(stage, limits={"pages": 320, "duration_s": 7200}, tags=["nightly"])
    async with stage.page(f"/jobs/{crawl.id}") as page:
        await expect(page).to_have_title("Docs of the yard · Crawlyard")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Docs of the yard")
        await expect(page.locator(".head .st")).to_have_text("Running")
        far = page.get_by_label("How far it is")
        for text in ("46.7 %", "rough estimate", "35 / 75", "low confidence", "19.5", "1m 35s"):
            await expect(far).to_contain_text(text, use_inner_text=True)
        await expect(far).to_contain_text("40 in the frontier")
        await expect(far).to_contain_text("Pages 10.0 % of 320")
        await expect(far).to_contain_text("Time 1.3 % of 2h")
        await expect(far).to_contain_text("guide/page-31")
        await expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "46")
        await expect(page.locator(".dots")).to_contain_text("by local")
        await expect(page.locator(".dots")).to_contain_text("nightly")


async def test_progress_arrives_by_itself(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        far = page.get_by_label("How far it is")
        await expect(far).to_contain_text("35 / 75")
        await expect(page.locator("#live")).to_have_text("Live")
        await moved_on(stage, [crawl.claim], done=20, pages=20, discovered=5)
        await expect(far).to_contain_text("55 / 80", timeout=3000)


async def test_a_change_elsewhere_is_seen_at_once(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}/events") as page:
        await expect(page.locator("#live")).to_have_text("Live")
        await expect(page.locator("tbody tr")).to_have_count(2)
        await stage.ask("POST", f"/jobs/{crawl.id}/pause", {"reason": "moving house"})
        await expect(page.locator(".head .st")).to_have_text("Paused")
        await expect(page.locator("tbody tr")).to_have_count(3)
        await stage.ask("POST", f"/jobs/{crawl.id}/cancel")
        await stage.ask("DELETE", f"/jobs/{crawl.id}")
        await expect(page.get_by_role("heading", level=1)).to_have_text("No such job")


async def test_a_paused_job_says_why_and_when_it_is_cancelled_by_itself(stage: Stage) -> None:
    crawl = await crawled(stage)
    await stage.ask("POST", f"/jobs/{crawl.id}/pause", {"reason": "moving house"})
    async with stage.page(f"/jobs/{crawl.id}") as page:
        banner = page.locator(".banner:visible")
        await expect(banner).to_contain_text("Moving house")
        # the first within half a second of the pause
        left = re.compile("cancelled by itself in (7d 0h|6d 23h)")
        await expect(banner).to_contain_text(left)


async def test_a_waiting_job_says_for_what_and_how_to_help(stage: Stage) -> None:
    waiting = await stage.job()
    later = await stage.job(start_at="2040-01-01T08:00:00Z")
    async with stage.page(f"/jobs/{waiting['id']}") as page:
        banner = page.locator(".banner:visible")
        await expect(banner).to_contain_text("No worker is alive (crawlyard work runs one)")
        await expect(button(page, "Start now")).to_be_hidden()

        await page.goto(f"/jobs/{later['id']}")
        await expect(banner).to_contain_text("is due in")
        await button(page, "Start now").click()
        await expect(banner).not_to_contain_text("is due in")
        await expect(toast(page)).to_contain_text("It may start now")


async def test_a_job_that_is_not_there_is_said_to_be_so_with_a_way_back(stage: Stage) -> None:
    async with stage.page("/jobs/none/pages") as page:
        await expect(page.get_by_role("heading", level=1)).to_have_text("No such job")
        await page.get_by_role("link", name="All jobs").click()
        await page.wait_for_url(f"{stage.base}/jobs")


async def test_where_a_job_comes_from_is_told_with_links(stage: Stage) -> None:
    made = await stage.ask(
        "POST", "/templates", {"name": "docs-site", "spec": {"urls": [f"https://{HOST}/"]}}
    )
    job = await stage.job(template="docs-site", urls=[f"https://{HOST}/a"], delay_s=3)
    async with stage.page(f"/jobs/{job['id']}/config") as page:
        link = page.get_by_role("link", name="template docs-site v1")
        await expect(link).to_have_attribute("href", f"/templates/{made['id']}")
        rows = page.locator("#config tbody tr")
        await expect(rows.filter(has_text="delay_s")).to_contain_text("this job")
        await expect(rows.filter(has_text="delay_s").locator("td").last).to_have_text("0.5")
        await expect(rows.filter(has_text="per_host")).to_contain_text("default")
        await page.get_by_label("Without defaults").check()
        await expect(rows.filter(has_text="per_host")).to_be_hidden()


# --- tabs


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
        rates = page.locator("#rates").get_by_role("img")
        await expect(rates).to_have_attribute("aria-label", "19.1 now, 23.9 at most")
        await expect(page.locator("#waiting")).to_contain_text("389 now, 901 at most")
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


async def test_a_course_of_one_point_is_a_level_line(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        link = page.locator("link[href*='parts/charts.js']")
        said = await link.evaluate(
            "async (el) => (await import(el.href)).line([7], '').querySelector('.l').outerHTML"
        )
    heights = re.findall(r"[ML][\d.]+ ([\d.]+)", said)
    assert len(heights) == 2
    assert len(set(heights)) == 1


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
            await page.get_by_role("link", name="Download").click()
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
    async with stage.page(f"/jobs/{crawl.id}/results") as page:
        form = page.locator("form.export")
        await form.get_by_label("Format").select_option("csv")
        await form.get_by_label("Only what came without an error").check()
        async with page.expect_download() as download:
            await form.get_by_role("button", name="Export").click()
        saved = await download.value
        assert saved.suggested_filename.endswith(".csv")
        lines = (await saved.path()).read_text().splitlines()
        assert len(lines) == 31


# --- what can be done


async def test_a_job_is_paused_resumed_and_cancelled_by_keys_alone(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        await expect(button(page, "Pause")).to_be_visible()
        await page.keyboard.press("p")
        await expect(page.locator(".head .st")).to_have_text("Paused")
        await page.keyboard.press("p")
        await expect(page.locator(".head .st")).to_have_text("Pending")
        await page.keyboard.press("c")
        asked = page.get_by_role("dialog", name="Cancel this job?")
        await expect(asked).to_contain_text("Its 32 pages stay")
        await expect(asked).to_contain_text("40 URLs in the frontier are not fetched")
        await asked.get_by_label("Reason").fill("no use")
        await page.keyboard.press("Enter")
        await expect(page.locator(".head .st")).to_have_text("Cancelled")
        await expect(page.locator(".head")).to_contain_text("no use")
        await expect(button(page, "Cancel")).to_be_hidden()
    assert await state_of(stage, crawl) == "cancelled"


async def test_one_kind_of_error_is_tried_again(stage: Stage) -> None:
    crawl = await crawled(stage)
    await settled(stage, crawl.claim)
    async with stage.page(f"/jobs/{crawl.id}/errors") as page:
        rows = page.get_by_role("table", name="Errors by kind").locator("tbody tr:visible")
        await rows.filter(has_text="timeout").get_by_role("button", name="Retry these").click()
        await expect(page.locator(".head .st")).to_have_text("Pending")
        await expect(rows).to_have_count(1)
        await expect(rows).to_contain_text("http_4xx")
        await expect(page.get_by_label("How far it is")).to_contain_text("43 in the frontier")


async def test_all_failed_urls_are_tried_again_from_the_banner(stage: Stage) -> None:
    crawl = await crawled(stage)
    await settled(stage, crawl.claim, Move.FAIL, StateReason.START_FAILED, "no start URL answered")
    async with stage.page(f"/jobs/{crawl.id}") as page:
        banner = page.locator(".banner:visible")
        await expect(banner).to_contain_text("Start failed: no start URL answered")
        await banner.get_by_role("button", name="Retry failed URLs").click()
        await expect(toast(page)).to_contain_text("wait again")
        await expect(page.locator(".head .st")).to_have_text("Pending")
        await expect(page.get_by_label("How far it is")).to_contain_text("45 in the frontier")


async def test_a_job_is_run_again_as_a_new_one(stage: Stage) -> None:
    crawl = await crawled(stage)
    await settled(stage, crawl.claim)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        await menu(page, "Retry", "Run again, as a new job")
        await expect(page.get_by_role("link", name="runs another job again")).to_have_attribute(
            "href", f"/jobs/{crawl.id}"
        )


async def test_a_limit_that_stopped_a_job_is_raised_and_the_job_goes_on(stage: Stage) -> None:
    crawl = await crawled(stage, limits={"pages": 32})
    await settled(stage, crawl.claim, reason=StateReason.LIMIT_PAGES)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        banner = page.locator(".banner:visible")
        await expect(banner).to_contain_text("Stopped by its page limit")
        await banner.get_by_role("button", name="Raise it and resume").click()
        form = page.get_by_role("dialog", name="Limits")
        await expect(form.get_by_label("Pages")).to_have_value("32")
        await form.get_by_label("Pages").fill("0")
        await form.get_by_role("button", name="Save and resume").click()
        await expect(form.locator(".error")).to_contain_text("expected more than 0")
        await form.get_by_label("Pages").fill("500")
        await form.get_by_label("Running time").fill("1h 30m")
        await form.get_by_label("Data").fill("2 GB")
        await form.get_by_role("button", name="Save and resume").click()
        await expect(page.locator(".head .st")).to_have_text("Pending")
        await expect(page.get_by_label("How far it is")).to_contain_text("of 2.0 GB")
    told = await stage.ask("GET", f"/jobs/{crawl.id}")
    assert told["limits"] == {"pages": 500, "bytes": 2 * 10**9, "duration_s": 5400, "errors": None}


async def test_pace_and_rules_are_changed_while_a_job_runs(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        await menu(page, "Change", "Priority and pace")
        form = page.get_by_role("dialog", name="Priority and pace")
        await form.get_by_label("Priority").select_option("high")
        await form.get_by_label("Delay").fill("2s")
        await form.get_by_role("button", name="Save").click()
        await expect(page.locator(".dots")).to_contain_text("high priority")
        await menu(page, "Change", "Name, tags, patterns")
        form = page.get_by_role("dialog", name="Name, tags, patterns")
        await form.get_by_label("Name").fill("Other docs")
        await form.get_by_label("No URLs like these").fill("*/print/*\n*.zip")
        await form.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Other docs")
    told = await stage.ask("GET", f"/jobs/{crawl.id}")
    assert (told["priority"], told["spec"]["delay_s"]) == ("high", 2)
    assert told["spec"]["exclude"] == ["*/print/*", "*.zip"]


async def test_what_somebody_else_changed_meanwhile_is_told_and_kept(stage: Stage) -> None:
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
    told = await stage.ask("GET", f"/jobs/{crawl.id}")
    assert (told["limits"]["pages"], told["limits"]["errors"]) == (200, 9)


async def test_an_exclusion_tells_what_goes_before_it_goes(stage: Stage) -> None:
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


async def test_a_kind_of_errors_is_kept_out_by_a_pattern_like_its_first_sample(
    stage: Stage,
) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}/errors") as page:
        rows = page.get_by_role("table", name="Errors by kind").locator("tbody tr:visible")
        await rows.filter(has_text="timeout").get_by_role("button", name="Exclude").click()
        form = page.get_by_role("dialog", name="Exclude URLs")
        await expect(form.get_by_label("Pattern")).to_have_value(f"https://{HOST}/slow/0")


async def test_a_job_becomes_a_template_and_is_copied(stage: Stage) -> None:
    crawl = await crawled(stage, limits={"pages": 100})
    async with stage.context(permissions=["clipboard-read", "clipboard-write"]) as context:
        page = await context.new_page()
        await page.goto(f"/jobs/{crawl.id}")
        copied = {}
        for item in ("as command line", "as curl", "its settings as JSON", "its id"):
            await page.locator(".acts summary").last.click()
            await page.get_by_role("button", name=f"Copy {item}").click()
            await expect(toast(page)).to_contain_text("copied")
            copied[item] = await page.evaluate("() => navigator.clipboard.readText()")
            await toast(page).get_by_role("button").click()
        assert copied["its id"] == crawl.id
        assert copied["as command line"] == f"crawlyard jobs watch {crawl.id}"
        assert f"/api/v1/jobs/{crawl.id}" in copied["as curl"]
        own = json.loads(copied["its settings as JSON"])
        assert (own["name"], own["limits"]["pages"]) == ("Docs of the yard", 100)
        assert "scope" not in own

        await page.locator(".acts summary").last.click()
        await page.get_by_role("button", name="Save as template").click()
        await page.get_by_role("dialog").get_by_label("Name").fill("made of a job")
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{stage.base}/templates/*")
    [made] = (await stage.ask("GET", "/templates?q=made of a job"))["items"]
    assert made["spec"]["limits"]["pages"] == 100
    assert "delay_s" not in made["spec"]


async def test_a_job_is_deleted_once_it_was_said_what_goes(stage: Stage) -> None:
    crawl = await crawled(stage)
    await settled(stage, crawl.claim)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        await page.locator(".acts summary").last.click()
        await page.get_by_role("button", name="Delete").click()
        asked = page.get_by_role("dialog", name="Delete this job?")
        await expect(asked).to_contain_text("Its 32 pages")
        await expect(asked).to_contain_text("75 URLs")
        await asked.get_by_role("button", name="Delete for good").click()
        await page.wait_for_url(f"{stage.base}/jobs")


async def test_what_the_server_refuses_is_said(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        await expect(button(page, "Pause")).to_be_visible()
        await page.route("**/pause", lambda route: route.abort())
        await button(page, "Pause").click()
        await expect(toast(page)).to_contain_text("the server does not answer")
        await expect(page.locator(".head .st")).to_have_text("Running")


async def test_a_viewer_sees_the_same_and_that_he_may_not_act(stage: Stage) -> None:
    await stage.user("vera")
    crawl = await crawled(stage, by="vera")
    await stage.site.users.update(LOCAL, "vera", role=Role.VIEWER)
    async with stage.page(f"/jobs/{crawl.id}", by="vera") as page:
        await expect(page.get_by_label("How far it is")).to_contain_text("35 / 75")
        for name in ("Pause", "Cancel"):
            await expect(button(page, name)).to_be_disabled()
            await expect(button(page, name)).to_have_attribute(
                "title", re.compile("may not do this")
            )
        await page.keyboard.press("p")
        await tab(page, "Pages 32").click()
        await expect(page.get_by_role("table", name="Pages").locator("tbody tr")).to_have_count(35)
    assert await state_of(stage, crawl) == "running"


# --- for everybody


@pytest.mark.parametrize("dark", [False, True])
async def test_all_tabs_are_accessible(stage: Stage, dark: bool) -> None:
    crawl = await crawled(stage)
    await settled(stage, crawl.claim, Move.FAIL, StateReason.START_FAILED, "no answer")
    async with stage.page(f"/jobs/{crawl.id}", dark=dark, bypass_csp=True) as page:
        for name in TABS:
            await turned(page, name)
            assert await faults_of(page) == [], name
        await turned(page, "Pages")
        await page.get_by_role("link", name="part 1", exact=False).first.click()
        await expect(page.locator("#preview")).to_be_visible()
        assert await faults_of(page) == []
        await page.keyboard.press("Escape")
        await menu(page, "Change", "Name, tags")
        assert await faults_of(page) == []


async def test_all_tabs_fit_a_phone(stage: Stage) -> None:
    name = "A job with a long name, 価格の監視 and_a_word_that_is_far_too_long_for_any_phone_at_all"
    crawl = await crawled(stage, name=name)
    await stage.ask("POST", f"/jobs/{crawl.id}/pause", {"reason": "moving house"})
    async with stage.page(f"/jobs/{crawl.id}", size=NARROW) as page:
        for name in TABS:
            await turned(page, name)
            assert await overflow_of(page) == 0, name
            await expect(tab(page, name)).to_be_in_viewport()


# --- a job that really runs


async def test_a_crawl_is_watched_paused_given_more_and_completed(
    browser: Browser, tmp_path: Path
) -> None:
    links = {f"/{n}": [f"/{n + 1}", f"/{n + 2}"] for n in range(150)} | {"/150": [], "/151": []}
    async with (
        SiteServer(GraphSite(links)) as server,
        a_stage(tmp_path, browser, works=("worker",)) as stage,
    ):
        await stage.ask("PUT", "/settings/grants", {"addresses": True})
        job = await stage.job(
            urls=[f"{server.url}/0"],
            allow_addresses=["127.0.0.1"],
            delay_s=0.05,
            limits={"pages": 50},
        )
        async with stage.page(f"/jobs/{job['id']}") as page:
            is_, far = page.locator(".head .st"), page.get_by_label("How far it is")
            await expect(is_).to_have_text("Running")
            await expect(far).to_contain_text(re.compile(r"Done / found([5-9]|1\d) / "))
            await page.keyboard.press("p")
            await expect(is_).to_have_text("Paused")
            await expect(page.locator(".banner:visible")).to_contain_text("cancelled by itself in")

            await button(page, "Resume").click()
            await expect(is_).to_have_text("Completed", timeout=15_000)
            banner = page.locator(".banner:visible")
            await expect(banner).to_contain_text("Stopped by its page limit")
            await banner.get_by_role("button", name="Raise it and resume").click()
            form = page.get_by_role("dialog", name="Limits")
            await form.get_by_label("Pages").fill("")
            await form.get_by_role("button", name="Save and resume").click()
            await expect(is_).to_have_text("Running")
            await expect(is_).to_have_text("Completed", timeout=20_000)
            await expect(far).to_contain_text("100.0 %")
            await expect(far).to_contain_text("152 / 152")
            await expect(page.locator("#timeline li").last).to_contain_text("Exhausted")
            await expect(page.locator("#timeline li")).to_have_count(9)
            await turned(page, "Pages")
    assert refetched(server.hits) == {}
