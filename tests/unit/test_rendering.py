"""Parsing of actions on a rendered page."""

import pytest

from crawlyard.core.crawl.rendering import MOST_ACTIONS, ActionKind, PageAction, actions_of

WRITTEN = {
    "click button.more": PageAction(kind=ActionKind.CLICK, selector="button.more"),
    "scroll 3": PageAction(kind=ActionKind.SCROLL, times=3),
    "wait 2s": PageAction(kind=ActionKind.WAIT, seconds=2.0),
    "wait 0.5s": PageAction(kind=ActionKind.WAIT, seconds=0.5),
    "wait .list > li": PageAction(kind=ActionKind.WAIT, selector=".list > li"),
}
WRONG = {
    "eval alert(1)": "expected one of click SELECTOR, scroll N, wait SELECTOR or wait SECONDS",
    "": "expected one of",
    "click": "click needs a selector",
    "wait": "wait needs a selector",
    "scroll 0": "scrolls 1 to 100 times",
    "scroll far": "scrolls 1 to 100 times",
    "wait 61": "waits at most 60 s",
    "wait 5parsecs": "expected a duration",
}


def test_an_action_reads_as_it_is_written() -> None:
    for text, action in WRITTEN.items():
        assert PageAction.parse(text) == action
        assert str(action) == text
    assert PageAction.parse(" scroll ") == PageAction.parse("scroll 1")
    assert PageAction.parse("wait 2") == PageAction.parse("wait 2s")


def test_what_is_no_action_says_why() -> None:
    for text, why in WRONG.items():
        with pytest.raises(ValueError, match=why):
            PageAction.parse(text)


def test_a_page_has_a_bounded_number_of_actions() -> None:
    assert len(actions_of(["scroll"] * MOST_ACTIONS)) == MOST_ACTIONS
    with pytest.raises(ValueError, match="at most 20 actions, got 21"):
        actions_of(["scroll"] * (MOST_ACTIONS + 1))
