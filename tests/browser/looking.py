"""What is looked for on every page: faults of accessibility, and what does not fit."""

from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Page

_RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
    "resultTypes": ["violations"],
}


async def faults_of(page: Page) -> list[str]:
    """Return what axe finds against WCAG 2.2 AA: rule, and the elements that break it.

    The page's context must bypass the policy (``bypass_csp=True``), which refuses axe.
    """
    found = await Axe().run(page, options=_RULES)
    return [
        f"{fault['id']}: {', '.join(str(node['target'][0]) for node in fault['nodes'][:5])}"
        for fault in found.response["violations"]
    ]


async def overflow_of(page: Page) -> int:
    """Return by how many pixels the page is wider than its window."""
    width: int = await page.evaluate(
        "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return max(0, width)  # less: the page is narrower, and has room for a scroll bar
