"""Live updates while a user reads, types or clicks: no input is lost."""

from playwright.async_api import Page, expect

from crawlyard.core.access.user import LOCAL, Role
from tests.browser.rig import Stage
from tests.browser.scheduled import a_schedule

RESYNC = """
  async (script) => {
    const { modules } = await import(script.src);
    const { live } = modules["js/core/live.js"];
    live.dispatchEvent(new CustomEvent("resync"));
  }
"""
SPEC = {"urls": ["{{start}}"]}
STARTS = {"start": {"type": "url", "required": True}}


async def missed_something(page: Page) -> None:
    """Tell a page that it may have missed events: it reads what it shows again."""
    async with page.expect_response("**/api/v1/**"):
        await page.locator("script").evaluate(RESYNC)
        await page.evaluate("() => fetch('/api/v1/auth/me')")  # requests behind the first


async def test_a_key_acts_on_the_marked_row_when_rows_appear_above_it(stage: Stage) -> None:
    marked = await stage.job(name="Marked", tags=["above"])
    above = await stage.job(name="Above", tags=["above"])
    await stage.ask("POST", f"/jobs/{above['id']}/pause", {})
    async with stage.page("/jobs?q=tag:above") as page:
        await expect(page.locator("tbody tr[data-id]")).to_have_count(2)
        await page.keyboard.press("j")
        await page.keyboard.press("j")
        await expect(page.locator("tr.cur")).to_contain_text("Marked")
        await stage.ask("DELETE", f"/jobs/{above['id']}")
        await expect(page.locator("tbody tr[data-id]")).to_have_count(1)
        await page.keyboard.press("p")
        await expect(page.locator("tr.cur")).to_contain_text("Paused")
    assert (await stage.ask("GET", f"/jobs/{marked['id']}"))["state"] == "paused"


async def test_a_key_does_nothing_to_a_schedule_that_is_not_there_yet(stage: Stage) -> None:
    schedule = await a_schedule(stage, "Not meant")
    async with stage.context() as context:
        page = await context.new_page()
        await page.route("**/api/v1/schedules/other*", lambda route: route.abort())
        await page.goto(f"/schedules/other?id={schedule['id']}")
        await expect(page.locator("#live")).to_have_text("Live")
        await page.keyboard.press("p")
        await expect(page.locator("#ask")).to_be_hidden()


async def test_saving_without_a_choice_does_not_change_a_role(stage: Stage) -> None:
    await stage.user("chief", Role.ADMIN)
    async with stage.page("/settings/users") as page:
        await page.get_by_role("button", name="Change chief").click()
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator("#ask")).to_be_visible()
    assert (await stage.ask("GET", "/users/chief"))["role"] == "admin"


async def test_a_user_who_signs_in_again_sees_no_sign_in_prompt_in_another_tab(
    stage: Stage,
) -> None:
    async with stage.context() as context:
        first, second = [await context.new_page() for _ in range(2)]
        for tab in (first, second):
            await tab.goto("/workers")
            await expect(tab.locator("#live")).to_have_text("Live")
        await first.bring_to_front()
        await first.get_by_role("button", name="Sign out").click()
        await first.wait_for_url(f"{stage.base}/signin")
        await expect(second.get_by_text("You are signed out")).to_be_visible()
        await first.get_by_label("Token").fill(stage.secrets[LOCAL.id])
        await first.get_by_role("button", name="Sign in").click()
        await first.wait_for_url(f"{stage.base}/")
        await expect(first.locator("#live")).to_have_text("Live")
        await expect(first.locator("#ask")).to_be_hidden()


async def test_what_is_typed_stays_when_the_page_reads_again(stage: Stage) -> None:
    form = {"name": "with a place", "spec": SPEC, "parameters": STARTS}
    template = await stage.ask("POST", "/templates", form)
    async with stage.page(f"/jobs/new?template={template['id']}") as page:
        place = page.locator("#params input").first
        await place.fill("https://typed.example.org/")
        await missed_something(page)
        await expect(place).to_have_value("https://typed.example.org/")

        await page.goto("/settings/limits")
        defaults = page.get_by_label("Crawl settings, as JSON")
        await expect(page.get_by_label("Errors")).to_have_attribute("placeholder", "No limit")
        await defaults.fill('{"delay_s": 2}')
        await missed_something(page)
        await expect(defaults).to_have_value('{"delay_s": 2}')


