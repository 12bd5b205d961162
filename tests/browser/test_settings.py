"""The settings: tokens, webhooks, users, and what the yard lets crawls do."""

from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, expect

from crawlyard.core.access.user import LOCAL, Role
from crawlyard.services.surface import Surface
from tests.browser.looking import faults_of, overflow_of
from tests.browser.rig import NARROW, Stage, a_stage

SECTIONS = (
    *("profile", "tokens", "triggers", "notifications", "webhooks", "sessions", "limits"),
    *("users", "audit", "system"),
)
SITE = "http://127.0.0.1:9"
HOOK_URL = "http://127.0.0.1:9/hook"


async def test_a_token_is_shown_once_and_revoked_for_good(stage: Stage) -> None:
    async with stage.page("/settings/tokens") as page:
        await page.get_by_label("Name").fill("import <b>")
        await page.get_by_label("Permissions").fill("jobs:read results:read")
        await page.get_by_role("button", name="Create token").click()
        secret = await page.locator("#ask pre").inner_text()
        assert secret.startswith("cyt_")
        await page.get_by_role("button", name="Back").click()
        row = page.get_by_role("row").filter(has_text="import <b>")
        await expect(row).to_contain_text("jobs:read, results:read")
        stage.secrets["import"] = secret
        assert (await stage.ask("GET", "/auth/me", by="import"))["kind"] == "token"

        await row.get_by_role("button", name="Revoke").click()
        await page.locator("#ask").get_by_role("button", name="Revoke").click()
        await expect(row).to_contain_text("Revoked")
        with pytest.raises(AssertionError, match="401"):
            await stage.ask("GET", "/auth/me", by="import")


async def test_what_a_token_may_not_be_good_for_is_said_at_its_field(stage: Stage) -> None:
    async with stage.page("/settings/tokens") as page:
        await page.get_by_label("Name").fill("odd")
        await page.get_by_label("Permissions").fill("jobs:steal")
        await page.get_by_role("button", name="Create token").click()
        scopes = page.get_by_label("Permissions")
        await expect(scopes).to_have_attribute("aria-invalid", "true")
        await expect(page.locator(".error")).to_contain_text("jobs:steal")


async def test_the_url_of_a_trigger_is_shown_once_and_starts_a_crawl_until_revoked(
    stage: Stage,
) -> None:
    parameters = [{"name": "start", "type": "url"}]
    template = {"name": "docs", "spec": {"urls": ["{{start}}"]}, "parameters": parameters}
    await stage.ask("POST", "/templates", template)
    async with stage.page("/settings/triggers") as page:
        await page.get_by_label("Name").fill("CMS <b>")
        await page.get_by_role("button", name="Create trigger").click()
        await expect(page.locator(".error")).to_contain_text("a schedule or a template")
        await page.get_by_label("Or template").fill("docs")
        await page.get_by_text("Parameters of the template").click()
        await page.get_by_label("Values").fill("start=https://docs.example.org/")
        await page.get_by_label("From the body of a call").fill("start=/page/url")
        await page.get_by_role("button", name="Create trigger").click()
        url = await page.locator("#ask pre").inner_text()
        assert url.startswith(f"{stage.base}/hooks/cyh_")
        await page.get_by_role("button", name="Back").click()
        row = page.get_by_role("row").filter(has_text="CMS <b>")
        await expect(row.get_by_role("link", name="docs")).to_be_visible()
        body = {"page": {"url": "https://docs.example.org/new"}}
        async with httpx.AsyncClient() as client:
            started = await client.post(url, json=body)
            await row.get_by_role("button", name="Revoke").click()
            await page.locator("#ask").get_by_role("button", name="Revoke").click()
            await expect(row).to_contain_text("Revoked")
            refused = await client.post(url, json=body)

    assert (started.status_code, refused.status_code) == (202, 401)
    job = await stage.ask("GET", f"/jobs/{started.json()['job_id']}")
    assert job["spec"]["urls"] == ["https://docs.example.org/new"]


