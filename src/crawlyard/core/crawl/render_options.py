"""Options of a job: which of its pages are rendered, with what, and what is done in them."""

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
    """Which pages are rendered, in a word; a pattern of URLs says the same of some alone."""

    NEVER = auto()
    AUTO = auto()  # those whose text is empty or partial without scripts
    ALWAYS = auto()


class BrowserChoice(StrEnum):
    """What a job's pages are rendered with."""

    AUTO = auto()  # the cheapest that does what is asked
    LIGHTPANDA = Browser.LIGHTPANDA.value
    CHROMIUM = Browser.CHROMIUM.value


class ScreenshotChoice(StrEnum):
    """What picture of each rendered page is kept."""

    OFF = auto()
    PNG = ScreenshotFormat.PNG.value
    WEBP = ScreenshotFormat.WEBP.value


RenderPages = Annotated[
    str,
    about(
        "pages that a browser renders: auto (those that need scripts, if one is installed), "
        "never, always, or a pattern of URLs",
        label="Render pages",
        words={word.value: word.value for word in RenderRule},
        help="never, auto, always or a GLOB; else {default}.",
        panel=Panel.RENDERING,
        metavar="WHICH",
        editable=True,
        longest=2_000,
    ),
]
WaitFor = Annotated[
    str,
    about(
        "CSS selector: a rendered page is ready once it finds something",
        label="Wait for element",
        help="A page is ready when this is there.",
        panel=Panel.RENDERING,
        metavar="CSS",
        editable=True,
        longest=MAX_SELECTOR,
    ),
]
Actions = Annotated[
    tuple[str, ...],
    about(
        "steps in a rendered page, in order: click CSS, scroll N, wait CSS or wait 2s",
        label="Steps in each page",
        help="click CSS, scroll N, wait CSS or 2s. Repeatable.",
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
        "picture of each rendered page, which only Chromium can draw",
        words={"off": "None", "png": "PNG", "webp": "WebP"},
        panel=Panel.RENDERING,
        editable=True,
    ),
]
Renderer = Annotated[
    BrowserChoice,
    about(
        "what renders: auto is the cheapest browser that can",
        label="Browser",
        words={"auto": "Automatic", "lightpanda": "Lightpanda", "chromium": "Chromium"},
        panel=Panel.RENDERING,
        editable=True,
    ),
]
ChromiumPages = Annotated[
    tuple[str, ...],
    about(
        "patterns of URLs: of the pages that are rendered, Chromium renders these",
        label="Chromium for URLs matching",
        help="Chromium renders URLs like this. Repeatable.",
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
    """Check what one field alone does not show.

    Raises:
        Invalid: there is no such step, or the browser cannot do what is asked.
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
