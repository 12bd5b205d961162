"""What the dashboard costs and how soon it shows: ``python -m bench.dashboard``.

A yard in memory with 200 running jobs, and a browser that looks at their list. It needs
chromium, and the packages of the tests.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from playwright.async_api import Browser, Page, expect
from tests.browser.crawls import begun, moved_on
from tests.browser.rig import Stage, a_browser, a_stage, chromium

from crawlyard.core.jobs.checkpoint import Claim
from crawlyard.web.live import hub

JOBS = 200
HZ = 5
_FIRST_ROW = """
  new MutationObserver((_, observer) => {
    if (!document.querySelector("#jobs tr[data-id]")) return;
    observer.disconnect();
    requestAnimationFrame(() => { document.documentElement.dataset.first = performance.now(); });
  }).observe(document, { subtree: true, childList: true });
"""


async def main(rounds: int, seconds: float) -> None:
    """Measure and print."""
    path = chromium()
    if path is None:
        raise SystemExit("there is no chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        async with a_browser(path) as browser:
            async with a_stage(Path(folder), browser) as stage:
                claims = [await begun(stage, await stage.job(name=f"Job {n}")) for n in range(JOBS)]
                claims = await moved_on(stage, claims, discovered=1_000, done=10)
                await _first_rows(stage, rounds)
                await _load(stage, claims, seconds)
                await _tabs(stage)
            await _restarts(Path(folder), browser, rounds)


async def _first_rows(stage: Stage, rounds: int) -> None:
    """Say how long it takes from asking for the page to its rows, with nothing cached."""
    took = []
    for _ in range(rounds):
        async with stage.context() as context:
            await context.add_init_script(_FIRST_ROW)
            page = await context.new_page()
            await page.goto("/jobs?limit=50")
            html = page.locator("html[data-first]")
            await expect(html).to_have_count(1)
            took.append(float(await html.get_attribute("data-first") or 0))
    said = f"median {statistics.median(took):.0f} ms, {min(took):.0f} to {max(took):.0f}"
    _say(f"first rows, cold: {said} ({rounds} times)")


async def _load(stage: Stage, claims: Sequence[Claim], seconds: float) -> None:
    """Say what of a core the browser takes while all rows change, and while none does."""
    hub.PULSE_EVERY = timedelta(seconds=1 / HZ)  # it is 2 Hz
    async with stage.page("/jobs?limit=200") as page:
        await expect(page.locator("#jobs tr[data-id]")).to_have_count(JOBS)
        still = await _share(page, seconds)
        moving = asyncio.create_task(_move(stage, claims))
        try:
            busy = await _share(page, seconds)
            told = await page.locator("#jobs tr[data-id]").first.inner_text()
        finally:
            moving.cancel()
    _say(f"{JOBS} rows at {HZ} Hz: {busy:.0%} of a core; still: {still:.0%} (row: {told!r})")


async def _move(stage: Stage, claims: Sequence[Claim]) -> None:
    while True:
        began = time.monotonic()
        claims = await moved_on(stage, claims, discovered=3, done=2, pages=2, bytes=9_000)
        await asyncio.sleep(max(0, 1 / HZ - (time.monotonic() - began)))


async def _share(page: Page, seconds: float) -> float:
    """Return the processor time of the browser's page in a second: all of its main thread."""
    session = await page.context.new_cdp_session(page)
    await session.send("Performance.enable")

    async def spent() -> float:
        metrics = (await session.send("Performance.getMetrics"))["metrics"]
        return float({one["name"]: one["value"] for one in metrics}["TaskDuration"])

    before = await spent()
    await asyncio.sleep(seconds)
    return (await spent() - before) / seconds


async def _tabs(stage: Stage) -> None:
    """Say whether eight tabs are live, two more than a browser has connections."""
    async with stage.context() as context:
        pages = [await context.new_page() for _ in range(8)]
        for page in pages:
            await page.goto("/jobs")
        for page in pages:
            await expect(page.locator("#live")).to_have_text("Live")
        _say("8 tabs of one browser are live")


async def _restarts(folder: Path, browser: Browser, rounds: int) -> None:
    """Say how long a page takes to be live again after its server has died and come back."""
    took = []
    for _ in range(rounds):
        async with a_stage(folder, browser) as stage, stage.context() as context:
            port = int(stage.base.rpartition(":")[2])
            state = await context.storage_state()
        async with a_stage(folder, browser, port=port) as stage:
            context = await browser.new_context(base_url=stage.base, storage_state=state)
            page = await context.new_page()
            await page.goto("/jobs")
            await expect(page.locator("#live")).to_have_text("Live")
        await expect(page.locator("#live")).to_have_text("Reconnecting…")
        began = time.monotonic()
        async with a_stage(folder, browser, port=port):
            await expect(page.locator("#live")).to_have_text("Live")
            took.append(time.monotonic() - began)
            await context.close()
    said = f"median {statistics.median(took):.1f} s, at most {max(took):.1f}"
    _say(f"live again after the server's return, its start included: {said}")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - what a benchmark is for


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=10)
    given = parser.parse_args()
    asyncio.run(main(given.rounds, given.seconds))
