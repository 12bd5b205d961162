"""Templates: found, made, changed, compared with what they were, shared."""

import json
from pathlib import Path

import pytest
from playwright.async_api import expect

from crawlyard.core.access.user import Role
from tests.browser.looking import faults_of, overflow_of
from tests.browser.rig import NARROW, Stage

SPEC = {"urls": ["https://docs.example.org/"], "limits": {"pages": 10}}
HOSTILE = "<img src=x onerror=alert(1)>"


async def test_a_template_is_made_changed_and_restored(stage: Stage) -> None:
    async with stage.page("/templates/new") as page:
        await page.get_by_label("Name").fill("docs")
        await page.get_by_label("Spec, as JSON").fill("{urls")
        await page.get_by_role("button", name="Make the template").click()
        await expect(page.locator("#spec")).to_have_attribute("aria-invalid", "true")
        await page.get_by_label("Spec, as JSON").fill(json.dumps(SPEC | {"limits": {"page": 1}}))
        await page.get_by_role("button", name="Make the template").click()
        await expect(page.locator("#spec ~ .error")).to_contain_text("limits.page")
        await page.get_by_label("Spec, as JSON").fill(json.dumps(SPEC))
        await page.get_by_role("button", name="Make the template").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("docs")

        changed = SPEC | {"limits": {"pages": 99}}
        await page.get_by_label("Spec, as JSON").fill(json.dumps(changed))
        await page.get_by_role("button", name="Save a new version").click()
        await expect(page.get_by_text("v2", exact=True)).to_be_visible()
        assert (await stage.ask("GET", "/templates/docs"))["spec"] == changed

        await page.get_by_role("button", name="What version 2 changed").click()
        await expect(page.locator("#ask tbody tr")).to_have_count(1)
        await expect(page.locator("#ask tbody")).to_have_text("limits.pages1099")
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Restore version 1").click()
        await expect(page.get_by_text("v3", exact=True)).to_be_visible()
        assert (await stage.ask("GET", "/templates/docs"))["spec"] == SPEC


async def test_what_somebody_else_has_changed_is_not_overwritten(stage: Stage) -> None:
    made = await stage.ask("POST", "/templates", {"name": "shared", "spec": SPEC})
    async with stage.page(f"/templates/{made['id']}") as page:
        await expect(page.get_by_label("Description")).to_have_value("")
        await page.get_by_label("Description").fill("mine")
        await stage.ask("PATCH", f"/templates/{made['id']}", {"description": "theirs"})
        await expect(page.get_by_text("v2", exact=True)).to_be_visible()
        await page.get_by_role("button", name="Save a new version").click()
        await expect(page.locator("#stale")).to_be_visible()
        await expect(page.get_by_label("Description")).to_have_value("mine")
        kept = await stage.ask("GET", f"/templates/{made['id']}")
        assert kept["description"] == "theirs"


async def test_publishing_takes_secrets_out_and_others_see_it_then(stage: Stage) -> None:
    spec = SPEC | {"headers": {"Authorization": "Bearer hidden"}}
    made = await stage.ask("POST", "/templates", {"name": HOSTILE, "spec": spec})
    await stage.user("mara")
    async with stage.page(f"/templates/{made['id']}", by="mara") as page:
        await expect(page.get_by_role("heading", level=1)).to_have_text("No such template")
    async with stage.page(f"/templates/{made['id']}") as page:
        await page.get_by_role("button", name="Make public").click()
        await page.get_by_role("button", name="Make it public").click()
        await expect(page.locator("#toasts")).to_contain_text("headers")
        await expect(page.locator("main .st").first).to_have_text("Public")
    async with stage.page("/templates", by="mara") as page:
        row = page.get_by_role("row").filter(has_text=HOSTILE)
        await expect(row).to_contain_text("Public")
        await row.get_by_role("button", name="Duplicate").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("copy")


async def test_publishing_asks_about_the_schedules_that_keep_secrets(stage: Stage) -> None:
    spec = SPEC | {"headers": {"Authorization": "Bearer {{token}}"}}
    parameters = {"token": {"default": "hidden"}}
    asked = {"name": "secretive", "spec": spec, "parameters": parameters}
    made = await stage.ask("POST", "/templates", asked)
    schedule = {"name": HOSTILE, "when": "0 3 * * *", "template": made["id"]}
    await stage.ask("POST", "/schedules", schedule)
    async with stage.page(f"/templates/{made['id']}") as page:
        await page.get_by_role("button", name="Make public").click()
        await page.get_by_role("button", name="Make it public").click()
        await expect(page.locator("#ask li")).to_have_text(f"{HOSTILE} (params.token)")
        await page.get_by_role("button", name="Back").click()
        assert (await stage.ask("GET", f"/templates/{made['id']}"))["public"] is False

        await page.get_by_role("button", name="Make public").click()
        await page.get_by_role("button", name="Make it public").click()
        await page.get_by_role("button", name="Keep them").click()
        await expect(page.locator("main .st").first).to_have_text("Public")


async def test_one_that_a_schedule_uses_is_not_deleted_and_says_by_which(stage: Stage) -> None:
    made = await stage.ask("POST", "/templates", {"name": "used", "spec": SPEC})
    asked = {"name": "Nightly", "when": "0 3 * * *", "template": made["id"]}
    await stage.ask("POST", "/schedules", asked)
    async with stage.page(f"/templates/{made['id']}") as page:
        await expect(page.locator("#used")).to_contain_text("Nightly")
        await page.get_by_role("button", name="Delete…").click()
        await page.locator("#ask").get_by_role("button", name="Delete").click()
        await expect(page.locator("#toasts")).to_contain_text("Nightly")


async def test_a_file_is_imported(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "news.yaml"
    file.write_text("name: imported news\nspec:\n  urls: [https://news.example.org/]\n")
    async with stage.page("/templates") as page:
        await page.get_by_label("File of a template").set_input_files(file)
        await expect(page.get_by_role("heading", level=1)).to_have_text("imported news")


async def test_a_viewer_sees_templates_and_changes_none(stage: Stage) -> None:
    made = await stage.ask("POST", "/templates", {"name": "open", "spec": SPEC})
    await stage.ask("POST", f"/templates/{made['id']}/publish", {})
    await stage.user("vic", Role.VIEWER)
    async with stage.page(f"/templates/{made['id']}", by="vic") as page:
        await expect(page.get_by_role("heading", level=1)).to_have_text("open")
        for name in ("Duplicate", "Save a new version", "Delete…", "Make private"):
            await expect(page.get_by_role("button", name=name)).to_be_disabled()


@pytest.mark.parametrize("path", ["/templates", "/templates/new", "/templates/{id}"])
@pytest.mark.parametrize("dark", [False, True])
async def test_all_pages_are_accessible_and_fit_a_phone(
    stage: Stage, path: str, dark: bool
) -> None:
    named = {"name": f"a long name of a template {len(path)} {dark} " + "long" * 9, "spec": SPEC}
    made = await stage.ask("POST", "/templates", named)
    address = path.format(id=made["id"])
    async with stage.page(address, dark=dark, bypass_csp=True) as page:
        await expect(page.locator("#live")).to_have_text("Live")
        assert await faults_of(page) == []
    async with stage.page(address, size=NARROW) as page:
        await expect(page.locator("#live")).to_have_attribute("data-is", "live")
        assert await overflow_of(page) == 0
