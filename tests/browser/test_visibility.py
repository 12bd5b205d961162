"""Jobs and schedules of other users in the dashboard."""

from pathlib import Path

from playwright.async_api import Browser, expect

from crawlyard.core.access.user import Role
from tests.browser.crawls import begun
from tests.browser.rig import Stage, a_stage

URL = "https://docs.example.org/"


async def test_users_see_jobs_and_schedules_of_others_without_what_changes_them(
    browser: Browser, tmp_path: Path
) -> None:
    async with a_stage(tmp_path, browser) as stage:
        await _jobs_of_others(stage)
        assert stage.faults == []


async def _jobs_of_others(stage: Stage) -> None:
    for name, role in (("ada", Role.OPERATOR), ("bob", Role.OPERATOR), ("vera", Role.VIEWER)):
        await stage.user(name, role)
    job = await stage.job("ada", name="Docs of ada")
    await begun(stage, job)
    form = {"name": "Nightly of ada", "when": "@daily", "overrides": {"urls": [URL]}}
    schedule = await stage.ask("POST", "/schedules", form, "ada")
    private = form | {"name": "Secret", "overrides": {"urls": [URL], "shared": "private"}}
    await stage.ask("POST", "/schedules", private, "ada")

    async with stage.page("/", "bob") as page:
        row = page.get_by_role("list", name="Running crawls").get_by_role("listitem")
        await expect(row).to_contain_text("ada")
        await expect(row.get_by_role("button")).to_have_count(0)
        await page.get_by_role("link", name="Jobs", exact=False).first.click()
        await expect(page).to_have_url(f"{stage.base}/jobs?q=owner:me")
        await expect(page.get_by_text("Docs of ada")).to_have_count(0)
        await page.get_by_role("link", name="All", exact=True).click()
        row = page.get_by_role("row").filter(has_text="Docs of ada")
        await expect(row).to_be_visible()
        await expect(row.get_by_role("button", name="Pause")).to_have_count(0)
        await page.goto(f"/jobs/{job['id']}")
        await expect(page.get_by_role("heading", name="Docs of ada")).to_be_visible()
        await expect(page.get_by_role("button", name="Pause")).to_be_hidden()
        await page.goto(f"/schedules/{schedule['id']}")
        await expect(page.get_by_role("heading", name="Nightly of ada")).to_be_visible()
        await expect(page.get_by_role("button", name="Run now")).to_be_hidden()
        await expect(page.get_by_role("link", name="Edit")).to_be_hidden()
        await expect(page.get_by_role("button", name="Save")).to_be_disabled()
    async with stage.page("/schedules", "vera") as page:
        await expect(page.get_by_role("row").filter(has_text="Nightly of ada")).to_be_visible()
        await expect(page.get_by_text("Secret")).to_have_count(0)
        change = {"overrides": {"shared": "private"}}
        await stage.ask("PATCH", f"/schedules/{schedule['id']}", change, "ada")
        await page.reload()
        await expect(page.get_by_text("No schedules yet.")).to_be_visible()
        await page.goto("/jobs")
        await expect(page.get_by_text("Docs of ada")).to_be_visible()
        await stage.ask("PATCH", f"/jobs/{job['id']}", {"shared": "private"}, "ada")
        await expect(page.get_by_text("Docs of ada")).to_have_count(0)