async def test_a_webhook_is_tested_and_its_deliveries_are_seen(
    browser: Browser, tmp_path: Path
) -> None:
    async with a_stage(tmp_path, browser, works=("deliverer",)) as stage:
        await _tested(stage)


async def _tested(stage: Stage) -> None:
    await stage.ask("PUT", "/settings/grants", {"addresses": True})
    form = {"url": HOOK_URL, "allow_addresses": ["127.0.0.1"], "description": "<i>chat</i>"}
    hook = await stage.ask("POST", "/webhooks", form)
    async with stage.page("/settings/webhooks") as page:
        row = page.get_by_role("row").filter(has_text=HOOK_URL)
        await expect(row).to_contain_text("<i>chat</i>")
        await row.get_by_role("button", name="Test").click()
        await expect(page.locator("#toasts")).to_contain_text("Test message queued")
        await page.goto(f"/settings/webhooks?webhook={hook['id']}")
        deliveries = page.get_by_role("table", name="Deliveries")
        await expect(deliveries).to_contain_text("webhook.test")
        await expect(deliveries).to_contain_text("connection refused")
        await row.get_by_role("button", name="Turn off").click()
        await expect(page.locator("#toasts")).to_contain_text("Webhook disabled")
        await expect(row).to_contain_text("Disabled")
        await page.get_by_role("button", name="Delete").click()
        await page.locator("#ask").get_by_role("button", name="Delete").click()
        await expect(page.locator("#webhooks .none")).to_be_visible()


async def test_a_channel_is_created_and_a_test_shows_its_answer(
    browser: Browser, tmp_path: Path
) -> None:
    async with a_stage(tmp_path, browser, works=("deliverer",)) as stage:
        await _channel_tested(stage)


async def _channel_tested(stage: Stage) -> None:
    await stage.ask("PUT", "/settings/grants", {"addresses": True})
    async with stage.page("/settings/notifications") as page:
        form = page.locator("form[data-send='POST /notifications']")
        await form.get_by_label("Name", exact=True).fill("ops")
        await form.get_by_label("URL, or mail address").fill(HOOK_URL)
        await form.get_by_role("button", name="Create channel").click()
        await expect(form.locator(".error")).to_contain_text("127.0.0.1 is loopback")
        body = {"name": "ops", "kind": "slack", "to": HOOK_URL, "allow_addresses": [SITE[7:]]}
        await stage.ask("POST", "/notifications", body)
        row = page.get_by_role("row").filter(has_text="ops")
        await expect(row).to_contain_text("127.0.0.1:9/…hook")
        await row.get_by_role("button", name="Send a test").click()
        messages = page.get_by_role("table", name="Messages")
        await expect(messages).to_contain_text("webhook.test")
        await expect(messages).to_contain_text("connection refused")
        await row.get_by_role("button", name="Delete").click()
        await page.locator("#ask").get_by_role("button", name="Delete").click()
        await expect(page.locator("#channels .none")).to_be_visible()


async def test_one_logs_in_to_a_site_renews_it_and_forgets_it(stage: Stage) -> None:
    async with stage.page("/settings/sessions") as page:
        form = page.locator("#login")
        await form.get_by_label("Session").fill("shop")
        await form.get_by_label("URL").fill(f"{SITE}/login")
        await form.get_by_label("User name").fill("ada")
        await form.get_by_label("Password or token").fill("wrong")
        await form.get_by_role("button", name="Log in").click()
        await expect(form.locator(".error")).to_contain_text("127.0.0.1 is loopback")
        await form.get_by_label("Method").select_option("bearer")
        await expect(form.get_by_label("User name")).to_be_hidden()
        await form.get_by_role("button", name="Log in").click()
        row = page.get_by_role("row").filter(has_text="shop")
        await expect(row).to_contain_text("token, version 1")
        await expect(row).to_contain_text(SITE)
        assert await form.get_by_label("Password or token").input_value() == ""

        await row.get_by_role("link", name="Renew shop").click()
        await expect(form.get_by_label("URL")).to_have_value(f"{SITE}/login")
        await form.get_by_label("Password or token").fill("right")
        await form.get_by_role("button", name="Log in").click()
        await expect(row).to_contain_text("token, version 2")
        await row.get_by_role("button", name="Delete shop").click()
        await page.locator("#ask").get_by_role("button", name="Delete").click()
        await expect(page.locator("#sessions .none")).to_be_visible()


