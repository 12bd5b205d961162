"""Telling workers to be quiet, go on and stop, and saying how hosts are asked."""

from datetime import timedelta
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from crawlyard.core.access.user import Role
from crawlyard.core.hosts.hosts import HostReport
from crawlyard.core.workers.status import WorkerWish
from tests.browser.crawls import begun, moved_on, settled
from tests.browser.looking import faults_of, overflow_of
from tests.browser.rig import NARROW, Stage, a_stage
from tests.builders_serve import a_report

HOST = "shop.example"


async def reported(stage: Stage, **fields: object) -> None:
    """Let a worker say something of itself, which asks one host; nothing was said of either."""
    await stage.yard.store.workers.forget("w1")
    for rule in await stage.yard.store.host_rules.find("", 10):
        await stage.ask("DELETE", f"/hosts/{rule.host}")
    now = stage.yard.clock.now()
    alive = now + timedelta(minutes=5)  # it sends one heartbeat, however long the test takes
    hosts = (HostReport(host=HOST, in_flight=1, at_once=2, delay_s=0.5),)
    report = a_report(id="w1", beat_at=alive, started_at=now, hosts=hosts, **fields)
    await stage.yard.store.workers.save_heartbeat(report)


async def test_a_worker_is_quiet_resumed_and_stopped(browser: Browser, tmp_path: Path) -> None:
    async with (
        a_stage(tmp_path, browser, works=("worker",)) as stage,
        stage.page("/workers") as page,
    ):
        workers = page.get_by_role("table", name="Workers")
        await expect(workers).to_contain_text("Idle")

        await workers.get_by_role("button", name="claim no more jobs").click()
        await expect(workers).to_contain_text("Draining")
        await workers.get_by_role("button", name="claim jobs again").click()
        await expect(workers).to_contain_text("Idle")

        await workers.get_by_role("button", name="Stop").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("It returns its jobs")
        await dialog.get_by_role("button", name="Back").click()
        await expect(workers).to_contain_text("Idle")
        await workers.get_by_role("button", name="Stop").click()
        await dialog.get_by_role("button", name="Stop it").click()
        await expect(page.get_by_text("No worker is running, so jobs wait")).to_be_visible()


async def test_a_worker_shows_its_tags_and_a_command_it_has_not_received_yet(
    stage: Stage,
) -> None:
    await reported(stage, tags=("browser", "eu"), cpu=0.5)
    async with stage.page("/workers") as page:
        workers = page.get_by_role("table", name="Workers")
        await expect(workers).to_contain_text("browser, eu")
        await expect(workers).to_contain_text("50.0%")

        await workers.get_by_role("button", name="claim no more jobs").click()
        await expect(workers).to_contain_text("Draining")
        assert await stage.yard.store.workers.wish("w1") is WorkerWish.QUIET


async def test_pages_can_be_rendered_where_a_worker_has_a_browser(stage: Stage) -> None:
    job = await stage.job(name="shells")
    [claim] = await moved_on(stage, [await begun(stage, job)], pages=2, needs_scripts=2)
    await settled(stage, claim)
    for browsers in ((), ("lightpanda", "chromium")):
        await reported(stage, browsers=browsers)
        offered = int(bool(browsers))
        async with stage.page("/") as page:
            notice = page.locator("#attention li").filter(has_text="shells: some pages")
            await expect(notice).to_be_visible()
            await expect(notice.get_by_role("link", name="Render them…")).to_have_count(offered)
            await expect(notice.get_by_text("pip install")).to_have_count(1 - offered)
        async with stage.page(f"/jobs/{job['id']}/problems") as page:
            problem = page.locator(".err:visible").filter(has_text="Need scripts")
            await expect(problem).to_be_visible()
            await expect(page.get_by_role("link", name="Problems 2")).to_be_visible()
            await expect(problem.get_by_role("link", name="Render them…")).to_have_count(offered)
            await expect(problem.get_by_text("pip install")).to_have_count(1 - offered)
    async with stage.page("/workers") as page:
        workers = page.get_by_role("table", name="Workers")
        await expect(workers).to_contain_text("renders with lightpanda, chromium")


