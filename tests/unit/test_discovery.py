"""Links of a page that are offered to the frontier."""

import pytest

from crawlyard.core.crawl.page import Target, Via
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.spec import JobSpec, Scope
from crawlyard.engine import discovery
from crawlyard.engine.batch import BatchDraft, Tally
from crawlyard.engine.discovery import Discovery
from crawlyard.engine.urls import fingerprint

START = "http://h/"
DEEP = Target("http://h/deep", fingerprint("http://h/deep"), "h", depth=3, via=Via.LINK)
LINKS = ["http://h/1", "http://h/2", "http://h/3"]


@pytest.fixture
def offered() -> list[str]:
    return []


@pytest.fixture
def finds(offered: list[str]) -> Discovery:
    """A discovery that offers links up to depth three."""
    draft = BatchDraft(Tally(), Usage())
    finds = Discovery(set(), (), draft, lambda target: offered.append(target.url))
    finds.adopt(JobSpec(urls=(START,), max_depth=3))
    finds.begin()
    return finds


def test_a_link_is_worth_an_offer_once(finds: Discovery, offered: list[str]) -> None:
    start = Target(START, fingerprint(START), "h")
    assert finds.unknown(LINKS) == LINKS
    assert finds.unknown(LINKS) == LINKS  # not offered yet

    for url in LINKS[:2]:
        assert finds.offer(url, start, Via.LINK) == ""

    for _ in range(2):
        assert finds.unknown([START, *LINKS]) == LINKS[2:]
    assert offered == [START, *LINKS[:2]]


def test_a_link_that_was_too_deep_is_worth_another_offer(
    finds: Discovery, offered: list[str]
) -> None:
    assert finds.offer(LINKS[0], DEEP, Via.LINK).startswith("depth")
    for _ in range(2):
        assert finds.unknown(LINKS[:1]) == LINKS[:1]
    assert finds.offer(LINKS[0], Target(START, 1, "h"), Via.LINK) == ""
    assert offered == [START, LINKS[0]]


def test_to_forget_the_links_that_are_held_as_text_changes_nothing(
    finds: Discovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "MOST_RECENT", 2)
    start = Target(START, fingerprint(START), "h")
    for url in LINKS:
        finds.offer(url, start, Via.LINK)

    for _ in range(3):
        assert finds.unknown(LINKS) == []
        assert finds.unknown([*LINKS, "http://h/4"]) == ["http://h/4"]


def test_links_out_of_scope_are_taken_up_to_a_number_and_lead_back_into_the_scope() -> None:
    offered: list[Target] = []
    finds = Discovery(set(), (), BatchDraft(Tally(), Usage()), offered.append, externals=1)
    finds.adopt(JobSpec(urls=(START,), max_externals=3, exclude=("*/no",)))
    start = Target(START, fingerprint(START), "h")

    assert finds.offer("http://a/", start, Via.LINK) == ""
    assert finds.offer("http://a/", start, Via.LINK) == "already known"
    assert finds.offer("http://listed/", start, Via.LISTED) == "scope: other host"
    assert finds.offer("http://b/no", start, Via.LINK) == "scope: other host"
    assert finds.offer("http://c/", start, Via.LINK) == ""  # the third, with one of before
    assert finds.offer("http://d/", start, Via.LINK) == "scope: other host"
    assert (
        finds.offer("http://a/on", offered[0], Via.EXTERNAL, hop=True) == ""
    )  # no link of its own
    assert finds.offer("http://h/back", offered[1], Via.EXTERNAL, hop=True) == ""

    assert [(target.url, target.via) for target in offered] == [
        ("http://a/", Via.EXTERNAL),
        ("http://c/", Via.EXTERNAL),
        ("http://a/on", Via.EXTERNAL),
        ("http://h/back", Via.LINK),
    ]
    assert finds.verdict(offered[0]) is None


def test_links_to_other_shards_are_found_once_and_kept_apart_up_to_a_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(discovery, "MOST_ELSEWHERE", 2)
    seen_keys: set[int] = set()
    draft = BatchDraft(Tally(), Usage())
    finds = Discovery(seen_keys, (), draft, lambda _: None, owns=lambda host: host == "h")
    finds.adopt(JobSpec(urls=(START,), scope=Scope.ANY, exclude=("*/no",)))
    start = Target(START, fingerprint(START), "h")
    foreign = ["http://a/", "http://b/no", "http://c/"]

    for url in [LINKS[0], *foreign[:2]]:
        finds.offer(url, start, Via.LINK)
    again = [finds.offer(url, start, Via.LINK) for url in (LINKS[0], *foreign[:2])]
    unknown = finds.unknown([LINKS[0], *foreign])
    finds.offer(foreign[2], start, Via.LINK)

    assert again == ["already known"] * 3
    assert unknown == foreign[2:]
    assert finds.offer(foreign[0], start, Via.LINK) == "", "the store knows it"
    assert seen_keys == {fingerprint(LINKS[0])}
    assert [t.url for t in draft.new_targets] == [LINKS[0], foreign[0], foreign[2], foreign[0]]
