"""Templates: found, made, changed, compared with what they were, shared."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from crawlyard.core.access.user import Role
from tests.browser.looking import faults_of, overflow_of
from tests.browser.rig import NARROW, Stage

SPEC = {"urls": ["https://docs.example.org/"], "limits": {"pages": 10}}
HOSTILE = "<img src=x onerror=alert(1)>"


async def test_a_template_is_made_changed_and_restored(stage: Stage) -> None:
    async with stage.page("/templates/new") as page:
        create = page.get_by_role("button", name="Create template")
        pages = page.get_by_label("Pages", exact=True)
        await page.get_by_label("Name", exact=True).fill("docs")
        await page.get_by_label("Start URLs").fill("docs.example.org/")
        await unfolded(page, "Limits")
        await pages.fill("many")
        await create.click()
        await expect(pages).to_have_attribute("aria-invalid", "true")
        await pages.fill("10")
        await create.click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("docs")

        changed = SPEC | {"limits": {"pages": 99}}
        await unfolded(page, "Limits")
        await pages.fill("99")
        await page.get_by_role("button", name="Save new version").click()
        await expect(page.get_by_text("v2", exact=True)).to_be_visible()
        assert (await stage.ask("GET", "/templates/docs"))["spec"] == changed

        await page.get_by_role("button", name="Changes in version 2").click()
        await expect(page.locator("#ask tbody tr")).to_have_count(1)
        await expect(page.locator("#ask tbody")).to_have_text("limits.pages1099")
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Restore version 1").click()
        await expect(page.get_by_text("v3", exact=True)).to_be_visible()
        assert (await stage.ask("GET", "/templates/docs"))["spec"] == SPEC


async def unfolded(page: Page, group: str) -> None:
    """Open a group of the form."""
    await page.locator("summary").get_by_text(group, exact=True).click()


async def test_the_form_and_its_yaml_say_the_same_template(stage: Stage) -> None:
    async with stage.page("/templates/new") as page:
        await page.get_by_label("Name", exact=True).fill("shop")
        await page.get_by_role("button", name="Add a field").click()
        row = page.locator(".parameter").first
        await row.get_by_label("Name").fill("html")
        await row.get_by_label("Kind").select_option("Boolean")
        await row.get_by_label("Default").fill("true")
        await page.get_by_label("Start URLs").fill("shop.example.org")
        await unfolded(page, "Output")
        await page.get_by_label("Keep HTML").select_option("{{html}}")
        await unfolded(page, "Access")
        headers = "Authorization: Bearer s3cret\nX-A: b: c"
        await page.get_by_label("Headers", exact=True).fill(headers)
        await page.get_by_label("Everyone").check()

        await page.get_by_role("button", name="YAML").click()
        file = page.get_by_label("The template as YAML")
        await expect(file).to_have_value(re.compile("keep_html: '{{html}}'"))
        await expect(file).to_have_value(re.compile("Authorization: Bearer s3cret"))
        yaml_text = await file.input_value()
        await file.fill(yaml_text + "  delay_s: 1m30s\n  nothing: 1\n")
        await page.get_by_role("button", name="Form", exact=True).click()
        await expect(page.locator("#yaml ~ .error")).to_contain_text(
            "nothing: there is no such field"
        )
        await file.fill(yaml_text + "  delay_s: 1m30s\n  exclude:\n  - '*/a, b/*'\n")
        await page.get_by_role("button", name="Form", exact=True).click()
        await expect(page.get_by_label("Exclude URLs matching")).to_have_value("*/a, b/*")
        pace = page.locator("summary").filter(has_text="Pace")
        await expect(pace).to_contain_text("Delay between requests: 1m30s")

        await page.get_by_role("button", name="YAML").click()  # and it is created from there
        await page.get_by_role("button", name="Create template").click()
        await expect(page.locator("main .st").first).to_have_text("Public")
    template = await stage.ask("GET", "/templates/shop")
    assert template["spec"] == {
        "urls": ["https://shop.example.org"],
        "keep_html": "{{html}}",
        "headers": {"X-A": "b: c"},  # published templates have no credentials
        "delay_s": 90,
        "exclude": ["*/a, b/*"],
    }
    assert template["parameters"][0]["default"] is True


async def test_what_somebody_else_has_changed_is_not_overwritten(stage: Stage) -> None:
    template = await stage.ask("POST", "/templates", {"name": "shared", "spec": SPEC})
    async with stage.page(f"/templates/{template['id']}") as page:
        await expect(page.get_by_label("Description", exact=True)).to_have_value("")
        await page.get_by_label("Description", exact=True).fill("mine")
        await stage.ask("PATCH", f"/templates/{template['id']}", {"description": "theirs"})
        await expect(page.get_by_text("v2", exact=True)).to_be_visible()
        await page.get_by_role("button", name="Save new version").click()
        await expect(page.locator("#stale")).to_be_visible()
        await expect(page.get_by_label("Description", exact=True)).to_have_value("mine")
        stored_template = await stage.ask("GET", f"/templates/{template['id']}")
        assert stored_template["description"] == "theirs"


async def test_publishing_takes_secrets_out_and_others_see_it_then(stage: Stage) -> None:
    spec = SPEC | {"headers": {"Authorization": "Bearer hidden"}}
    template = await stage.ask("POST", "/templates", {"name": HOSTILE, "spec": spec})
    await stage.user("mara")
    async with stage.page(f"/templates/{template['id']}", by="mara") as page:
        await expect(page.get_by_role("heading", level=1)).to_have_text("Not found")
    async with stage.page(f"/templates/{template['id']}") as page:
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
    form = {"name": "secretive", "spec": spec, "parameters": parameters}
    template = await stage.ask("POST", "/templates", form)
    schedule = {"name": HOSTILE, "when": "0 3 * * *", "template": template["id"]}
    await stage.ask("POST", "/schedules", schedule)
    async with stage.page(f"/templates/{template['id']}") as page:
        await page.get_by_role("button", name="Make public").click()
        await page.get_by_role("button", name="Make it public").click()
        await expect(page.locator("#ask li")).to_have_text(f"{HOSTILE} (params.token)")
        await page.get_by_role("button", name="Back").click()
        assert (await stage.ask("GET", f"/templates/{template['id']}"))["public"] is False

        await page.get_by_role("button", name="Make public").click()
        await page.get_by_role("button", name="Make it public").click()
        await page.get_by_role("button", name="Keep them").click()
        await expect(page.locator("main .st").first).to_have_text("Public")


async def test_one_that_a_schedule_uses_is_not_deleted_and_says_by_which(stage: Stage) -> None:
    template = await stage.ask("POST", "/templates", {"name": "used", "spec": SPEC})
    form = {"name": "Nightly", "when": "0 3 * * *", "template": template["id"]}
    await stage.ask("POST", "/schedules", form)
    async with stage.page(f"/templates/{template['id']}") as page:
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
    template = await stage.ask("POST", "/templates", {"name": "open", "spec": SPEC})
    await stage.ask("POST", f"/templates/{template['id']}/publish", {})
    await stage.user("vic", Role.VIEWER)
    async with stage.page(f"/templates/{template['id']}", by="vic") as page:
        await expect(page.get_by_role("heading", level=1)).to_have_text("open")
        for name in ("Duplicate", "Save new version", "Delete…", "Make private"):
            await expect(page.get_by_role("button", name=name)).to_be_disabled()


@pytest.mark.parametrize("path", ["/templates", "/templates/new", "/templates/{id}"])
@pytest.mark.parametrize("dark", [False, True])
async def test_all_pages_are_accessible_and_fit_a_phone(
    stage: Stage, path: str, dark: bool
) -> None:
    named = {"name": f"a long name of a template {len(path)} {dark} " + "long" * 9, "spec": SPEC}
    template = await stage.ask("POST", "/templates", named)
    address = path.format(id=template["id"])
    async with stage.page(address, dark=dark, bypass_csp=True) as page:
        await expect(page.locator("#live")).to_have_text("Live")
        assert await faults_of(page) == []
    async with stage.page(address, size=NARROW) as page:
        await expect(page.locator("#live")).to_have_attribute("data-is", "live")
        assert await overflow_of(page) == 0
