"""The stream of a browser: one for all its tabs, and back by itself when the server is."""

import asyncio
from pathlib import Path

from playwright.async_api import Browser, Route, expect

from crawlyard.services.operations.bulk import AT_ONCE
from tests.browser.jobs_list import many
from tests.browser.rig import Stage, a_stage

TABS = 8  # a browser has six connections to a server


async def test_eight_tabs_are_live_and_hear_of_the_same_job(stage: Stage) -> None:
    async with stage.context() as context:
        tabs = [await context.new_page() for _ in range(TABS)]
        for tab in tabs:
            await tab.goto("/events")
            await expect(tab.locator("#live")).to_have_text("Live")
        await stage.job(name="Heard by all")
        for tab in tabs:
            await tab.bring_to_front()
            await expect(tab.get_by_role("table")).to_contain_text("Heard by all")

        await tabs[0].close()
        await stage.job(name="Heard without the first")
        for tab in tabs[1:]:
            await tab.bring_to_front()
            await expect(tab.get_by_role("table")).to_contain_text("Heard without the first")


async def test_events_before_the_stream_opens_are_shown(stage: Stage) -> None:
    async with stage.context() as context:
        page = await context.new_page()
        await page.add_init_script("delete globalThis.SharedWorker")  # its requests are not routed
        held_routes: asyncio.Queue[Route] = asyncio.Queue()
        await page.route("**/events/stream*", held_routes.put)
        await page.goto("/events")
        await expect(page.get_by_role("table")).to_contain_text("Token created")
        stream = await held_routes.get()
        await stage.job(name="Before the stream")
        await stream.continue_()
        await expect(page.get_by_role("table")).to_contain_text("Before the stream")


_RESYNC = """async (seq) => {
  const url = new URL("../core/shared.js", document.querySelector("script").src);
  const { port } = new SharedWorker(url, { type: "module" });
  const heard = [];
  port.onmessage = ({ data: [name] }) => heard.push(name);
  port.postMessage({ names: [], seq });
  await new Promise((resolve) => setTimeout(resolve, 500)); // it answers in turn, at once
  port.postMessage("bye");
  return heard.includes("hello") && heard.includes("resync");
}"""


async def test_a_tab_that_read_before_the_last_event_of_the_stream_reads_again(
    stage: Stage,
) -> None:
    async with stage.page("/events") as page:
        await expect(page.locator("#live")).to_have_text("Live")
        await stage.job(name="Heard by the stream")
        await expect(page.get_by_role("table")).to_contain_text("Heard by the stream")
        now = await stage.yard.store.events.last()
        assert await page.evaluate(_RESYNC, now - 1)
        assert not await page.evaluate(_RESYNC, now)


async def test_a_page_is_live_again_when_its_server_is_and_has_missed_nothing(
    browser: Browser, tmp_path: Path
) -> None:
    async with a_stage(tmp_path, browser) as first:
        port = int(first.base.rpartition(":")[2])
        job = await first.job(name="Kept")
        async with first.context() as context:
            signed_in = await context.storage_state()
    context = await browser.new_context(base_url=first.base, storage_state=signed_in)
    try:
        page = await context.new_page()
        async with a_stage(tmp_path, browser, port=port):
            await page.goto("/jobs")
            await expect(page.get_by_role("row").filter(has_text="Kept")).to_have_count(1)
            await expect(page.locator("#live")).to_have_text("Live")
        await expect(page.locator("#live")).to_have_text("Reconnecting…")
        async with a_stage(tmp_path, browser, port=port) as again:
            await expect(page.locator("#live")).to_have_text("Live")
            await again.ask("POST", f"/jobs/{job['id']}/cancel", {})
            await again.job(name="New since then")
            rows = page.get_by_role("row")
            await expect(rows.filter(has_text="Kept")).to_contain_text("Cancelled")
            await expect(rows.filter(has_text="Kept")).to_have_count(1)
            await page.get_by_role("button", name="1 new, show").click()
            await expect(rows.filter(has_text="New since then")).to_have_count(1)
    finally:
        await context.close()


async def test_a_load_error_disappears_once_the_server_is_back(
    browser: Browser, tmp_path: Path
) -> None:
    async with a_stage(tmp_path, browser) as first:
        await first.job(name="So that the yard has trends")
        port = int(first.base.rpartition(":")[2])
        async with first.context() as context:
            signed_in = await context.storage_state()
    context = await browser.new_context(base_url=first.base, storage_state=signed_in)
    try:
        page = await context.new_page()
        async with a_stage(tmp_path, browser, port=port):
            await page.goto("/")
            await expect(page.locator("#live")).to_have_text("Live")
        await page.get_by_role("button", name="7 days").click()  # an answer that cannot come
        notice = page.get_by_text("the server does not respond; try again", exact=True)
        await expect(notice).to_be_visible()
        async with a_stage(tmp_path, browser, port=port):
            await expect(page.locator("#live")).to_have_text("Live")
            await expect(notice).to_have_count(0)
            await expect(page.locator("#unloaded")).to_have_count(0)
    finally:
        await context.close()