async def test_a_host_is_slowed_paused_resumed_blocked_and_forgotten(stage: Stage) -> None:
    await reported(stage)
    async with stage.page("/workers") as page:
        hosts, dialog = page.get_by_role("table", name="Hosts"), page.get_by_role("dialog")
        await expect(hosts).to_contain_text("Active")

        await hosts.get_by_role("button", name=f"Set delay and concurrency of {HOST}").click()
        await dialog.get_by_label("Minimum delay between requests").fill("2.5")
        await dialog.get_by_label("Reason").fill("<b>they asked</b>")
        await dialog.get_by_role("button", name="Save").click()
        await expect(hosts).to_contain_text("<b>they asked</b>")
        rule = await stage.yard.store.host_rules.get(HOST)
        assert (rule.delay_s, rule.at_once, rule.note) == (2.5, None, "<b>they asked</b>")

        await hosts.get_by_role("button", name=f"Pause {HOST}").click()
        await dialog.get_by_role("button", name="Pause").click()
        await expect(hosts).to_contain_text("Paused")
        await hosts.get_by_role("button", name=f"Resume {HOST}").click()
        await expect(hosts).to_contain_text("Active")
        await hosts.get_by_role("button", name=f"Block {HOST}").click()
        await dialog.get_by_label("Reason").fill("no more")
        await dialog.get_by_role("button", name="Block").click()
        await expect(hosts).to_contain_text("Blocked")
        await expect(hosts).to_contain_text("no more")
        await hosts.get_by_role("button", name=f"Remove the rule of {HOST}").click()
        await expect(hosts).not_to_contain_text("no more")


async def test_what_makes_no_rule_is_said(stage: Stage) -> None:
    await reported(stage)
    async with stage.page("/workers") as page:
        hosts, dialog = page.get_by_role("table", name="Hosts"), page.get_by_role("dialog")
        await hosts.get_by_role("button", name=f"Set delay and concurrency of {HOST}").click()
        await dialog.get_by_label("Maximum concurrent requests").fill("0")
        await dialog.get_by_role("button", name="Save").click()

        await expect(page.get_by_text("at_once")).to_be_visible()
        assert (await stage.ask("GET", f"/hosts/{HOST}"))["rule"] is None


async def test_a_host_without_requests_shows_a_new_rule_immediately(stage: Stage) -> None:
    async with stage.page("/workers") as page:
        await expect(page.locator("#live")).to_have_text("Live")
        hosts = page.get_by_role("table", name="Hosts")
        await stage.ask("POST", "/hosts/a.example/pause", {"note": "down"})
        await expect(hosts).to_contain_text("Paused")
        await stage.ask("PATCH", "/hosts/b.example", {"delay_s": 2})
        await expect(hosts).to_contain_text("On hold")


async def test_who_is_no_admin_looks_and_changes_nothing(stage: Stage) -> None:
    await stage.user("vera", Role.VIEWER)
    await reported(stage)
    async with stage.page("/workers", by="vera") as page:
        workers = page.get_by_role("table", name="Workers")
        await expect(workers).to_contain_text("Idle")
        buttons = workers.get_by_role("button")
        assert await buttons.count() > 0
        for button in await buttons.all():
            await expect(button).to_be_disabled()


@pytest.mark.parametrize("dark", [False, True])
async def test_the_page_is_accessible_with_workers_and_hosts(stage: Stage, dark: bool) -> None:
    await reported(stage, quiet=True, tags=("browser",))
    await stage.ask("POST", f"/hosts/{HOST}/pause", {"note": "down until Friday " * 8})
    await stage.ask("POST", "/hosts/ads.example/block")
    async with stage.page("/workers", dark=dark, bypass_csp=True) as page:
        await expect(page.get_by_role("table", name="Hosts")).to_contain_text("Blocked")
        assert await faults_of(page) == []


async def test_the_page_fits_a_phone_with_workers_and_hosts(stage: Stage) -> None:
    await reported(stage, tags=("browser", "eu", "a-tag-that-is-long"))
    await stage.ask("POST", f"/hosts/{HOST}/pause", {"note": "down until Friday " * 8})
    async with stage.page("/workers", size=NARROW) as page:
        await expect(page.get_by_role("table", name="Hosts")).to_contain_text("Paused")
        assert await overflow_of(page) == 0