async def test_a_click_is_not_lost_because_the_list_is_read_again(stage: Stage) -> None:
    schedule = await a_schedule(stage, "Clicked")
    async with stage.page("/schedules?q=Clicked") as page:
        row = page.locator("tbody tr")
        await row.get_by_role("button", name="Pause Clicked").hover()
        await page.mouse.down()
        await stage.ask("PATCH", f"/schedules/{schedule['id']}", {"description": "new since then"})
        await expect(row).to_contain_text("new since then")
        await page.mouse.up()
        await expect(row).to_contain_text("Paused")


async def test_a_list_in_a_hidden_tab_is_right_when_it_is_looked_at(stage: Stage) -> None:
    schedule = await a_schedule(stage, "Hidden")
    async with stage.context() as context:
        hidden = "Object.defineProperty(document, 'hidden', { get: () => true })"
        await context.add_init_script(hidden)
        page = await context.new_page()
        await page.goto("/schedules?q=Hidden")
        row = page.locator("tbody tr")
        await expect(row).to_contain_text("On")
        await stage.ask("POST", f"/schedules/{schedule['id']}/pause", {})
        await expect(row).to_contain_text("Paused")


async def test_all_that_match_are_as_many_as_is_said(stage: Stage) -> None:
    for number in range(51):
        await stage.job(name=f"Many {number}", tags=["many"])
    async with stage.page("/jobs?q=tag:many") as page:
        every = page.get_by_label("Select all on this page")
        await expect(page.locator("tbody tr[data-id]")).to_have_count(50)  # the list has settled
        await every.check()
        await page.get_by_role("button", name="Select all 51 that match").click()
        await stage.job(name="One more", tags=["many"])
        bulk = page.locator("#bulk")
        await expect(bulk).to_contain_text("All 52 that match are selected")


async def test_ones_own_pause_does_not_keep_a_schedule_from_being_saved(stage: Stage) -> None:
    schedule = await a_schedule(stage, "Paused and changed")
    async with stage.page(f"/schedules/{schedule['id']}") as page:
        await expect(page.get_by_label("Name", exact=True)).to_have_value("Paused and changed")
        await page.get_by_label("Description").fill("typed before")
        await page.get_by_role("button", name="Pause", exact=True).click()
        await page.locator("#ask").get_by_role("button", name="Pause").click()
        await expect(page.get_by_role("button", name="Resume")).to_be_visible()
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator("#toasts")).to_contain_text("Saved")
    stored_schedule = await stage.ask("GET", f"/schedules/{schedule['id']}")
    assert stored_schedule["description"] == "typed before"


async def test_a_list_page_that_failed_to_load_is_requested_again(stage: Stage) -> None:
    for number in range(51):
        await stage.job(name=f"Turned {number}", tags=["turned"])
    async with stage.page("/jobs?q=tag:turned") as page:
        await expect(page.locator("tbody tr[data-id]")).to_have_count(50)
        await page.route("**/api/v1/jobs?*cursor=*", lambda route: route.abort(), times=1)
        await page.locator(".pager").get_by_role("button", name="More").click()
        await expect(page.locator("#toasts")).to_contain_text("does not respond")
        await page.locator(".pager").get_by_role("button", name="More").click()
        await expect(page.locator("tbody tr[data-id]")).to_have_count(1)


async def test_links_that_a_viewer_may_not_follow_lead_nowhere(stage: Stage) -> None:
    template = await stage.ask("POST", "/templates", {"name": "looked at", "spec": {}})
    await stage.ask("POST", f"/templates/{template['id']}/publish", {})
    await stage.user("looker", Role.VIEWER)
    async with stage.page("/templates", by="looker") as page:
        await expect(page.get_by_label("Run looked at")).to_have_attribute("aria-disabled", "true")
        assert await page.get_by_label("Run looked at").get_attribute("href") is None