async def test_a_users_role_is_changed_and_the_user_disabled(stage: Stage) -> None:
    await stage.user("mara")
    async with stage.page("/settings/users") as page:
        row = page.get_by_role("row").filter(has_text="mara")
        await row.get_by_role("button", name="Change mara").click()
        await page.locator("#ask").get_by_label("Role").select_option("viewer")
        await page.get_by_role("button", name="Save").click()
        await expect(row).to_contain_text("viewer")
        await row.get_by_role("button", name="Disable mara").click()
        await page.locator("#ask").get_by_role("button", name="Disable").click()
        await expect(row).to_contain_text("Disabled")
        user = await stage.ask("GET", "/users/mara")
        assert (user["role"], user["disabled_at"] is None) == ("viewer", False)


async def test_a_section_is_saved_and_read_again(stage: Stage) -> None:
    async with stage.page("/settings/limits") as page:
        form = page.locator("form[data-section=ceilings]")
        await expect(form.get_by_label("Errors")).to_have_attribute("placeholder", "No limit")
        await form.get_by_label("Pages").fill("5000")
        await form.get_by_label("Data").fill("2 GB")
        await form.get_by_label("Running time").fill("6h")
        await form.get_by_role("button", name="Save").click()
        await expect(page.locator("#toasts")).to_contain_text("Saved")
        ceilings = await stage.ask("GET", "/settings/ceilings")
        assert ceilings["value"] == {
            "pages": 5000,
            "bytes": 2_000_000_000,
            "duration_s": 21_600,
            "errors": None,
            "render_s": None,
        }

        await page.reload()
        await expect(form.get_by_label("Pages")).to_have_value("5000")
        await form.get_by_label("Pages").fill("-1")
        await form.get_by_role("button", name="Save").click()
        await expect(form.get_by_label("Pages")).to_have_attribute("aria-invalid", "true")


async def test_an_operator_sees_what_holds_and_changes_nothing(stage: Stage) -> None:
    await stage.user("joe", Role.OPERATOR)
    async with stage.page("/settings/limits", by="joe") as page:
        for button in await page.get_by_role("button", name="Save").all():
            await expect(button).to_be_disabled()
            assert "operator" in (await button.get_attribute("title") or "")
        await page.goto("/settings/users")
        await expect(page.get_by_text("you may not have access")).to_be_visible()


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("dark", [False, True])
async def test_each_section_is_accessible(stage: Stage, section: str, dark: bool) -> None:
    async with stage.page(f"/settings/{section}", dark=dark, bypass_csp=True) as page:
        await expect(page.locator("#live")).to_have_text("Live")
        assert await faults_of(page) == []


@pytest.mark.parametrize("section", SECTIONS)
async def test_each_section_fits_a_phone(stage: Stage, section: str) -> None:
    async with stage.page(f"/settings/{section}", size=NARROW) as page:
        await expect(page.locator("#live")).to_have_attribute("data-is", "live")
        assert await overflow_of(page) == 0


async def test_signing_out_elsewhere_is_said_on_the_page(stage: Stage) -> None:
    token = await Surface(stage.site.yard.services, LOCAL).tokens.create("short")
    stage.secrets["short"] = token.token or ""
    async with stage.page("/settings/profile", by="short") as page:
        await expect(page.locator("#live")).to_have_text("Live")
        await stage.ask("DELETE", f"/tokens/{token.id}")
        await expect(page.get_by_text("You are signed out")).to_be_visible()
