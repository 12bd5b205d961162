"""Live parts of a running job: latest pages, and pace per host."""

import re
from datetime import timedelta

from playwright.async_api import expect

from crawlyard.core.hosts.hosts import DelaySource, HostReport
from tests.browser.job_page import HOST, come, crawled, tab
from tests.browser.rig import Stage
from tests.builders_serve import a_report


async def test_the_latest_pages_move_and_hold_still_under_the_pointer(stage: Stage) -> None:
    crawl = await crawled(stage)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        log = page.get_by_role("log", name="Latest pages")
        rows = log.locator("li")
        await expect(rows).to_have_count(8)
        await expect(log).to_have_attribute("aria-live", "off")
        await expect(rows.filter(has_text="/gone/1")).to_contain_text("404")
        await come(stage, crawl, "new/1", bytes=41_000, elapsed_ms=212)
        await expect(rows.first).to_contain_text("/new/1")
        await expect(rows.first).to_contain_text(
            re.compile(r"\d\d:\d\d:\d\d.*200.*41.0 kB.*212 ms")
        )

        await rows.nth(3).hover()
        row_text = await rows.nth(3).text_content()
        await come(stage, crawl, "new/2", "new/3")
        await expect(page.locator("#tail header")).to_contain_text("newer pages wait")
        await expect(rows.nth(3)).to_have_text(row_text or "")
        await page.mouse.move(0, 0)
        await expect(rows.first).to_contain_text("/new/3")
        await rows.first.get_by_role("link").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("new/3")

        await page.go_back()
        await tab(page, "Overview").click()
        await stage.ask("POST", f"/jobs/{crawl.id}/cancel")
        await expect(log).to_be_hidden()


async def test_pace_per_host_shows_the_delay_its_source_and_why_it_waits(stage: Stage) -> None:
    crawl = await crawled(stage)
    now = stage.yard.clock.now()
    slow = HostReport(
        host=HOST,
        in_flight=1,
        at_once=2,
        delay_s=0.05,
        delay_from=DelaySource.ROBOTS,
        waiting=38,
        queues={crawl.id: 38},
        jobs=(crawl.id,),
    )
    held_host = HostReport(
        host="cdn.example.org",
        at_once=2,
        held_until=now + timedelta(hours=1),
        refusals=3,
        waiting=2,
        queues={crawl.id: 2},
        jobs=(crawl.id,),
    )
    report = a_report(id="w1", beat_at=now + timedelta(hours=1), hosts=(held_host, slow))
    await stage.yard.store.workers.save_heartbeat(report)
    async with stage.page(f"/jobs/{crawl.id}") as page:
        hosts = page.locator("#pace-now li")
        await expect(hosts).to_have_count(2)
        await expect(hosts.first).to_contain_text(f"{HOST}1 of 2 in flight")
        await expect(hosts.first).to_contain_text("every 50 ms, set by robots.txt · 38 waiting")
        await expect(hosts.nth(1)).to_contain_text("backoff after 3 refusals (429 or 503)")
        far = page.get_by_label("Progress", exact=True)
        await expect(far).to_contain_text(re.compile("cdn.example.org waits until"))
        await expect(far).to_contain_text("1 of 4")

        await stage.yard.store.workers.save_heartbeat(
            a_report(id="w1", beat_at=now + timedelta(hours=1), hosts=(slow,))
        )
        await stage.ask("PATCH", f"/jobs/{crawl.id}", {"name": "Slow docs"})
        await expect(far).to_contain_text(
            f"Its rate is limited by the delay at {HOST}: every 50 ms, set by robots.txt."
        )
        await page.get_by_role("button", name="Change pace…").click()
        await expect(page.get_by_role("dialog", name="Priority and pace")).to_be_visible()
