"""The page of one schedule: made, changed, paused, run, made up for, deleted; its ledger."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, expect

from tests.browser.rig import Stage, a_stage
from tests.browser.scheduled import a_schedule, lived

SHOP = {
    "name": "shop",
    "description": "Prices of a shop",
    "parameters": {
        "start_url": {"type": "url", "required": True},
        "pages": {"type": "integer", "default": 500, "allowed": [100, 500]},
        "only": {"type": "list"},
    },
    "spec": {
        "urls": ["{{start_url}}"],
        "limits": {"pages": "{{pages}}"},
        "include": "{{only}}",
    },
}


async def of(stage: Stage, schedule: dict[str, Any]) -> dict[str, Any]:
    now: dict[str, Any] = await stage.ask("GET", f"/schedules/{schedule['id']}")
    return now


async def total(stage: Stage, schedule: dict[str, Any]) -> int:
    counts = await stage.ask("GET", f"/jobs/counts?schedule={schedule['id']}")
    return int(counts["total"])


async def tab_to(page: Page, field: str) -> None:
    """Go on by the Tab key to what *field* selects."""
    for _ in range(60):
        if await page.locator(f"{field}:focus").count():
            return
        await page.keyboard.press("Tab")
    raise AssertionError(f"the Tab key does not come to {field}")


async def unfolded(page: Page, group: str) -> None:
    """Open a group of the form, or close it."""
    await page.locator("summary").get_by_text(group, exact=True).click()


async def save(page: Page) -> None:
    await page.get_by_role("button", name="Save").click()


async def test_a_schedule_is_made_by_keyboard_alone_and_its_ticks_are_seen_as_they_come(
    browser: Browser, tmp_path: Path
) -> None:
    async with a_stage(tmp_path, browser, works=("scheduler",)) as stage:
        async with stage.page("/schedules") as page:
            await expect(page.get_by_text("No schedules yet.")).to_be_visible()
            keys = page.keyboard
            await page.get_by_role("link", name="New schedule").focus()
            await keys.press("Enter")
            await page.wait_for_url("**/schedules/new")
            await expect(page.get_by_label("Time zone")).to_have_value("Europe/Berlin")
            await page.get_by_label("Name", exact=True).focus()
            for text in ("Every moment", "By keyboard alone", "every 10s"):
                await keys.type(text)
                await keys.press("Tab")
            await expect(page.locator("#said")).to_contain_text("Every 10s")
            await expect(page.locator("#warnings")).to_contain_text("runs come every 10s")
            await expect(page.locator("#next li")).to_have_count(5)
            await tab_to(page, "#overrides\\.urls")
            await keys.type("https://docs.example.org/")
            await tab_to(page, "#overlap")
            await keys.type("Allow")
            await expect(page.locator("#overlap-help")).to_contain_text("beside those")
            await tab_to(page, "form .pri")
            await keys.press("Enter")

            await expect(page.get_by_role("heading", name="Every moment")).to_be_visible()
            ticks = page.locator("#ledger tbody tr")
            await expect(ticks.nth(1)).to_be_visible()
            await expect(ticks.first).to_contain_text("On time")
            await expect(ticks.first.get_by_role("link", name="Waiting")).to_be_visible()
            await expect(page.locator("#strip rect.c-pending").nth(1)).to_be_attached()

            await keys.press("p")
            await expect(page.get_by_label("Reason")).to_be_focused()
            await keys.type("enough")
            await keys.press("Enter")
            await expect(page.get_by_text("enough")).to_be_visible()
            await expect(page.get_by_role("button", name="Resume")).to_be_visible()
        [schedule] = (await stage.ask("GET", "/schedules"))["items"]
        assert (schedule["name"], schedule["overlap"], schedule["zone"]) == (
            "Every moment",
            "allow",
            "Europe/Berlin",
        )
        assert (schedule["pause_reason"], schedule["enabled"]) == ("enough", False)


# --- what a time table means


async def test_the_form_explains_a_timetable_and_its_errors(stage: Stage) -> None:
    async with stage.page("/schedules/new") as page:
        when, hint = page.get_by_label("When", exact=True), page.locator("#said")
        await when.fill("30 8,9,10 * * mon-fri")
        await expect(hint).to_have_text(
            "At 08:30, 09:30, and 10:30 on Monday through Friday (Europe/Berlin)"
        )
        await expect(page.locator("#next li")).to_have_count(5)
        await expect(page.locator("#next li").first).to_contain_text(re.compile(r"30 CE[S]?T"))
        await expect(page.locator("#week i.on")).to_have_count(15)
        await expect(page.locator("#week")).to_have_accessible_name(re.compile("^At 08:30"))

        await when.fill("61 * * * *")
        await expect(hint).to_contain_text("61")
        await expect(when).to_have_attribute("aria-invalid", "true")
        await when.fill("0 3 * * *")
        await expect(hint).to_have_text(re.compile("^At 03:00 every day"))
        await expect(when).not_to_have_attribute("aria-invalid", "true")

        await page.get_by_label("Time zone").fill("Asia/Tokyo")
        await expect(page.locator("#next li").first).to_contain_text("03:00 JST")
        await page.get_by_label("Runs left").fill("2")
        await expect(page.locator("#next li")).to_have_count(2)


async def test_impossible_dates_and_runs_that_come_too_often_are_warned_of(stage: Stage) -> None:
    async with stage.page("/schedules/new") as page:
        when, warnings = page.get_by_label("When", exact=True), page.locator("#warnings")
        await when.fill("0 0 30 2 *")
        await expect(page.locator("#said, #warnings").filter(has_text="no")).to_be_visible()
        await when.fill("* * * * *")
        await expect(warnings).to_contain_text("runs come every 1m")
        await expect(page.get_by_text("the next 100 runs are shown")).to_be_visible()
        await page.get_by_label("Random delay").fill("1h")
        await expect(warnings).to_contain_text("the jitter is longer")
        await when.fill("at 2020-01-01T00:00")
        await expect(warnings).to_contain_text("no future run")
        await expect(page.get_by_text("None yet.")).to_be_visible()


async def test_a_change_of_the_clock_is_marked_at_the_runs_that_it_moves(stage: Stage) -> None:
    async with stage.page("/schedules/new") as page:
        await page.get_by_label("When", exact=True).fill("30 2 * * *")
        await page.get_by_label("Begins").fill("2027-03-27T00:00")
        runs = page.locator("#next li")
        await expect(runs.first).to_contain_text("27 Mar 2027 02:30 CET")
        await expect(runs.nth(1)).to_contain_text("CEST")
        marked = page.locator(
            "#next li", has=page.get_by_text("Clock change").locator("visible=true")
        )
        await expect(marked).to_have_count(1)
        await expect(marked).to_contain_text("28 Mar")
        await expect(page.locator("#warnings li")).to_have_count(1)


# --- the form


async def test_what_is_wrong_is_said_at_its_field_and_nothing_that_was_typed_is_lost(
    stage: Stage,
) -> None:
    async with stage.page("/schedules/new") as page:
        send = page.get_by_role("button", name="Create schedule")
        pages = page.get_by_label("Pages", exact=True)
        await page.get_by_label("Name", exact=True).fill("Faulty")
        await page.get_by_label("When", exact=True).fill("0 3 * * *")
        await page.get_by_label("Start URLs").fill("https://docs.example.org/")
        await unfolded(page, "Limits")
        await pages.fill("many")
        await unfolded(page, "Limits")  # an error opens its group
        await send.click()
        await expect(pages).to_be_focused()
        await expect(pages).to_have_accessible_description(re.compile("20k"))
        await pages.fill("0")
        await send.click()
        await expect(pages).to_have_accessible_description(re.compile("more than 0"))
        await pages.fill("7")
        await page.get_by_label("Start URLs").fill("nonsense")
        await send.click()
        await expect(page.get_by_label("Start URLs")).to_have_attribute("aria-invalid", "true")
        await page.get_by_label("Start URLs").fill("https://docs.example.org/\nhttps://b.example/")
        await page.get_by_label("Start late by at most").fill("soon")
        await send.click()
        await expect(page.get_by_label("Start late by at most")).to_be_focused()
        await page.get_by_label("Start late by at most").fill("2h 30m")
        await send.click()
        await expect(page.get_by_role("heading", name="Faulty")).to_be_visible()
    schedule = await stage.ask("GET", "/schedules/Faulty")
    assert schedule["overrides"] == {
        "urls": ["https://docs.example.org/", "https://b.example/"],
        "limits": {"pages": 7},
    }
    assert schedule["grace_s"] == 9000


async def test_the_form_and_its_yaml_say_the_same_schedule(stage: Stage) -> None:
    shop = await stage.ask("POST", "/templates", SHOP | {"name": "shop as yaml"})
    async with stage.page(f"/schedules/new?template={shop['id']}") as page:
        await page.get_by_label("Name", exact=True).fill("Both ways")
        await page.get_by_label("When", exact=True).fill("0 3 * * *")
        await page.get_by_label("start_url").fill("https://shop.example.org/")
        await unfolded(page, "Access")
        headers = page.get_by_label("Headers", exact=True)
        await headers.fill("Authorization: Bearer s3cret")

        await page.get_by_role("button", name="YAML").click()
        file = page.get_by_label("The schedule as YAML")
        await expect(file).to_have_value(re.compile("start_url: https://shop.example.org/"))
        await expect(file).to_have_value(re.compile("Authorization: Bearer s3cret"))
        text = await file.input_value()
        for wrong, message in (
            ("nothing: 1\n", "nothing: there is no such field"),
            ("params: {nothing: 1}\n", "params.nothing: the template has no such field"),
        ):
            await file.fill(re.sub(r"params:\n.*\n", "", text) + wrong)
            await page.get_by_role("button", name="Form", exact=True).click()
            await expect(page.locator("#yaml ~ .error")).to_contain_text(message)
        named = text.replace(shop["id"], "shop as yaml").replace("0 3", "30 4")
        await file.fill(named + "runs_left: 2\n")
        await page.get_by_role("button", name="Form", exact=True).click()
        await expect(page.locator("#said")).to_contain_text("At 04:30")
        await expect(page.locator("#next li")).to_have_count(2)
        await expect(page.locator("#template")).to_have_value(shop["id"])

        await page.get_by_role("button", name="YAML").click()  # and it is created from there
        await page.get_by_role("button", name="Create schedule").click()
        await expect(page.get_by_role("heading", name="Both ways")).to_be_visible()
        schedule = await stage.ask("GET", "/schedules/Both ways")
        assert schedule["params"] == {"start_url": "https://shop.example.org/"}
        assert (schedule["when"], schedule["runs_left"]) == ("30 4 * * *", 2)

        await page.get_by_role("button", name="YAML").click()  # and changed, beside its secret
        await expect(file).to_have_value(re.compile(r"Authorization: '?\*\*\*"))
        changed = (await file.input_value()).replace("jitter_s: 0\n", "jitter_s: 60\n")
        await file.fill(changed.replace("runs_left: 2\n", ""))
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator("#toasts")).to_contain_text("Saved")
        now = await stage.ask("GET", "/schedules/Both ways")
        assert (now["runs_left"], now["jitter_s"], now["when"]) == (None, 60, "30 4 * * *")
        assert now["overrides"] == schedule["overrides"]


async def test_a_template_is_chosen_with_its_parameters_and_a_version_pinned(stage: Stage) -> None:
    shop = await stage.ask("POST", "/templates", SHOP)
    async with stage.page(f"/schedules/new?template={shop['id']}") as page:
        await expect(page.locator("#template")).to_have_value(shop["id"])
        await expect(page.locator("#template-help")).to_have_text("Prices of a shop")
        await expect(page.get_by_label("Version")).to_be_visible()
        await page.get_by_label("Name", exact=True).fill("Of a shop")
        await page.get_by_label("When", exact=True).fill("@daily")
        await page.get_by_role("button", name="Create schedule").click()
        start = page.get_by_label("start_url")
        await expect(start).to_be_focused()
        await expect(start).to_have_attribute("aria-invalid", "true")
        await start.fill("https://shop.example/")
        await page.locator("#params").get_by_label("pages").fill("100")
        await page.locator("#params").get_by_label("only").fill("/a/*, /b/*")
        await page.get_by_label("Version").fill("1")
        await expect(page.locator("summary").filter(has_text="Limits")).to_contain_text("{{pages}}")
        await unfolded(page, "Job")
        await page.get_by_label("Priority").select_option("High")
        await page.get_by_role("button", name="Create schedule").click()
        await expect(page.get_by_role("heading", name="Of a shop")).to_be_visible()
        await expect(page.get_by_label("start_url")).to_have_value("https://shop.example/")
        schedule = await stage.ask("GET", "/schedules/Of a shop")
        assert schedule["template_id"] == shop["id"]
        assert schedule["template_version"] == 1
        assert schedule["overrides"] == {"priority": "high"}
        assert schedule["params"]["only"] == ["/a/*", "/b/*"]

        # a value that is emptied goes back to the default; none of a template is left
        await page.locator("#params").get_by_label("only").fill("")
        await save(page)
        await expect(page.locator("#toasts")).to_contain_text("Saved")
        assert "only" not in (await of(stage, schedule))["params"]
        await page.locator("#template").select_option("None")
        await expect(page.get_by_label("Version")).to_be_hidden()
        await page.get_by_label("Start URLs").fill("https://own.example/")
        await save(page)
        await expect(page.get_by_text("Saved")).to_have_count(2)
    now = await of(stage, schedule)
    assert (now["template_id"], now["template_version"], now["params"]) == (None, None, {})
    assert now["overrides"] == {"priority": "high", "urls": ["https://own.example/"]}


async def test_a_change_sends_only_what_changed_so_that_hidden_credentials_stay(
    stage: Stage,
) -> None:
    spec = {"urls": ["https://a.example/"], "headers": {"Authorization": "Bearer s3cret"}}
    schedule = await a_schedule(stage, "Secretive", overrides=spec, ends_at="2031-01-01T08:00:30Z")
    async with stage.page(f"/schedules/{schedule['id']}") as page:
        await unfolded(page, "Access")
        await expect(page.get_by_label("Headers", exact=True)).to_have_value("Authorization: ***")
        await page.get_by_label("Description").fill("Said anew")
        await unfolded(page, "Job")
        await page.get_by_label("Priority").select_option("Low")
        await save(page)
        await expect(page.locator("#toasts")).to_contain_text("Saved")
    stored_schedule = await stage.yard.store.schedules.get(schedule["id"])
    assert stored_schedule.overrides["headers"] == {"Authorization": "Bearer s3cret"}
    assert stored_schedule.overrides["priority"] == "low"
    assert stored_schedule.description == "Said anew"
    assert stored_schedule.ends_at == datetime(2031, 1, 1, 8, 0, 30, tzinfo=UTC)


async def test_how_often_all_pages_are_fetched_is_set_and_unset(stage: Stage) -> None:
    schedule = await a_schedule(stage, "whole")
    async with stage.page(f"/schedules/{schedule['id']}") as page:
        await unfolded(page, "Recrawl")
        field = page.get_by_label("Fetch everything")
        for text, stored in (("7", 7), ("", None)):
            await field.fill(text)
            await page.get_by_role("button", name="Save", exact=True).click()
            await expect(page.get_by_text("Saved")).to_be_visible()
            await expect(page.get_by_text("Saved")).to_be_hidden()
            overrides = (await of(stage, schedule))["overrides"]
            assert overrides.get("full_every") == stored
            assert overrides["urls"] == ["https://docs.example.org/"]
        await field.fill("0")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.locator("[name$=full_every] ~ .error")).to_contain_text("1")


async def test_what_somebody_else_has_changed_meanwhile_is_not_written_over(stage: Stage) -> None:
    schedule = await a_schedule(stage, "Shared")
    async with stage.page(f"/schedules/{schedule['id']}") as page:
        name = page.get_by_label("Description")
        await expect(page.get_by_label("When", exact=True)).to_have_value("@hourly")
        await name.fill("Mine")
        await stage.ask("PATCH", f"/schedules/{schedule['id']}", {"when": "@daily"})
        await save(page)
        await expect(page.get_by_text("Someone has changed this schedule")).to_be_visible()
        await expect(name).to_have_value("Mine")
        assert (await of(stage, schedule))["description"] == ""
        await page.get_by_role("link", name="Reload").click()
        await expect(page.get_by_label("When", exact=True)).to_have_value("@daily")
        await expect(name).to_have_value("")


# --- acting on it


async def test_it_is_paused_with_a_reason_and_resumed(stage: Stage) -> None:
    schedule = await a_schedule(stage, "Held up")
    async with stage.page(f"/schedules/{schedule['id']}") as page:
        toggle = page.get_by_role("button", name="Pause")
        await toggle.click()
        await page.get_by_role("button", name="Back", exact=True).click()
        assert (await of(stage, schedule))["enabled"]
        await toggle.click()
        await page.get_by_label("Reason").fill("the site is moving")
        await page.get_by_role("dialog").get_by_role("button", name="Pause").click()
        await expect(page.get_by_text("the site is moving")).to_be_visible()
        assert (await of(stage, schedule))["pause_reason"] == "the site is moving"
        await page.get_by_role("button", name="Resume").click()
        await expect(page.get_by_text("the site is moving")).to_be_hidden()
        await expect(page.locator("#toasts")).to_contain_text("Resumed")
    assert (await of(stage, schedule))["enabled"]


async def test_it_is_run_now_and_a_second_run_that_its_policy_forbids_is_explained(
    stage: Stage,
) -> None:
    schedule = await a_schedule(stage, "Run by hand")
    async with stage.page(f"/schedules/{schedule['id']}") as page:
        await page.get_by_role("button", name="Run now").click()
        row = page.locator("#ledger tbody tr")
        await expect(row).to_contain_text("Requested by local")
        await expect(row.get_by_role("link", name="Waiting")).to_be_visible()
        await page.get_by_role("button", name="Run now").click()
        await expect(page.locator("#toasts")).to_contain_text("has not ended")
    assert await total(stage, schedule) == 1


async def test_a_backfill_lists_the_instants_first_and_submits_them_then(stage: Stage) -> None:
    schedule = await a_schedule(stage, "Made up for")
    await lived(stage, schedule, ["completed", "missed", "missed", "missed"])
    since = datetime.now() - timedelta(days=1)  # noqa: DTZ005 - a browser's field has no zone
    async with stage.page(f"/schedules/{schedule['id']}") as page:
        await page.get_by_label("More actions").click()
        await page.get_by_role("button", name="Backfill missed runs…").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("From").fill(f"{since:%Y-%m-%dT%H:00}")
        await dialog.get_by_role("button", name="Show them").click()
        await expect(dialog).to_contain_text(re.compile(r"Submit \d+ jobs\?"))
        count = await dialog.locator("li").count()
        assert count >= 3
        assert await total(stage, schedule) == 1
        await dialog.get_by_role("button", name=f"Submit {count}").click()
        await expect(page.locator("#toasts")).to_contain_text(f"{count} jobs submitted")
        await expect(page.locator("#ledger")).to_contain_text("Backfill")
    assert await total(stage, schedule) == 1 + count


async def test_deleting_says_what_happens_to_its_jobs_and_leads_to_the_list(stage: Stage) -> None:
    schedule = await a_schedule(stage, "Deleted")
    await lived(stage, schedule, ["completed", "completed", "failed"])
    async with stage.page(f"/schedules/{schedule['id']}") as page:
        await expect(page.locator("#ledger tbody tr")).to_have_count(3)
        await page.get_by_label("More actions").click()
        await page.get_by_role("button", name="Delete…").click()
        await expect(page.get_by_role("dialog")).to_contain_text("Its 3 jobs stay")
        await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        await page.wait_for_url(f"{stage.base}/schedules")
    assert await total(stage, schedule) == 3


async def test_one_that_is_not_there_any_more_is_said_to_be_gone(stage: Stage) -> None:
    schedule = await a_schedule(stage, "Fleeting")
    async with stage.page(f"/schedules/{schedule['id']}") as page:
        await expect(page.get_by_role("heading", name="Fleeting")).to_be_visible()
        await expect(page.locator("#live")).to_have_text("Live")
        await stage.ask("DELETE", f"/schedules/{schedule['id']}")
        await expect(page.get_by_role("heading", name="Not found")).to_be_visible()
        await page.reload()
        await expect(page.get_by_role("heading", name="Not found")).to_be_visible()
        await page.get_by_role("link", name="All schedules").click()
        await page.wait_for_url(f"{stage.base}/schedules")


# --- what became of it


async def test_runs_say_why_turn_their_pages_and_are_drawn_as_a_trend(
    stage: Stage,
) -> None:
    schedule = await a_schedule(stage, "Remembered")
    past = ["failed", "skipped", "missed", "refused", *["completed"] * 30]
    [failed, *_] = await lived(stage, schedule, past)
    async with stage.page(f"/schedules/{schedule['id']}") as page:
        rows = page.locator("#ledger tbody tr")
        await expect(rows).to_have_count(12)
        await expect(rows.first.get_by_role("link", name="Failed")).to_have_attribute(
            "href", re.compile(failed)
        )
        await expect(rows.nth(1)).to_contain_text("Skipped")
        await expect(rows.nth(1)).to_contain_text(
            "Another job was active job 6eef3303 has not ended"
        )
        await expect(rows.nth(2)).to_contain_text("No scheduler")
        await expect(rows.nth(3)).to_contain_text("Could not be submitted")
        await expect(rows.first.get_by_role("cell").nth(2)).to_have_text("120")
        await expect(page.locator("#strip rect.c-failed")).to_have_count(1)
        await expect(page.locator("#strip rect.c-completed")).to_have_count(26)
        for figure in ("Pages", "Duration"):
            await expect(page.get_by_role("slider", name=figure)).to_be_visible()

        await page.get_by_role("button", name="Older").dblclick()  # turns one page, not two
        await expect(rows.first).not_to_contain_text("Failed")
        await page.get_by_role("button", name="Older").click()
        await expect(rows).to_have_count(10)
        await stage.ask("POST", f"/schedules/{schedule['id']}/run")
        await expect(page.locator("#strip rect.c-pending")).to_have_count(1)
        await expect(rows).to_have_count(10)  # a page that is read does not shift
        await page.get_by_role("button", name="Newer").click()
        await page.get_by_role("button", name="Newer").click()
        await expect(rows.first).to_contain_text("Requested")


async def test_what_is_typed_stays_while_the_schedule_ticks(stage: Stage) -> None:
    schedule = await a_schedule(stage, "Typed in", overlap="allow")
    async with stage.page(f"/schedules/{schedule['id']}") as page:
        field = page.get_by_label("Description")
        await field.fill("half a sent")
        await stage.ask("POST", f"/schedules/{schedule['id']}/run")
        await expect(page.locator("#ledger tbody tr")).to_have_count(1)
        await expect(field).to_have_value("half a sent")
        await expect(field).to_be_focused()
