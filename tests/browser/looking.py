"""Checks of every page: accessibility and overflow."""

from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Page, expect

_RULES = {"resultTypes": ["violations"]}  # of all rules, those of good practice as well

_UNFILLED = """() => [...document.querySelectorAll("main [data-f]:not(.n)")]
    .filter((el) => !el.textContent.trim() && el.checkVisibility({ visibilityProperty: true }))
    .filter((el) => el.parentElement.textContent.trim())
    .map((el) => `${el.dataset.f} in “${el.parentElement.textContent.trim().slice(0, 60)}”`)"""


async def faults_of(page: Page) -> list[str]:
    """Return what axe finds, against WCAG 2.2 AA and good practice: rule, and what breaks it.

    The page's context must bypass the policy (``bypass_csp=True``), which refuses axe.
    """
    await expect(page.locator("[aria-busy=true]")).to_have_count(0)  # it has no names yet
    results = await Axe().run(page, options=_RULES)
    return [
        f"{fault['id']}: {', '.join(str(node['target'][0]) for node in fault['nodes'][:5])}"
        for fault in results.response["violations"]
    ]


async def overflow_of(page: Page) -> int:
    """Return by how many pixels the page is wider than its window."""
    width: int = await page.evaluate(
        "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return max(0, width)  # less: the page is narrower, and has room for a scroll bar


async def unfilled_in(page: Page) -> list[str]:
    """Return the fields that are seen without their data, each with the words around it."""
    texts: list[str] = await page.evaluate(_UNFILLED)
    return texts
