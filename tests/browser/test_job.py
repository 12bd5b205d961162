"""The page of one job: how far it has come, for every reader, and of a job that runs."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from crawlyard.core.jobs.lifecycle import Move, StateReason
from crawlyard.demo.server import SiteServer
from tests.browser.crawls import moved_on, settled
from tests.browser.job_page import HOST, TABS, button, crawled, menu, tab, toast, turned
from tests.browser.looking import faults_of, overflow_of
from tests.browser.rig import NARROW, Stage, a_stage
from tests.site import GraphSite, refetched


async def test_a_running_job_shows_its_progress_and_the_certainty_of_it(stage: Stage) -> None:
    crawl = await crawled(stage, limits={"pages": 320, "duration_s": 7200}, tags=["nightly"])
    async with stage.page(f"/jobs/{crawl.id}") as page:
        await expect(page).to_have_title("Docs of the yard · Crawlyard")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Docs of the yard")
        await expect(page.locator(".head .pill")).to_have_text("Running")
        far = page.get_by_label("Progress", exact=True)
        for text in (
            "35 of 75 found",
            "Still finding new URLs, so the time left is a range.",
            "35 done",
            "5 of them failed",
            "40 in the queue",
            "Nearest limit: 320 pages, 10.0% used",
            "19.5 URLs/s",
            "Running for\n1m 35s",
        ):
            await expect(far).to_contain_text(text, use_inner_text=True)
        await expect(far).to_contain_text(re.compile(r"\d+s . \d+[ms].* left"))
        await expect(far).to_contain_text(re.compile(r"likely done by \d\d:\d\d"))
        ends = "Ends when the queue is empty, or after 320 pages or 2h 00m"
        await expect(page.locator("#timeline li").last).to_have_text(ends)
        bar = page.get_by_role("progressbar", name="Share of found URLs that are done")
        await expect(bar).to_have_attribute("aria-valuenow", "46")
        await expect(page.locator(".dots")).to_contain_text("by local")
        await expect(page.locator(".dots")).to_contain_text("nightly")


async def test_progress_arrives_by_itself(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        far = page.get_by_label("Progress", exact=True)
        await expect(far).to_contain_text("35 of 75 found")
        await expect(page.locator("#live")).to_have_text("Live")
        await moved_on(stage, [crawl.claim], done=20, pages=20, discovered=5)
        await expect(far).to_contain_text("55 of 80 found")


async def test_a_change_elsewhere_is_seen_at_once(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}/history") as page:
        await expect(page.locator("#live")).to_have_text("Live")
        await expect(page.locator("tbody tr")).to_have_count(2)
        await stage.ask("POST", f"/jobs/{crawl.id}/pause", {"reason": "moving house"})
        await expect(page.locator(".head .pill")).to_have_text("Paused")
        await expect(page.locator("tbody tr")).to_have_count(3)
        await stage.ask("POST", f"/jobs/{crawl.id}/cancel")
        await stage.ask("DELETE", f"/jobs/{crawl.id}")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Not found")


async def test_a_paused_job_says_why_and_when_it_is_cancelled_by_itself(stage: Stage) -> None:
    crawl = await crawled(stage)
    await stage.ask("POST", f"/jobs/{crawl.id}/pause", {"reason": "moving house"})
    async with stage.page(f"/jobs/{crawl.id}") as page:
        far = page.get_by_label("Progress", exact=True)
        await expect(far).to_contain_text("Paused at 35 of 75 found")
        await expect(far).to_contain_text("Moving house")
        # the first within half a second of the pause
        pattern = re.compile("cancelled automatically in (7d 0h|6d 23h)")
        await expect(far).to_contain_text(pattern)


async def test_a_waiting_job_says_for_what_and_how_to_help(stage: Stage) -> None:
    waiting = await stage.job()
    later = await stage.job(start_at="2040-01-01T08:00:00Z")
    async with stage.page(f"/jobs/{waiting['id']}") as page:
        far = page.get_by_label("Progress", exact=True)
        await expect(far).to_contain_text("No worker is alive; start one")
        await expect(button(page, "Start now")).to_be_hidden()

        await page.goto(f"/jobs/{later['id']}")
        await expect(far).to_contain_text("Starts in")
        await button(page, "Start now").click()
        await expect(far).not_to_contain_text("Starts in")
        await expect(toast(page)).to_contain_text("It can start now")


async def test_a_job_that_is_not_there_is_said_to_be_so_with_a_way_back(stage: Stage) -> None:
    async with stage.page("/jobs/none/pages") as page:
        await expect(page.get_by_role("heading", level=1)).to_have_text("Not found")
        await page.get_by_role("link", name="All jobs").click()
        await page.wait_for_url(f"{stage.base}/jobs")


async def test_the_origin_of_a_job_is_shown_with_links(stage: Stage) -> None:
    template = await stage.ask(
        "POST", "/templates", {"name": "docs-site", "spec": {"urls": [f"https://{HOST}/"]}}
    )
    job = await stage.job(template="docs-site", urls=[f"https://{HOST}/a"], delay_s=3)
    async with stage.page(f"/jobs/{job['id']}/settings") as page:
        link = page.get_by_role("link", name="template docs-site v1")
        await expect(link).to_have_attribute("href", f"/templates/{template['id']}")
        rows = page.locator("#config tbody tr")
        await expect(rows.filter(has_text="delay_s")).to_contain_text("this job")
        await expect(rows.filter(has_text="delay_s").locator("td").last).to_have_text("0.5")
        await expect(rows.filter(has_text="per_host")).to_contain_text("default")
        await page.get_by_label("Hide defaults").check()
        await expect(rows.filter(has_text="per_host")).to_be_hidden()


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
        await expect(page.locator(".doc")).to_be_visible()
        assert await faults_of(page) == []
        await page.go_back()
        await menu(page, "More", "Name, tags")
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
            is_, far = page.locator(".head .pill"), page.get_by_label("Progress", exact=True)
            await expect(is_).to_have_text("Running")
            await expect(far).to_contain_text(re.compile(r"([5-9]|1\d) of \d+ found"))
            await page.keyboard.press("p")
            await expect(is_).to_have_text("Paused")
            await expect(far).to_contain_text("cancelled automatically in")

            await button(page, "Resume").click()
            await expect(is_).to_have_text("Stopped at its page limit", timeout=60_000)
            await expect(far).to_contain_text(re.compile(r"\d+ of \d+ found"))
            await expect(far).to_contain_text("It reached its page limit of 50 pages.")
            await expect(far.get_by_role("progressbar")).not_to_have_attribute(
                "aria-valuenow", "100"
            )
            await expect(page.locator("#course .limt")).to_have_text("page limit 50")
            await far.get_by_role("button", name="Raise the limit and continue").click()
            form = page.get_by_role("dialog", name="Limits")
            await form.get_by_label("Pages").fill("")
            await form.get_by_role("button", name="Raise and continue").click()
            await expect(is_).to_have_text("Running")
            await expect(is_).to_have_text("Completed", timeout=60_000)
            await expect(far).to_contain_text("All 152 URLs are done")
            await expect(page.locator("#timeline li").last).to_contain_text(
                "Every URL in scope was tried"
            )
            await expect(page.locator("#timeline li")).to_have_count(9)
            for mark in ("paused by local", "resumed by local", "limits changed by local"):
                await expect(page.locator("#rates text", has_text=mark).first).to_be_visible()
            await turned(page, "Pages")
    assert refetched(server.hits) == {}
