"""Checks of every page: accessibility and overflow."""

from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Page, expect

_RULES = {"resultTypes": ["violations"]}  # of all rules, those of good practice as well

_UNFILLED = """() => [...document.querySelectorAll("main [data-f]:not(.n)")]
    .filter((el) => !el.textContent.trim() && el.checkVisibility({ visibilityProperty: true }))
    .filter((el) => el.parentElement.textContent.trim())
    .map((el) => `${el.dataset.f} in “${el.parentElement.textContent.trim().slice(0, 60)}”`)"""

# axe measures neither: WCAG 2.2 AA asks for 4.5:1 for text and 3:1 for icons
_FAINT = """() => {
    const pixel = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const light = (colours) => {
        for (const colour of colours) { pixel.fillStyle = colour; pixel.fillRect(0, 0, 1, 1); }
        const [r, g, b] = [...pixel.getImageData(0, 0, 1, 1).data].slice(0, 3)
            .map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const surfaces = (el) => el
        ? [...surfaces(el.parentElement), getComputedStyle(el).backgroundColor] : ["Canvas"];
    const contrast = (el, part) => {
        const behind = surfaces(el);
        const [dark, bright] = [light(behind), light([...behind, getComputedStyle(el, part).color])]
            .sort((a, b) => a - b);
        return (bright + 0.05) / (dark + 0.05);
    };
    const find = (selector, part, least) => [...document.querySelectorAll(selector)]
        .filter((el) => el.checkVisibility({ visibilityProperty: true }))
        .filter((el) => contrast(el, part) < least)
        .map((el) => `faint: ${part || el.parentElement.outerHTML.slice(0, 80)}`);
    return [...find("[placeholder]:enabled", "::placeholder", 4.5), ...find("svg.i", null, 3)];
}"""


async def faults_of(page: Page) -> list[str]:
    """Return what axe finds, against WCAG 2.2 AA and good practice, and what is too faint.

    The page's context must bypass the policy (``bypass_csp=True``), which refuses axe.
    """
    await expect(page.locator("[aria-busy=true]")).to_have_count(0)  # it has no names yet
    results = await Axe().run(page, options=_RULES)
    faint: list[str] = await page.evaluate(_FAINT)
    return faint[:5] + [
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
