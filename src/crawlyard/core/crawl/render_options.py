"""Rendering options of a job: which pages are rendered, by what browser, with which actions."""

from enum import StrEnum, auto
from typing import Annotated

from crawlyard.core.crawl.rendering import (
    MOST_ACTIONS,
    Browser,
    ScreenshotFormat,
    actions_of,
)
from crawlyard.core.fields import Panel, about
from crawlyard.errors import Invalid

MAX_SELECTOR = 1_000  # characters
MAX_CHROMIUM = 1_000


class RenderRule(StrEnum):
    """Rules for which pages are rendered; a URL pattern is a rule for the matching pages."""

    NEVER = auto()
    AUTO = auto()  # those whose text is empty or partial without scripts
    ALWAYS = auto()


class BrowserChoice(StrEnum):
    """Browsers that can render a job's pages."""

    AUTO = auto()  # the cheapest that can do what the job needs
    LIGHTPANDA = Browser.LIGHTPANDA.value
    CHROMIUM = Browser.CHROMIUM.value


class ScreenshotChoice(StrEnum):
    """Formats of the screenshot of each rendered page."""

    OFF = auto()
    PNG = ScreenshotFormat.PNG.value
    WEBP = ScreenshotFormat.WEBP.value


RenderPages = Annotated[
    str,
    about(
        "pages to render in a browser: auto (those that need scripts, if a browser is installed), "
        "never, always, or a URL pattern",
        label="Render pages",
        words={word.value: word.value for word in RenderRule},
        help="Pages to render in a browser: auto (those that need scripts), always, never "
        "or matching URLs (a GLOB); default {default}.",
        panel=Panel.RENDERING,
        metavar="WHICH",
        editable=True,
        longest=2_000,
    ),
]
WaitFor = Annotated[
    str,
    about(
        "CSS selector of an element to wait for in rendered pages",
        label="Wait for element",
        help="Wait for this element before a rendered page counts as complete.",
        panel=Panel.RENDERING,
        metavar="CSS",
        editable=True,
        longest=MAX_SELECTOR,
    ),
]
Actions = Annotated[
    tuple[str, ...],
    about(
        "actions in rendered pages, in order: click CSS, scroll N, wait CSS or wait 2s",
        label="Steps in each page",
        help="Action in each rendered page: click CSS, scroll N, wait CSS or wait 2s. Repeatable.",
        panel=Panel.RENDERING,
        flag="--action",
        metavar="STEP",
        of="steps",
        editable=True,
        longest=MOST_ACTIONS,
    ),
]
Screenshot = Annotated[
    ScreenshotChoice,
    about(
        "screenshot of each rendered page, taken by Chromium",
        help="Screenshot of each rendered page (Chromium only)",
        words={"off": "None", "png": "PNG", "webp": "WebP"},
        panel=Panel.RENDERING,
        editable=True,
    ),
]
FullPage = Annotated[
    bool,
    about(
        "screenshots of the whole page, up to 10,000 pixels high; false: of the window",
        label="Screenshots of the whole page",
        help="Take screenshots of the whole page, not only of the window.",
        panel=Panel.RENDERING,
        editable=True,
    ),
]
Renderer = Annotated[
    BrowserChoice,
    about(
        "browser that renders; auto: Lightpanda if it is installed and no screenshots are taken, "
        "else Chromium",
        help="Browser that renders pages",
        label="Browser",
        words={"auto": "Automatic", "lightpanda": "Lightpanda", "chromium": "Chromium"},
        panel=Panel.RENDERING,
        editable=True,
    ),
]
ChromiumPages = Annotated[
    tuple[str, ...],
    about(
        "URL patterns; a matching page that is rendered is rendered in Chromium",
        label="Chromium for URLs matching",
        help="Use Chromium for rendered pages that match. Repeatable.",
        panel=Panel.RENDERING,
        flag="--chromium",
        metavar="GLOB",
        of="patterns",
        editable=True,
        longest=MAX_CHROMIUM,
    ),
]


def check_rendering(
    render: str, actions: tuple[str, ...], screenshot: ScreenshotChoice, renderer: BrowserChoice
) -> None:
    """Check the rendering fields together.

    Raises:
        Invalid: an action is malformed, or the browser cannot do what is requested.
    """
    faults: list[Invalid] = []
    if not render:
        message = f"expected {', '.join(RenderRule)} or a pattern, got nothing"
        faults.append(Invalid("render", message))
    try:
        actions_of(actions)
    except ValueError as error:
        faults.append(Invalid("actions", str(error)))
    if screenshot is not ScreenshotChoice.OFF and renderer is BrowserChoice.LIGHTPANDA:
        message = "expected off: Lightpanda draws nothing, Chromium does"
        faults.append(Invalid("screenshot", message))
    if faults:
        raise Invalid.of(faults)
