"""Workers and hosts, and what has happened."""

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from crawlyard.demo.server import SiteServer
from tests.browser.looking import faults_of, overflow_of
from tests.browser.rig import NARROW, Stage, a_stage
from tests.site import GraphSite

LONG = GraphSite({"/": [f"/{n}" for n in range(99)], **{f"/{n}": [] for n in range(99)}})


async def test_a_worker_shows_its_slots_and_the_host_that_it_crawls(
    browser: Browser, tmp_path: Path
) -> None:
    works = ("worker",)
    async with SiteServer(LONG) as site, a_stage(tmp_path, browser, works=works) as stage:
        await stage.ask("PUT", "/settings/grants", {"private": True})
        async with stage.page("/workers") as page:
            workers = page.get_by_role("table", name="Workers")
            await expect(workers).to_contain_text("Idle")
            await expect(page.get_by_text("No hosts.")).to_be_visible()

            await stage.job(urls=[site.url], allow_private=True, delay_s=5)
            await expect(workers).to_contain_text("Running")
            hosts = page.get_by_role("table", name="Hosts")
            await expect(hosts).to_contain_text("127.0.0.1")
            await hosts.get_by_role("link").click()
            await page.wait_for_url(f"{stage.base}/jobs?q=host*")


async def test_without_a_worker_the_page_says_what_that_means(stage: Stage) -> None:
    async with stage.page("/workers") as page:
        await expect(page.get_by_text("No worker is running, so jobs wait")).to_be_visible()


async def test_events_are_shown_live_and_filtered(stage: Stage) -> None:
    name = "<img src=x onerror=alert(1)>"
    async with stage.page("/events") as page:
        events = page.get_by_role("table", name="Activity")
        job = await stage.job(name=name)
        row = events.get_by_role("row").filter(has_text=name)
        await expect(row).to_contain_text("Job created")

        await stage.ask("POST", f"/jobs/{job['id']}/cancel", {"reason": "not now"})
        await expect(row.filter(has_text="Job cancelled")).to_contain_text("not now")
        await page.get_by_label("Event type").fill("job.cancelled")
        await expect(events).not_to_contain_text("Job created")
        assert page.url.endswith("/events?type=job.cancelled")

        await page.reload()
        await expect(events).to_contain_text("Job cancelled")
        await expect(events).not_to_contain_text("Job created")
        await events.get_by_role("link").first.click()
        await page.wait_for_url(f"{stage.base}/jobs/*")


async def test_events_that_are_not_followed_stay_as_they_are(stage: Stage) -> None:
    await stage.job()
    async with stage.page("/events") as page:
        events = page.get_by_role("table", name="Activity")
        await expect(events).to_contain_text("Job created")
        await page.get_by_label("Live").uncheck()
        before = await events.inner_text()
        await stage.job(name="Submitted later")
        await expect(page.locator("#n-jobs")).not_to_be_empty()
        assert "Submitted later" not in await events.inner_text()
        await page.get_by_label("Live").check()
        await stage.job()
        await expect(events).not_to_have_text(before)


@pytest.mark.parametrize("path", ["/workers", "/events"])
@pytest.mark.parametrize("dark", [False, True])
async def test_both_pages_are_accessible(stage: Stage, path: str, dark: bool) -> None:
    await stage.job(name="a name that is long " * 8)
    async with stage.page(path, dark=dark, bypass_csp=True) as page:
        await expect(page.locator("#live")).to_have_text("Live")
        assert await faults_of(page) == []


@pytest.mark.parametrize("path", ["/workers", "/events"])
async def test_both_pages_fit_a_phone(stage: Stage, path: str) -> None:
    await stage.job(name="a name that is long " * 8)
    async with stage.page(path, size=NARROW) as page:
        await expect(page.locator("#live")).to_have_attribute("data-is", "live")
        assert await overflow_of(page) == 0
