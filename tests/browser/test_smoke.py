"""The dashboard in a browser, in short: every page opens, and a crawl is started and watched."""

from collections import Counter
from pathlib import Path

from playwright.async_api import Browser, expect

from crawlyard.demo.server import SiteServer
from crawlyard.web.pages import PAGES, POLICY
from tests.browser.rig import Stage, a_stage
from tests.site import GraphSite


async def test_every_page_has_one_heading_and_a_strict_policy(stage: Stage) -> None:
    job = await stage.job()
    async with stage.context() as context:
        page = await context.new_page()
        for path in sorted({page.path for page in PAGES}):
            url = path.format(
                job=job["id"],
                tab="pages",
                page="1",
                section="tokens",
                schedule="none",
                template="none",
            )
            answer = await page.goto(url)
            assert answer is not None, path
            assert answer.status == 200, path
            assert answer.headers["content-security-policy"] == POLICY, path
            await expect(page.get_by_role("heading", level=1), path).to_have_count(1)
            await expect(page.locator("#live"), path).to_have_text("Live")
            ids = await page.locator("[id]").evaluate_all("(found) => found.map((el) => el.id)")
            assert [name for name, times in Counter(ids).items() if times > 1] == [], path


async def test_a_crawl_is_started_by_the_form_and_watched_to_its_end(
    browser: Browser, tmp_path: Path
) -> None:
    links = {f"/{n}": [f"/{n + 1}"] for n in range(20)} | {"/20": []}
    async with (
        SiteServer(GraphSite(links)) as server,
        a_stage(tmp_path, browser, works=("worker",)) as stage,
    ):
        await stage.ask("PUT", "/settings/grants", {"addresses": True, "private": True})
        async with stage.page("/") as page:
            await expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
            await expect(page.locator("#live")).to_have_text("Live")

            await page.goto("/jobs/new")
            await page.locator("summary").get_by_text("Access", exact=True).click()
            await page.get_by_label("Allow all private addresses").select_option("Yes")
            await page.get_by_label("What do you want to crawl?").fill(f"{server.url}/0")
            await page.locator("summary").get_by_text("Job", exact=True).click()
            await page.get_by_label("Job name").fill("A chain of pages")
            await page.get_by_role("button", name="Start crawl").click()
            await expect(page.get_by_role("heading", level=1)).to_have_text("A chain of pages")
            await expect(page.locator(".head .pill")).to_have_text("Completed", timeout=60_000)
            await expect(page.get_by_label("Progress", exact=True)).to_contain_text(
                "All 21 URLs are done"
            )
