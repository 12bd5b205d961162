"""Layout and accessibility of every page: windows, themes, slow networks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Error, Page, Route, expect

from crawlyard.web.pages import PAGES
from tests.browser.job_page import crawled
from tests.browser.looking import faults_of, overflow_of, unfilled_in
from tests.browser.rig import Stage, a_stage

WIDTHS = (1440, 1024, 768, 390, 360)
LOOKED_AT = (1440, 1024, 390)  # by axe
HEIGHT = 900
SPEC = {"urls": ["https://docs.example.org/"]}
PATHS = sorted({page.path for page in PAGES})
API = "**/api/v1/**"
LONGER_MS = 12_000
"""Than a toast with an undo stays."""


class Known(dict[str, str]):
    """Path parameters of pages; unknown ones are "none"."""

    def __missing__(self, place: str) -> str:
        return "none"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A yard with one of everything, told slowly or at once."""
    async with a_stage(tmp_path_factory.mktemp("yard"), browser) as staged:
        yield staged


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def examples(stage: Stage) -> Known:
    """The places of all addresses, of things that are there."""
    crawl = await crawled(stage)
    await stage.job(name="one that waits")
    template = await stage.ask("POST", "/templates", {"name": "docs", "spec": SPEC})
    plan = {"name": "nightly", "when": "@daily", "template": template["id"]}
    schedule = await stage.ask("POST", "/schedules", plan)
    pages = await stage.ask("GET", f"/jobs/{crawl.id}/pages?limit=1")
    return Known(
        job=crawl.id,
        page=pages["items"][0]["id"],
        template=template["id"],
        schedule=schedule["id"],
        tab="pages",
        section="tokens",
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["light", "dark"])
async def window(stage: Stage, request: pytest.FixtureRequest) -> AsyncIterator[Page]:
    """A window shared by all pages of a theme."""
    options: dict[str, Any] = {"bypass_csp": True, "reduced_motion": "reduce"}
    async with stage.context(dark=request.param == "dark", **options) as context:
        yield await context.new_page()


@pytest.mark.parametrize("path", PATHS)
async def test_every_page_is_accessible_and_fits_windows_of_all_widths(
    window: Page, examples: Known, path: str
) -> None:
    await window.goto(path.format_map(examples), wait_until="domcontentloaded")
    await expect(window.locator("#live")).to_have_attribute("data-is", "live")
    await expect_skeleton(window, False)
    wider = {}
    faults = {}
    for width in WIDTHS:
        await window.set_viewport_size({"width": width, "height": HEIGHT})
        wider[width] = await overflow_of(window)
        if width in LOOKED_AT:
            faults[width] = await faults_of(window)
    assert wider == dict.fromkeys(WIDTHS, 0)
    assert faults == {width: [] for width in LOOKED_AT}


async def test_on_a_slow_network_no_page_shows_what_is_not_filled_yet(
    stage: Stage, examples: Known
) -> None:
    held_routes: list[Route] = []

    async def never(route: Route) -> None:
        held_routes.append(route)

    async with stage.context() as context:
        await context.route(API, never)
        page = await context.new_page()
        for path in PATHS:
            # its scripts have run then, and wait for what they have asked
            await page.goto(path.format_map(examples), wait_until="domcontentloaded")
            assert await unfilled_in(page) == [], path
        for route in held_routes:  # their tasks would wait for ever
            with suppress(Error):  # of a page that was left
                await route.abort()
        await context.unroute_all(behavior="ignoreErrors")


async def test_nothing_of_the_overview_is_shown_before_the_rows_that_would_move_it(
    stage: Stage, examples: Known
) -> None:
    async with stage.context() as context:
        page = await context.new_page()
        await page.add_init_script("delete globalThis.SharedWorker")  # its requests are not routed
        await page.route("**/events/stream*", lambda route: route.abort())
        held_routes: asyncio.Queue[Route] = asyncio.Queue()
        await page.route("**/jobs?state=running*", held_routes.put)
        await page.goto("/", wait_until="domcontentloaded")
        running = await held_routes.get()
        await expect(page.locator("#now-title")).to_contain_text("1 crawl running")
        await expect(page.locator("#yard")).to_be_hidden()
        await running.continue_()
        await expect(page.locator("#running li")).to_have_count(1)
        await expect(page.locator("#yard")).to_be_visible()


