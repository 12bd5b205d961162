"""The cache of resolved links agrees with resolving each anew."""

import random

import pytest

from crawlyard.engine.urls import Base, LinkCache, folder_of, is_simple

PAGES = (
    "http://h/a/b/one.html?q=1",
    "http://h/a/b/two.html?x=/y/",
    "http://h/a/b/",
    "https://h:8443/a/b/three",
    "http://h/",
)
PARTS = (
    *("x", "..", ".", "/", "//", "?", "?q", "#f", ":", "http:", "https://", "http://", "\t", "\n"),
    *(" ", "\\", "@", "%2e", "é", "a b", "mailto:", "g.html", ";", "h", "[", "]", "~"),
)


def test_all_pages_of_a_folder_get_the_links_that_each_would_get_alone() -> None:
    dice = random.Random(7)
    hrefs = ["".join(dice.choices(PARTS, k=dice.randint(0, 4))) for _ in range(6_000)]

    for page in (*PAGES, *PAGES):  # the second time, nearly all is known
        alone = [Base(page).join(href.partition("#")[0]) for href in hrefs]

        assert Base(page).join_all(hrefs) == tuple(dict.fromkeys(u for u in alone if u))


@pytest.mark.parametrize("href", ["http://other/x/", "ftp://h/p/", "../up/?q=/r/"])
def test_a_base_element_moves_all_links(href: str) -> None:
    base = Base("http://h/a/page", href)

    links = ["x", "/y", "?z", "//n/"]
    assert base.join_all(links) == tuple(u for link in links if (u := base.join(link)))


def test_the_oldest_links_are_forgotten_together() -> None:
    joins = LinkCache(most=3)
    target, _ = joins.generations("http://h/a/")
    target.update(x="http://h/a/x", y="http://h/a/y")
    joins.count_added(2)

    now, before = joins.generations("http://h/a/")
    assert now == {}
    assert before == {"x": "http://h/a/x", "y": "http://h/a/y"}

    joins.count_added(3)
    assert joins.generations("http://h/a/") == ({}, {})


def test_a_folder_ends_with_the_last_slash_of_the_path() -> None:
    assert folder_of("http://h/a/b?c=/d/#/e/") == "http://h/a/"
    assert folder_of("http://h/") == "http://h/"
    assert folder_of("ftp://h/a/b") == ""


@pytest.mark.parametrize("href", ["", "?q", "http:x", "\tx", " x", "\\x", "mailto:a", "x" * 301])
def test_what_depends_on_the_page_itself_is_not_kept(href: str) -> None:
    assert not is_simple(href)
