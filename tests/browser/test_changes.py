"""Changes between two runs: counts, pages, and text diffs."""

import re
from typing import Any

from playwright.async_api import Page, expect

from tests.browser.looking import faults_of, overflow_of
from tests.browser.rig import NARROW, WIDE, Stage
from tests.browser.scheduled import HOSTILE, a_schedule, crawled

_INTRO = [f"Paragraph {n} says the same as before." for n in range(12)]
OLD = "\n".join(["Installing the server", "It needs 1 GB of memory.", *_INTRO, "It listens on 80."])
NEW = "\n".join(
    ["Installing the server", "It needs 2 GB of memory.", *_INTRO, "It listens on 80.", HOSTILE]
)
BEFORE = {"": "Start", "install": OLD, "limits": "Forty pages\nat most", "about": "About us"}
BEFORE |= {"faq": "Questions and answers"}
AFTER = {"": "Start", "install": NEW, "limits": "Fifty pages\nat most", "blog": f"Post {HOSTILE}"}
RULES = {"urls": ["https://example.com/"], "ignore_text": ["re:^Updated "]}


async def two_runs(stage: Stage, name: str) -> tuple[dict[str, Any], str, str]:
    schedule = await a_schedule(stage, name, overrides=RULES)
    first = await crawled(stage, schedule, BEFORE)
    return schedule, first, await crawled(stage, schedule, AFTER, removed=["about"], broken=["faq"])


def page_of(page: Page, path: str) -> Any:
    return page.locator("#list li").filter(has_text=path)


async def test_changes_of_a_run_are_reported_listed_and_shown_word_by_word(stage: Stage) -> None:
    schedule, first, second = await two_runs(stage, "Docs nightly")
    async with stage.page(f"/schedules/{schedule['id']}") as page:
        await page.get_by_role("link", name="5 changes").click()
        lead = page.get_by_role("heading", level=1)
        summary = r"^2 changed, 1 new, 1 gone, 1 broken since .*\d\d:\d\d$"
        await expect(lead).to_have_text(re.compile(summary))
        await expect(page.locator("#earlier")).to_have_value(first)
        await expect(page.locator("#share")).to_have_text("6 pages, 16.7% unchanged")
        kinds = page.get_by_role("group", name="Kind of change").get_by_role("button")
        await expect(kinds).to_have_text(["2Changed", "1New", "0Moved", "1Gone", "1Broken"])
        await expect(page.get_by_role("button", name="2 Changed")).to_have_attribute(
            "aria-pressed", "true"
        )

        # the most changed one is first, unless they are sorted by URL
        paths = page.locator("#list a")
        await expect(paths).to_have_text(["/limits", "/install"])
        await page.get_by_role("button", name="URL", exact=True).click()
        await expect(paths).to_have_text(["/install", "/limits"])

        # the words that differ are marked, what is the same is folded, and nothing is markup
        await expect(page_of(page, "/install")).to_have_text(
            re.compile("/install\\s*\\+2 \N{MINUS SIGN}1")
        )
        diff = page.locator("#diff")
        await expect(diff.locator("del")).to_have_text(["1 "])
        await expect(diff.locator("ins")).to_have_text(["2 "])
        await expect(diff.locator(".del")).to_have_text(
            ["2\N{MINUS SIGN}removed: It needs 1 GB of memory."]
        )
        await expect(diff.locator(".add").last).to_contain_text(HOSTILE)
        await expect(diff.locator(".fold")).to_have_text(["… 7 lines without a change"])
        await page.get_by_role("button", name="Side by side").click()
        row = diff.locator("div").filter(has=page.locator("del"))
        await expect(row.locator(".half")).to_have_text(
            ["2removed: It needs 1 GB of memory.", "2added: It needs 2 GB of memory."]
        )

        # pages of only one run are shown in full
        await page.get_by_role("button", name="1 New").click()
        await expect(diff.locator(".add")).to_have_text([re.compile("Post <img")])
        await page.get_by_role("button", name="1 Gone").click()
        await expect(page_of(page, "/about")).to_have_attribute("aria-current", "true")
        await expect(diff.locator(".del")).to_contain_text("About us")
        await page.get_by_role("button", name="1 Broken").click()
        await expect(page.get_by_role("group", name="Sort by")).to_be_hidden()
        await expect(page.locator("#about")).to_contain_text("It answered 500.")
        await expect(diff.locator(".del")).to_contain_text("Questions and answers")
        await expect(page.locator("main img")).to_have_count(0)

        # ignore rules, their settings, and notifications
        await expect(page.locator("#ignored")).to_contain_text("1 line pattern (re:^Updated )")
        await expect(page.get_by_role("link", name="Edit ignore rules")).to_have_attribute(
            "href", f"/schedules/{schedule['id']}#name"
        )
        await expect(page.get_by_role("link", name="Atom feed")).to_have_attribute(
            "href", f"/api/v1/schedules/{schedule['id']}/changes.atom"
        )
        await page.get_by_role("link", name="Notify me…").click()
        await expect(page.get_by_label("Events")).to_have_value("run.changed page.changed")
        await expect(page.get_by_label("Description")).to_have_value("Changes of Docs nightly")
        await expect(page.get_by_label("Schedule")).to_have_value("Docs nightly")
        await expect(page.get_by_label("URL")).to_be_focused()
    assert second != first


