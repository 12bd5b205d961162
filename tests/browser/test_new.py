"""A new crawl: asked for by a form, looked at before it begins, and started."""

import json
import re
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from crawlyard.core.access.user import Role
from crawlyard.demo.server import SiteServer
from tests.browser.looking import faults_of, overflow_of
from tests.browser.rig import NARROW, Stage, a_stage
from tests.site import GraphSite, served_elsewhere

STARTS = "What do you want to crawl?"
SITE = GraphSite({"/": ["/a", "/b"], "/a": [], "/b": []})


@pytest_asyncio.fixture(loop_scope="session")
async def site() -> AsyncIterator[str]:
    """The URL of a site of three pages."""
    async with SiteServer(SITE) as server:
        yield server.url


async def granted(stage: Stage) -> None:
    """Let jobs ask for addresses of this machine."""
    await stage.ask("PUT", "/settings/grants", {"addresses": True, "private": True})


async def unfolded(page: Page, group: str) -> None:
    """Open a group of the form."""
    await page.locator("summary").get_by_text(group, exact=True).click()


async def opened(page: Page) -> None:
    """Open the addresses of this machine."""
    await unfolded(page, "Access")
    await page.get_by_label("Allow all private addresses").select_option("Yes")


async def test_a_session_of_ones_own_is_offered(stage: Stage) -> None:
    session = {"kind": "bearer", "url": "https://ci.example.net/", "secret": "t"}
    await stage.ask("PUT", "/sessions/build-logs", session)
    async with stage.page("/jobs/new") as page:
        await unfolded(page, "Access")
        await page.get_by_label("Session").focus()
        offered = page.locator("#own-sessions option")
        await expect(offered).to_have_attribute("value", "build-logs")
        await expect(page.get_by_label("Session")).to_have_attribute("list", "own-sessions")


async def test_a_crawl_is_estimated_on_request_and_started(stage: Stage) -> None:
    await granted(stage)
    async with served_elsewhere("--pages", "60") as site, stage.page("/jobs/new") as page:
        requests: list[str] = []
        page.on("request", lambda sent: requests.append(sent.url))
        await opened(page)
        await page.get_by_label(STARTS).fill(site)
        await page.get_by_label("Pages", exact=True).fill("20k")
        await page.get_by_label("Running time").fill("10s")
        await page.get_by_label("Exclude URLs matching").fill("*/b")
        await page.get_by_label("URLs to try").fill(f"{site}a\n{site}b")
        scope = page.locator("summary").filter(has_text="Limits")
        await expect(scope).to_contain_text("Pages: 20k · Running time: 10s")
        assert not any("preview" in url for url in requests)  # no host is asked before

        await page.get_by_role("button", name="Estimate").click()
        await expect(page.locator("#seen .fig")).to_have_text("≈ 60 pages")
        await expect(page.locator("#seen")).to_contain_text("30 s, data unknown · by the sitemaps")
        meters = page.locator(".meter")
        await expect(meters.nth(0)).to_contain_text("60 of 20,000")
        await expect(meters.nth(1)).to_contain_text("30 s of 10 s")
        await expect(meters.nth(2)).to_contain_text("unknown")
        await expect(page.locator("#seen")).to_contain_text("Yes: running time.")
        await expect(page.locator("#origins")).to_contain_text("Allows", ignore_case=True)
        await expect(page.locator("#sitemaps-seen li")).to_contain_text("60 URLs")
        tested = page.locator("#tested li")
        await expect(tested.nth(0)).to_contain_text("in")
        await expect(tested.nth(1)).to_contain_text("*/b")
        await unfolded(page, "Job")
        await page.get_by_label("Job name").fill("Sixty pages")
        await expect(page.locator("#checked")).to_contain_text("Estimate again")

        await page.get_by_role("button", name="Start crawl").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Sixty pages")
        job = await stage.ask("GET", f"/jobs/{page.url.rpartition('/')[2]}")
        assert (job["spec"]["limits"]["pages"], job["spec"]["exclude"]) == (20_000, ["*/b"])


async def test_https_is_assumed_and_each_line_is_a_start_url(stage: Stage) -> None:
    async with stage.page("/jobs/new") as page:
        await page.get_by_label(STARTS).fill("docs.example.org")
        await page.keyboard.press("Shift+Enter")
        await page.keyboard.type("example.org/docs")
        await page.keyboard.press("Enter")
        await expect(page.locator("h1")).to_have_text("docs.example.org")
        job = await stage.ask("GET", f"/jobs/{page.url.rpartition('/')[2]}")
        assert job["spec"]["urls"] == ["https://docs.example.org", "https://example.org/docs"]


