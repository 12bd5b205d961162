"""Shared parts of all pages: sign-in, frame, policy, stream."""

import re

import pytest
from playwright.async_api import expect

from crawlyard.core.access.user import LOCAL
from crawlyard.web.assets import ASSETS, SOURCES, sheets_of
from crawlyard.web.pages import PAGES
from tests.browser.crawls import begun, moved_on
from tests.browser.looking import faults_of, overflow_of
from tests.browser.rig import NARROW, Stage

MOST_JS = 130_000
MOST_CSS = 60_000
PALETTE = "js/parts/palette.js"  # it comes when it is asked for, and counts all the same


def test_the_scripts_and_styles_of_a_page_stay_within_their_budget() -> None:
    for module in {page.module for page in PAGES}:
        entry = f"js/pages/{module}.js"
        scripts = {entry, PALETTE}
        styles = sheets_of(entry)

        assert 0 < sum(len(ASSETS[path].content) for path in scripts) <= MOST_JS, module
        assert 0 < sum(len(ASSETS[path].content) for path in styles) <= MOST_CSS, module


def test_no_template_literal_is_in_another_as_blanks_of_the_inner_one_would_be_lost() -> None:
    for path, code in SOURCES.items():
        odd = re.findall(r"\$\{[^}]*`.*", code) if path.endswith(".js") else []
        assert odd == [], path


def test_no_script_makes_markup_of_text() -> None:
    sinks = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(")
    for path, asset in ASSETS.items():
        code = asset.content.decode()
        assert not [sink for sink in sinks if sink in code], path


_OPEN_TO_BIDI = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const open = [];
  while (walker.nextNode()) {
    const { data, parentElement: parent } = walker.currentNode;
    if (!data.includes("\u202e") || !parent.checkVisibility()) continue;
    const { display, unicodeBidi } = getComputedStyle(parent);
    if (display === "inline" && !unicodeBidi.startsWith("isolate")) open.push(parent.outerHTML);
  }
  return [document.body.innerText.includes("\u202e"), open];
}"""


async def test_a_name_cannot_reorder_the_text_beside_it(stage: Stage) -> None:
    job = await stage.job(name="\u202ereversed")
    for path in ("/jobs", f"/jobs/{job['id']}", "/events"):
        async with stage.page(path) as page:
            await expect(page.get_by_text("\u202ereversed").first).to_be_visible()
            assert await page.evaluate(_OPEN_TO_BIDI) == [True, []], path


UNSEEN = 2  # the script of the shared worker and its stream are not among the requests of a page


async def test_the_overview_takes_few_requests_and_none_twice(empty: Stage) -> None:
    jobs = [await empty.job(name=f"crawl {n}") for n in range(4)]
    claims = [await begun(empty, job) for job in jobs[:3]]
    await moved_on(empty, claims, pages=30, done=30, discovered=100)
    paths: list[str] = []
    async with empty.context() as context:
        page = await context.new_page()
        await page.clock.install()
        page.on("request", lambda request: paths.append(request.url.removeprefix(empty.base)))
        await page.goto("/")
        await expect(page.locator("#n-workers")).to_have_text("0")  # the stream has its snapshots
        await expect(page.locator("#queue")).to_contain_text("1 waiting")
        await page.clock.run_for(3_000)  # what they make stale is loaded again after two seconds
        await page.evaluate("() => fetch('/api/v1/auth/me')")  # requests behind the others
    *paths, _ = paths

    assert sorted(paths) == sorted(set(paths))
    assert len(paths) + UNSEEN <= 20, paths


async def test_a_link_signs_in_once_and_leads_to_the_overview(stage: Stage) -> None:
    link = await stage.site.yard.services.access.link(LOCAL.id)
    async with stage.page(f"/signin#{link.secret}", by="") as page:
        await page.wait_for_url(f"{stage.base}/")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
        await expect(page.locator("#live")).to_have_text("Live")
        await page.get_by_role("button", name="Sign out").click()
        await page.wait_for_url(f"{stage.base}/signin")

        await page.goto(f"/signin#{link.secret}")
        await expect(page.locator(".errors")).not_to_be_empty()


async def test_a_visitor_signs_in_and_returns_to_the_page(stage: Stage) -> None:
    async with stage.page("/jobs?q=state:failed", by="") as page:
        await page.get_by_label("Token").fill("cyt_wrong")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator(".errors")).not_to_be_empty()

        await page.get_by_label("Token").fill(stage.secrets[LOCAL.id])
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url(f"{stage.base}/jobs?q=state:failed")


async def test_signing_in_leads_to_no_other_site(stage: Stage) -> None:
    async with stage.page("/signin?next=//evil.example/", by="") as page:
        await page.get_by_label("Token").fill(stage.secrets[LOCAL.id])
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url(f"{stage.base}/")


@pytest.mark.parametrize("dark", [False, True])
async def test_the_sign_in_page_is_accessible_and_fits_a_phone(stage: Stage, dark: bool) -> None:
    async with stage.page("/signin", by="", dark=dark, bypass_csp=True, size=NARROW) as page:
        assert await faults_of(page) == []
        assert await overflow_of(page) == 0


async def test_a_count_is_exact_and_a_range_of_time_is_rounded_outwards(stage: Stage) -> None:
    async with stage.page("/") as page:
        texts = await page.evaluate(
            """async () => {
                const { modules } = await import(document.querySelector("script").src);
                const { counted, eta } = modules["js/core/fmt.js"];
                return [counted(1234567, "page"), eta(59, 61), eta(0, 3599), eta(90000, 91000)];
            }"""
        )
        assert texts == [
            "1,234,567 pages",
            "59s \u2013 2m",
            "0s \u2013 1h 00m",
            "1d 1h \u2013 1d 2h",
        ]
