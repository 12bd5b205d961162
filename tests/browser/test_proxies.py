"""The proxies of a job on its page."""

from pathlib import Path

from playwright.async_api import Browser, expect

from crawlyard.core.access.user import LOCAL
from tests.browser.rig import a_stage

DEAD = "127.0.0.1:9"


async def test_the_page_of_a_job_says_how_its_proxies_do(browser: Browser, tmp_path: Path) -> None:
    settings = {"allow_proxies": (DEAD,)}
    async with a_stage(tmp_path, browser, works=("worker",), settings=settings) as stage:
        job = await stage.job(
            urls=["https://198.41.0.4/"],
            proxies=[f"socks5://me:hunter2@{DEAD}"],
            retry={"attempts": 100, "first_s": 1},
        )
        async with stage.context(LOCAL.id) as context:
            page = await context.new_page()
            await page.goto(f"/jobs/{job['id']}")

            listed = page.locator("#proxies")
            await expect(listed).to_contain_text(f"socks5://{DEAD}")
            await expect(listed).to_contain_text("Paused for another")
            lead = page.get_by_text("Held back: no proxy can be used")
            await expect(lead).to_be_visible()
            assert "hunter2" not in await page.content()
        await stage.ask("POST", f"/jobs/{job['id']}/cancel", {})