async def test_a_private_address_is_opened_right_there_by_who_may(
    browser: Browser, tmp_path: Path, site: str
) -> None:
    async with a_stage(tmp_path, browser) as stage:
        await stage.user("mara", Role.ADMIN)
        await stage.user("devi")
        for by, hint in (("devi", "Ask mara."), ("mara", "You are an admin")):
            async with stage.page("/jobs/new", by) as page:
                await page.get_by_label(STARTS).fill(site)
                await page.get_by_role("button", name="Start crawl").click()
                refused = page.locator("#refused")
                await expect(refused).to_contain_text("127.0.0.1 is loopback")
                await expect(refused).to_contain_text(hint)
                allow = page.get_by_role("button", name="for this crawl")
                if by == "devi":
                    await expect(allow).to_be_hidden()
                    continue
                await allow.click()
                await page.get_by_role("button", name="Estimate").click()
                await expect(page.locator("#origins")).to_contain_text("Allows", ignore_case=True)
                await page.get_by_role("button", name="Start crawl").click()
                await expect(page.get_by_label("Progress", exact=True)).to_be_visible()
                job = await stage.ask("GET", f"/jobs/{page.url.rpartition('/')[2]}")
        host = site.removeprefix("http://").strip("/")
        assert (job["owner"], job["spec"]["allow_addresses"]) == ("mara", [host])
        assert job["spec"]["allow_private"] is False


async def test_a_job_with_the_same_unique_key_is_linked_instead_of_started(stage: Stage) -> None:
    job = await stage.job(unique_key="report")
    before = await stage.ask("GET", "/jobs?fields=id")
    async with stage.page("/jobs/new") as page:
        await page.get_by_label(STARTS).fill("docs.example.org")
        await unfolded(page, "Job")
        await page.get_by_label("Unique key").fill("report")
        await page.get_by_role("button", name="Start crawl").click()
        await expect(page.locator("#exists")).to_contain_text("already exists")
        await page.get_by_role("link", name="Open that job").click()
        await expect(page).to_have_url(re.compile(f"/jobs/{job['id']}$"))
    assert await stage.ask("GET", "/jobs?fields=id") == before


async def test_what_cannot_be_is_said_at_its_field(stage: Stage) -> None:
    async with stage.page("/jobs/new") as page:
        await page.get_by_label(STARTS).fill("ftp://example.org/")
        await page.get_by_role("button", name="Start crawl").click()
        await expect(page.locator("#urls")).to_have_attribute("aria-invalid", "true")
        await expect(page.locator("#urls ~ .error")).to_contain_text("ftp://example.org/")


async def test_a_webhook_of_the_job_has_events_and_metadata(stage: Stage) -> None:
    async with stage.page("/jobs/new") as page:
        await page.get_by_label(STARTS).fill("docs.example.org")
        await unfolded(page, "Job")
        hooks = page.get_by_label("Webhooks")
        await hooks.fill('https://1.1.1.1/done job.completed {"build": 42')
        await page.get_by_role("button", name="Start crawl").click()
        await expect(hooks).to_have_attribute("aria-invalid", "true")
        await hooks.fill('https://1.1.1.1/done job.completed {"build": 42}\nhttps://1.1.1.1/all')
        await page.get_by_role("button", name="Start crawl").click()
        await expect(page).to_have_url(re.compile(r"/jobs/[0-9a-f-]{36}$"))
        job_id = page.url.rpartition("/")[2]
        await page.goto(f"/jobs/{job_id}/settings")
        table = page.get_by_role("table", name="Webhooks of this job")
        row = table.get_by_role("row").filter(has_text="https://1.1.1.1/done")
        await expect(row).to_contain_text('{"build":42}')
        await expect(table.get_by_role("row")).to_have_count(3)
    job = await stage.ask("GET", f"/jobs/{job_id}?fields=spec.webhooks")
    first, second = job["spec"]["webhooks"]
    assert (first["events"], first["metadata"]) == (["job.completed"], {"build": 42})
    assert second["events"] == ["job.completed", "job.failed", "job.cancelled"]


async def test_the_command_that_is_copied_makes_the_same_job(stage: Stage) -> None:
    async with stage.context(permissions=["clipboard-read", "clipboard-write"]) as context:
        page = await context.new_page()
        await page.route("**/api/v1/templates?*", lambda route: route.abort())
        await page.goto("/jobs/new?url=https://docs.example.org/a'b")
        await unfolded(page, "Job")
        await page.get_by_label("Tags", exact=True).fill("docs nightly")
        await page.get_by_label("Running time").fill("2h")
        await page.get_by_label("Exclude URLs matching").fill("*/print/*\nre:[0-9]+ $")
        await page.get_by_role("button", name="Copy as command").click()
        command = shlex.split(await page.evaluate("() => navigator.clipboard.readText()"))
        assert command == [
            *("crawlyard", "crawl", "-d", "https://docs.example.org/a'b"),
            *("--exclude", "*/print/*", "--exclude", "re:[0-9]+ $", "--max-duration", "2h"),
            *("--tag", "docs", "--tag", "nightly"),
        ]
        await page.get_by_role("button", name="Copy as curl").click()
        curl = shlex.split(await page.evaluate("() => navigator.clipboard.readText()"))
        body = json.loads(curl[curl.index("-d") + 1])
        assert curl[-1] == f"{stage.base}/api/v1/jobs"
        job = await stage.ask("POST", "/jobs", body)
        assert job["spec"]["limits"]["duration_s"] == 7200