async def test_an_operation_that_ended_during_an_outage_is_reported_once(
    browser: Browser, tmp_path: Path
) -> None:
    count = AT_ONCE + 1
    async with a_stage(tmp_path, browser) as first:
        port = int(first.base.rpartition(":")[2])
        await many(first, count)
        body = {"action": "cancel", "filter": {"state": ["pending"]}}
        await first.ask("POST", "/jobs/bulk", body)
        async with first.context() as context:
            signed_in = await context.storage_state()
    context = await browser.new_context(base_url=first.base, storage_state=signed_in)
    try:
        page = await context.new_page()
        async with a_stage(tmp_path, browser, port=port):
            await page.goto("/jobs")
            await expect(page.locator("#operation")).to_be_visible()
        async with a_stage(tmp_path, browser) as elsewhere:
            await elsewhere.site.yard.operations.drain()
        async with a_stage(tmp_path, browser, port=port):
            await expect(page.get_by_text(f"Cancelled: {count} jobs")).to_be_visible()
            await expect(page.locator("#operation")).to_be_hidden()
            await expect(page.locator("#live")).to_have_text("Live")
            await expect(page.locator(".toast")).to_have_count(1)
    finally:
        await context.close()


async def test_what_could_not_be_undone_can_be_tried_again(stage: Stage) -> None:
    job = await stage.job(name="Paused by mistake")
    async with stage.page("/jobs?q=mistake") as page:
        await page.get_by_label("Select all on this page").check()
        bar = page.locator("#bulk")
        await bar.get_by_role("button", name="Pause", exact=True).click()
        await page.route("**/jobs/bulk", lambda route: route.abort())
        undo = page.get_by_role("button", name="Undo", exact=True)
        for _ in range(2):
            async with page.expect_event("requestfailed"):
                await undo.click()
            await expect(undo).to_be_enabled()
            await expect(page.get_by_text("the server does not respond")).to_have_count(1)
        await page.unroute("**/jobs/bulk")
        await undo.click()
        await expect(undo).to_be_hidden()
    assert (await stage.ask("GET", f"/jobs/{job['id']}"))["state"] == "pending"


async def test_an_undo_whose_answer_was_lost_is_not_called_a_failure_when_it_is_repeated(
    stage: Stage,
) -> None:
    job = await stage.job(name="Lost an answer")
    async with stage.page("/jobs?q=answer") as page:
        await page.get_by_label("Select all on this page").check()
        await page.locator("#bulk").get_by_role("button", name="Pause", exact=True).click()

        async def lost(route: Route) -> None:
            await route.fetch()
            await route.abort()

        await page.route("**/jobs/bulk", lost, times=1)
        undo = page.get_by_role("button", name="Undo", exact=True)
        async with page.expect_event("requestfailed"):
            await undo.click()
        await expect(page.get_by_text("the server does not respond")).to_have_count(1)
        await expect(page.locator("tbody tr[data-id]")).to_contain_text("Waiting")

        await undo.click()
        await expect(undo).to_be_hidden()
        await expect(page.get_by_text("Not undone")).to_have_count(0)
    assert (await stage.ask("GET", f"/jobs/{job['id']}"))["state"] == "pending"


_TIMES = """(at) => [0, 1, 2, 3, 4, 5].map((before) =>
  new Date(at - 1000 * before).toLocaleTimeString(undefined, { hourCycle: "h23" }))"""


async def test_what_is_old_is_grey_and_says_of_when_it_is(browser: Browser, tmp_path: Path) -> None:
    async with a_stage(tmp_path, browser) as stage:
        async with stage.context() as context:
            signed_in = await context.storage_state()
        context = await browser.new_context(base_url=stage.base, storage_state=signed_in)
        page = await context.new_page()
        await page.add_init_script("delete globalThis.SharedWorker")  # its clock cannot be set
        await page.clock.install()
        await page.goto("/jobs")
        badge = page.locator("#live")
        await expect(badge).to_have_text("Live")
        data_of = await page.evaluate("Date.now()")
    await expect(badge).to_have_text("Reconnecting…")
    for _ in range(6):  # attempts to reconnect do not make the data any newer
        await expect(page.locator("body.stale")).to_have_count(0)
        async with page.expect_event("requestfailed"):
            await page.clock.run_for(9_000)
    await page.clock.run_for(9_000)
    await expect(badge).to_contain_text("Offline, as of ")
    times = await page.evaluate(_TIMES, data_of)
    assert (await badge.inner_text()).removeprefix("Offline, as of ") in times
    await expect(page.locator("body.stale")).to_have_count(1)
    async with page.expect_event("requestfailed"):
        await page.clock.run_for(2_000)
    await expect(page.locator("body.stale")).to_have_count(1)
    await context.close()
