"""Share links: the dialog of a job, and the page that a guest sees."""

from pathlib import Path

from playwright.async_api import Browser, expect

from tests.browser.job_page import crawled, menu
from tests.browser.looking import overflow_of
from tests.browser.rig import NARROW, Stage, a_stage

PUBLIC_URL = "https://crawls.example.org"


async def test_a_link_is_created_opened_by_a_guest_and_revoked(
    browser: Browser, tmp_path: Path
) -> None:
    async with a_stage(tmp_path, browser, settings={"public_url": PUBLIC_URL}) as stage:
        await _shared(stage)


async def _shared(stage: Stage) -> None:
    crawl = await crawled(stage, name="Docs <b>")
    async with stage.page(f"/jobs/{crawl.id}") as page:
        await menu(page, "More", "Share…")
        dialog = page.get_by_role("dialog", name="Share")
        await expect(dialog).to_contain_text("No links for this job.")
        await dialog.get_by_label("Note").fill("the editors")
        await dialog.get_by_role("button", name="Create link").click()
        url = await page.locator("#ask pre").inner_text()
        assert url.startswith(f"{PUBLIC_URL}/shared/cyv_")
        await page.get_by_role("button", name="Back").click()
        row = dialog.get_by_role("row").filter(has_text="the editors")
        await expect(row).to_contain_text("never opened")

        path = url.removeprefix(PUBLIC_URL)
        async with stage.page(path, "", size=NARROW) as guest:
            await expect(guest.get_by_role("heading", name="Docs <b>")).to_be_visible()
            assert await overflow_of(guest) == 0
            problems = guest.get_by_role("link", name="Problems")
            await problems.click()
            await expect(problems).to_have_attribute("aria-current", "page")

            await row.get_by_role("button", name="Revoke").click()
            await page.locator("#ask").get_by_role("button", name="Revoke").click()
            await expect(row).to_contain_text("Revoked")
            response = await guest.reload()
            assert response is not None
            assert response.status == 404
            await expect(guest.locator("body")).to_contain_text("Nothing here")


async def test_links_are_turned_off_in_the_settings(stage: Stage) -> None:
    async with stage.page("/settings/limits") as page:
        form = page.locator("form[data-section=sharing]")
        box = form.get_by_label("Share links work")
        await expect(box).to_be_checked()
        await box.uncheck()
        await form.get_by_role("button", name="Save").click()
        await expect(page.locator("#toasts")).to_contain_text("Saved")
    assert (await stage.ask("GET", "/settings/sharing"))["value"]["links"] is False