async def test_a_template_form_has_fields_for_its_open_parameters(stage: Stage) -> None:
    spec = {"urls": ["{{start}}"], "limits": {"pages": "{{most}}"}}
    places = {"start": {"type": "url", "required": True}, "most": {"type": "integer", "default": 7}}
    form = {"name": "docs <b>", "spec": spec, "parameters": places}
    template = await stage.ask("POST", "/templates", form)
    async with stage.page(f"/jobs/new?template={template['id']}") as page:
        await expect(page.get_by_label("Template", exact=True)).to_have_value(template["id"])
        await expect(page.get_by_label(STARTS)).to_be_hidden()
        await page.get_by_role("button", name="Start crawl").click()
        await expect(page.locator(".error")).to_contain_text("type url, got none")
        await page.locator("#params input").first.fill("https://docs.example.org/")
        await page.get_by_role("button", name="Start crawl").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("docs.example.org")
        job = await stage.ask("GET", f"/jobs/{page.url.rpartition('/')[2]}")
        assert (job["spec"]["limits"]["pages"], job["origin"]["template_id"]) == (7, template["id"])


async def test_only_what_changed_since_an_earlier_job_is_fetched(
    browser: Browser, tmp_path: Path
) -> None:
    async with (
        served_elsewhere("--pages", "10", "--plain") as site,
        a_stage(tmp_path, browser, works=("worker",)) as stage,
    ):
        await granted(stage)
        first = await stage.job(urls=[site], allow_private=True, delay_s=0, name="before")
        async with stage.page(f"/jobs/{first['id']}") as page:
            await expect(page.locator("#job .pill").first).to_have_text("Completed")
        async with stage.page("/jobs/new") as page:
            await opened(page)
            await page.get_by_label(STARTS).fill(site)
            await unfolded(page, "Recrawl")
            await page.get_by_label("Only what changed since").focus()
            offered = page.locator("#earlier option")
            await expect(offered).to_have_count(1)
            await expect(offered).to_contain_text("before")
            await page.get_by_label("Only what changed since").fill("last")
            await page.get_by_role("button", name="Start crawl").click()
            await expect(page.locator("#since ~ .error")).to_contain_text("the id of a job")
            await page.get_by_label("Only what changed since").fill(first["id"])
            await page.get_by_role("button", name="Start crawl").click()
            await expect(page.locator("#job .pill").first).to_have_text("Completed")
            data = page.locator("dl.stats div").filter(has_text="Data")
            await expect(data).to_contain_text("10 unchanged")
            await expect(data.get_by_text("not requested")).to_be_hidden()


async def test_a_new_job_form_can_be_saved_as_a_template(stage: Stage) -> None:
    async with stage.page("/jobs/new?url=https://docs.example.org/") as page:
        await page.get_by_label("Pages", exact=True).fill("50")
        await page.get_by_role("button", name="Save as template").click()
        await page.get_by_label("Name of the template").fill("kept")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("kept")
        template = await stage.ask("GET", "/templates/kept")
        assert template["spec"] == {"urls": ["https://docs.example.org/"], "limits": {"pages": 50}}


async def test_a_first_crawl_is_started_by_the_keyboard_alone(
    browser: Browser, tmp_path: Path, site: str
) -> None:
    async with a_stage(tmp_path, browser, works=("worker",)) as stage:
        await granted(stage)
        async with stage.page("/workers") as page:
            await page.keyboard.press("n")
            await page.wait_for_url(f"{stage.base}/jobs/new")
            await expect(page.get_by_label(STARTS)).to_be_focused()
            await page.keyboard.type(site)
            await page.locator("summary").filter(has_text="Access").press("Enter")
            await page.get_by_label("Allow all private addresses").press("y")
            await page.get_by_role("button", name="Start crawl").press("Enter")
            await expect(page.locator("#job .pill").first).to_have_text("Completed")


@pytest.mark.parametrize("dark", [False, True])
async def test_the_page_is_accessible_and_fits_a_phone(stage: Stage, dark: bool) -> None:
    async with stage.page("/jobs/new", dark=dark, bypass_csp=True, size=NARROW) as page:
        await expect(page.locator("#live")).to_have_attribute("data-is", "live")
        await page.evaluate(
            "document.querySelectorAll('details').forEach((el) => { el.open = true; })"
        )
        assert await faults_of(page) == []
        assert await overflow_of(page) == 0