async def test_pages_are_gone_through_by_key_and_another_run_is_chosen(stage: Stage) -> None:
    schedule, first, second = await two_runs(stage, "By key")
    third = await crawled(stage, schedule, {**AFTER, "limits": "Sixty pages\nat most"})
    async with stage.page(f"/jobs/{third}/changes") as page:
        lead = page.get_by_role("heading", level=1)
        await expect(lead).to_have_text(re.compile("^1 changed, 1 gone since "))
        await expect(page.locator("#earlier")).to_have_value(second)
        await page.locator("#earlier").select_option(first)
        await expect(lead).to_have_text(re.compile("^2 changed, 1 new, 2 gone since "))
        await page.get_by_role("button", name="URL", exact=True).click()
        await expect(page).to_have_url(re.compile(f"with={first}&kind=changed&page=.*install"))

        await page.keyboard.press("j")
        await expect(page_of(page, "/limits")).to_have_attribute("aria-current", "true")
        await expect(page_of(page, "/limits").get_by_role("link")).to_be_focused()
        await expect(page.locator("#diff del")).to_have_text(["Forty "])
        await page.keyboard.press("Enter")
        await expect(page.locator("#diff")).to_be_focused()
        await page.keyboard.press("k")
        await expect(page_of(page, "/install")).to_have_attribute("aria-current", "true")
        await page.keyboard.press("j")
        await expect(page).to_have_url(re.compile("page=.*limits"))
        await page.reload()  # the page that was shown is shown again
        await expect(page_of(page, "/limits")).to_have_attribute("aria-current", "true")
        await expect(page.locator("#diff ins")).to_have_text(["Sixty "])


async def test_where_there_is_nothing_to_compare_with_it_says_so(stage: Stage) -> None:
    alone = await stage.job(urls=["https://never-before.example/"])
    async with stage.page(f"/jobs/{alone['id']}/changes") as page:
        await expect(page.get_by_text("There is no other run of this crawl.")).to_be_visible()
        await page.goto("/jobs/00000000-0000-7000-8000-000000000000/changes")
        await expect(page.get_by_role("heading", name="Not found")).to_be_visible()


async def test_changes_are_accessible_and_fit_a_phone(stage: Stage) -> None:
    _, _, second = await two_runs(stage, "Looked at")
    for size, dark in ((WIDE, False), (NARROW, True)):
        where = f"/jobs/{second}/changes"
        async with stage.page(where, size=size, dark=dark, bypass_csp=True) as page:
            await expect(page.locator("#diff ins")).to_be_visible()
            assert await faults_of(page) == []
            assert await overflow_of(page) == 0