@pytest.mark.parametrize("kind", ["list", "thing"])
async def test_what_is_not_there_yet_is_a_skeleton_and_what_fails_is_tried_again(
    stage: Stage, kind: str
) -> None:
    template = await stage.ask("POST", "/templates", {"name": f"slow {kind}", "spec": SPEC})
    held_routes: list[Route] = []

    async def hold(route: Route) -> None:
        held_routes.append(route)

    async with stage.context() as context:
        page = await context.new_page()
        await page.route(API, hold)
        path = f"/templates/{template['id']}" if kind == "thing" else "/templates"
        await page.goto(path, wait_until="domcontentloaded")
        await expect_skeleton(page, True)
        await expect(page.get_by_text(template["name"])).to_have_count(0)

        for route in held_routes:
            await route.fulfill(status=429, json={"detail": "too many at once"})
        await page.unroute_all(behavior="ignoreErrors")
        alert = page.get_by_role("alert").filter(has_text="too many at once")
        await expect(alert).to_be_visible()
        await expect_skeleton(page, False)

        await alert.get_by_role("button", name="Retry").click()
        await expect(page.locator(".body").get_by_text(template["name"])).not_to_have_count(0)
        await expect(alert).to_have_count(0)


async def test_a_toast_is_accessible_and_leaves_by_itself_unless_somebody_is_at_it(
    stage: Stage,
) -> None:
    async with stage.context(bypass_csp=True, reduced_motion="reduce") as context:
        page = await context.new_page()
        await page.clock.install()
        await page.goto("/workers", wait_until="domcontentloaded")
        await page.evaluate(
            """async () => {
                const { modules } = await import(document.querySelector("script").src);
                const { toast } = modules["js/core/shell.js"];
                toast("Deleted: nightly", { undo: async () => { document.title = "undone"; } });
                toast("It did not work", { bad: true });
            }"""
        )
        toast = page.locator(".toast").filter(has_text="nightly")
        assert await faults_of(page) == []
        await toast.hover()
        await page.clock.fast_forward(LONGER_MS)
        await expect(toast).to_be_visible()  # the pointer is on it
        await toast.get_by_role("button", name="Undo").focus()
        await page.mouse.move(0, 0)
        await page.clock.fast_forward(LONGER_MS)
        await page.keyboard.press("Enter")  # so is the focus
        await expect(toast).to_have_count(0)
        assert await page.title() == "undone"

        await page.evaluate(
            """async () => {
                const { modules } = await import(document.querySelector("script").src);
                modules["js/core/shell.js"].toast("Saved", { undo: async () => {} });
            }"""
        )
        await page.clock.fast_forward(LONGER_MS)
        await expect(page.locator(".toast")).to_have_text(
            "It did not work"
        )  # an error stays until it is read
        await page.get_by_role("button", name="Close").click()
        await expect(page.locator(".toast")).to_have_count(0)


_DRAWN = """
  async ([seconds, values]) => {
    const { modules } = await import(document.querySelector("script").src);
    const { lines } = modules["js/parts/charts.js"];
    const el = document.createElement("figure");
    document.querySelector("main").append(el);
    const begun = Date.parse("2026-11-30T20:03:18Z");
    const step = (seconds * 1000) / values.length;
    const x = values.map((_, i) => new Date(begun + i * step).toISOString());
    const series = [{ name: "Pace", is: "running", values }];
    lines(el, { said: "Pace", x, to: begun + seconds * 1000, series });
    const texts = [...el.querySelectorAll("text")].filter((one) => one.textContent.includes(":"));
    return [texts.length, el.querySelectorAll("circle").length];
  }
"""


@pytest.mark.parametrize("seconds", [8, 14, 24, 50, 400, 9_000])
async def test_an_axis_has_its_times_however_short_it_is(stage: Stage, seconds: int) -> None:
    async with stage.page("/") as page:
        times, _ = await page.evaluate(_DRAWN, [seconds, [1, 2, 3]])
        assert times > 0


async def test_a_single_value_is_seen_as_a_dot(stage: Stage) -> None:
    async with stage.page("/") as page:
        assert (await page.evaluate(_DRAWN, [60, [None, 2, None]]))[1] == 1
        assert (await page.evaluate(_DRAWN, [60, [1, 2, 3]]))[1] == 0


async def expect_skeleton(page: Page, visible: bool) -> None:
    """Wait until a skeleton is seen, or none."""
    await page.wait_for_function(
        """(shown) => [...document.querySelectorAll("[data-wait], .scroll")].some((el) => {
            if (!el.checkVisibility()) return false;
            const { content, opacity } = getComputedStyle(el, "::after");
            return content !== "none" && (!shown || Number(opacity) > 0.5);
        }) === shown""",
        arg=visible,
    )
