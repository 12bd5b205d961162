"""No page shows a value by its name in the code, or Python's notation."""

from datetime import UTC, datetime
from pathlib import Path

from playwright.async_api import Browser, Page, expect

from crawlyard.web.pages import PAGES, SIGN_IN
from tests.browser.rig import Stage, a_stage
from tests.enum_names import names_in
from tests.golden_yard import DOCS, HELD, NEWS, SHOP, fixed
from tests.rich_yard import EVERY_TICK, PROBLEMS, REASONS, build

_TABS = ("pages", "map", "links", "problems", "queue", "log", "history", "settings", "download")
_SECTIONS = ("tokens", "webhooks", "sessions", "limits", "users")
_JOBS = (DOCS, SHOP, HELD, PROBLEMS, *range(200, 200 + sum(map(len, REASONS.values()))))

_TEXTS = """() => {
  for (const el of document.querySelectorAll("details")) el.open = true;
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { data, parentElement: el } = walker.currentNode;
    if (el.closest("pre, code, script, style, textarea, template")) continue;
    if (data.trim() && el.checkVisibility()) texts.push(data.trim());
  }
  for (const name of ["title", "aria-label", "data-tip"])
    for (const el of document.querySelectorAll(`[${name}]`))
      if (el.checkVisibility()) texts.push(el.getAttribute(name));
  return texts.join("\\n");
}"""

# values that are typed into a field
_TYPED = "Reasons that are retried. Of start_unreachable, internal_error, worker_lost."


async def test_no_page_shows_a_value_by_its_name(browser: Browser, tmp_path: Path) -> None:
    await build(tmp_path, datetime.now(UTC))
    async with a_stage(tmp_path, browser) as stage, stage.context() as context:
        page = await context.new_page()
        raw_names = {
            path: names
            for path in await _paths(stage)
            if (names := names_in(await _read(page, path)))
        }
    assert raw_names == {}


async def _paths(stage: Stage) -> list[str]:
    pages = await stage.ask("GET", f"/jobs/{fixed(DOCS)}/pages?limit=9")
    ids = {"template": fixed(NEWS)}
    paths = [
        *(f"/jobs/{fixed(job)}" for job in _JOBS),
        *(f"/jobs/{fixed(job)}/{tab}" for job in (DOCS, SHOP, PROBLEMS) for tab in _TABS),
        *(f"/jobs/{fixed(DOCS)}/pages/{each['id']}" for each in pages["items"]),
        *(f"/settings/{section}" for section in _SECTIONS),
        "/jobs?limit=200",
        "/events?limit=200",
        f"/jobs/{fixed(DOCS)}/changes",
        f"/schedules/{fixed(EVERY_TICK)}",
    ]
    paths += [
        page.path.format_map(ids)
        for page in PAGES
        if "{" not in page.path.replace("{template}", "")
    ]
    return [*paths, SIGN_IN.path]


async def _read(page: Page, path: str) -> str:
    """Return what a page shows once all of it is there."""
    await page.goto(path, wait_until="domcontentloaded")
    if path != SIGN_IN.path:
        await expect(page.locator("#live")).to_have_attribute("data-is", "live")
    await expect(page.locator("[aria-busy=true]")).to_have_count(0)
    await page.wait_for_timeout(300)
    text: str = await page.evaluate(_TEXTS)
    return text.replace(_TYPED, "")
