"""Rendering: browsers, actions on a loaded page, and screenshots."""

from collections.abc import Sequence
from enum import StrEnum, auto

from msgspec import Struct

from crawlyard.core import quantity
from crawlyard.core.quantity import count_noun

MOST_ACTIONS = 20
MOST_SCROLLS = 100
LONGEST_WAIT_S = 60.0


class Browser(StrEnum):
    """Browsers that run the scripts of a page."""

    LIGHTPANDA = auto()  # small and quick; draws nothing
    CHROMIUM = auto()  # a whole browser: faithful, and about ten times as expensive


class RenderReason(StrEnum):
    """Why a page was rendered."""

    NEEDS_SCRIPTS = auto()  # its text was empty or partial without its scripts
    ALWAYS = auto()  # its job renders all pages
    PATTERN = auto()  # its URL matches the pattern of its job


class ScreenshotFormat(StrEnum):
    """Image format of a screenshot; WebP is the smaller one."""

    PNG = auto()
    WEBP = auto()


class ActionKind(StrEnum):
    """Actions on a page. The list is closed, and no action runs code of the user."""

    CLICK = auto()  # on the first element that a selector matches, once it exists
    SCROLL = auto()  # to the end, and again once more has loaded
    WAIT = auto()  # for a selector, or for some seconds


class PageAction(Struct, frozen=True, kw_only=True):
    """One step after a page is loaded, written ``click SELECTOR``, ``scroll N``, ``wait 2s``."""

    kind: ActionKind
    selector: str = ""  # of a click, or of a wait that is not for *seconds*
    times: int = 1  # of a scroll
    seconds: float = 0.0  # of a wait

    @staticmethod
    def parse(text: str) -> "PageAction":
        """Return the action written as *text*.

        Raises:
            ValueError: it is not an action.
        """
        word, _, rest = text.strip().partition(" ")
        rest = rest.strip()
        if word not in frozenset(ActionKind):
            forms = "click SELECTOR, scroll N, wait SELECTOR or wait SECONDS"
            raise ValueError(f"expected one of {forms}, got {text[:100]!r}")
        kind = ActionKind(word)
        if kind is ActionKind.SCROLL:
            return PageAction(kind=kind, times=_times(rest))
        if not rest:
            raise ValueError(f"{word} needs a selector, as in: {word} button.more")
        seconds = _seconds(rest) if kind is ActionKind.WAIT else None
        if seconds is None:
            return PageAction(kind=kind, selector=rest)
        if seconds > LONGEST_WAIT_S:
            raise ValueError(f"waits at most {LONGEST_WAIT_S:g} s, got {rest[:20]!r}")
        return PageAction(kind=kind, seconds=seconds)

    def __str__(self) -> str:
        if self.kind is ActionKind.SCROLL:
            return f"{self.kind} {self.times}"
        return f"{self.kind} {self.selector or f'{self.seconds:g}s'}"


def actions_of(texts: Sequence[str]) -> tuple[PageAction, ...]:
    """Return the actions written as *texts*, in order.

    Raises:
        ValueError: a text is not an action, or there are too many.
    """
    if len(texts) > MOST_ACTIONS:
        raise ValueError(f"at most {count_noun(MOST_ACTIONS, 'action')}, got {len(texts)}")
    return tuple(PageAction.parse(text) for text in texts)


def _times(rest: str) -> int:
    if not rest:
        return 1
    if not (rest.isascii() and rest.isdigit() and 1 <= int(rest[:6]) <= MOST_SCROLLS):
        raise ValueError(f"scrolls 1 to {MOST_SCROLLS} times, got {rest[:20]!r}")
    return int(rest)


def _seconds(rest: str) -> float | None:
    """Return the seconds that *rest* names, ``None`` if it is a selector.

    No selector begins with a digit.
    """
    return quantity.duration(rest).total_seconds() if rest[0].isdigit() else None
