"""Bounds on what is read of a page: its URLs, its stored links, its text and its elements."""

import subprocess
import sys

import pytest

from crawlyard.core.crawl.link import MAX_BYTES, decode_links
from crawlyard.core.crawl.page import is_body_cut
from crawlyard.core.jobs.spec import MAX_URL, TextMode
from crawlyard.engine.extract import page as page_module
from crawlyard.engine.extract.page import Extracted, ExtractOptions, PageSource, extract
from crawlyard.engine.extract.page_text import DENSE_SIZE, RATIO, SLACK, TextBound
from crawlyard.engine.urls import MAX_URLS, Base
from tests.hazards.growth import NUMBERED, PAGES, QUOTES, filled

LONG = f"http://h.example/{'x' * (MAX_URL - 100)}/"
MODES = [mode for mode in TextMode if mode is not TextMode.NONE]


def read(body: bytes, mode: TextMode = TextMode.MARKDOWN) -> Extracted:
    return extract(body, PageSource(url="http://h.example/", options=ExtractOptions(text=mode)))


def size(page: Extracted) -> int:
    return len((page.text or "").encode())


@pytest.mark.parametrize("href", ["y" * 200, f"/{'é' * (MAX_URL // 4)}", f"z#{'f' * 200}"])
def test_no_url_of_a_link_is_longer_than_a_url_may_be(href: str) -> None:
    base = Base(LONG)

    assert all(len(base.join_each([link])[0]) <= MAX_URL for link in (href, "short"))
    for url in (base.absolute(href), base.absolute("/z#" + "f" * MAX_URL), base.join(href)):
        assert url is None or len(url) <= MAX_URL
    assert base.absolute("short") == f"{LONG}short"


def test_a_base_that_is_longer_than_a_url_may_be_is_ignored() -> None:
    page = read(f'<base href="/{"x" * MAX_URL}/"><a href=a>x</a> <a href=/b>y</a>'.encode())

    assert page.links == ("http://h.example/a", "http://h.example/b")
    assert page.text == "[x](http://h.example/a) [y](http://h.example/b)"


def test_the_urls_of_a_page_are_bounded_in_characters() -> None:
    base = Base(LONG)
    fits = MAX_URLS // (len(LONG) + 4)

    urls = base.join_each([f"{n:04}" for n in range(fits + 10)])

    assert [bool(url) for url in urls] == [True] * (fits + 1) + [False] * 9
    assert base.is_exhausted
    assert Base(LONG).join_each([f"{fits + 9:04}"]) == [f"{LONG}{fits + 9:04}"]


def test_links_of_a_page_that_are_left_out_are_not_left_out_of_the_next() -> None:
    long = [f"{'y' * (MAX_URL - 100)}{n:04}" for n in range(MAX_URLS // (MAX_URL - 100) + 1)]

    assert Base("http://bounded.example/").join_each([*long, "a"])[-1] == ""
    assert Base("http://bounded.example/").join_each(["a"]) == ["http://bounded.example/a"]


def test_what_is_left_out_of_the_links_is_noted() -> None:
    links = "".join(f"<a href={n}>x</a>" for n in range(2_200))

    page = read(f'<base href="{LONG}">{links}'.encode(), TextMode.NONE)

    assert page.cut == f"links are left out, as their URLs have over {MAX_URLS:,} characters"
    assert sum(map(len, page.links)) < MAX_URLS + MAX_URL


def test_the_stored_links_of_a_page_are_bounded_in_bytes() -> None:
    links = "".join(f"<a href=a>{n}</a>" for n in range(2_000))

    page = read(f'<base href="{LONG}">{links}'.encode(), TextMode.NONE)

    assert MAX_BYTES - 2 * MAX_URL < len(page.outgoing) <= MAX_BYTES
    assert [link.text for link in decode_links(page.outgoing)][:2] == ["0", "1"]
    assert len(page.links) == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("start", [f"{QUOTES}<pre>", f"{NUMBERED}<pre>"], ids=["quotes", "numbers"])
def test_a_text_is_bounded_by_its_page_in_each_mode(start: str, mode: TextMode) -> None:
    body = filled(start, "x\n", 60_000)

    page = read(body, mode)

    most = RATIO * len(body) + SLACK
    assert most - 4 <= size(page) <= most
    assert page.cut == f"the text is cut at {most:,} bytes, 4 times the page and 64 kB"


@pytest.mark.parametrize("mode", MODES)
def test_a_text_whose_indents_would_be_over_the_bound_has_none(mode: TextMode) -> None:
    body = filled(f"<p>before{QUOTES}<pre>", "x\n", DENSE_SIZE + 50_000) + b"</pre>after"

    page = read(body, mode)

    assert (page.text or "").split() == ["before", *"x" * body.count(b"x\n"), "after"]
    assert page.cut == "the text has no layout, which would be too large"
    assert not page.content_rule.startswith("body")


def test_usual_nesting_of_a_dense_page_is_laid_out() -> None:
    body = b"<ul><li>a<ul><li>b<ul>" + b"<li>c\n" * 100_000

    page = read(body)

    assert (page.text or "").startswith("- a\n  - b\n    - c\n")
    assert page.cut == ""


def test_columns_of_a_table_are_given_up_before_its_text_is_cut() -> None:
    table = f"<table><tr><td>{'a' * 2_000}{'<tr><td>b<td>c' * 1_500}</table>"

    page = read(table.encode(), TextMode.TEXT)

    assert (page.text or "").endswith("b\n\nc")
    assert page.cut == ""


def test_a_cut_text_ends_with_a_whole_character() -> None:
    text, cut = TextBound(most=10).cut("é" * 6)

    assert (text, bool(cut)) == ("é" * 5, True)
    assert TextBound(most=10).cut("é" * 5) == ("é" * 5, "")
    assert TextBound(most=10).cut("日本語") == ("日本語", "")


def test_elements_beyond_the_bound_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "MAX_ELEMENTS", 100)

    page = read(b"<p>a" * 101)
    usual = read(b"<p>a</p>" * 101)

    assert (page.text or "").count("a") == 100
    assert page.cut == "what follows the last of too many elements is not read"
    assert usual.cut == ""


def test_a_page_of_a_kilobyte_takes_little_memory() -> None:
    program = f"""
import resource, sys
from crawlyard.engine.extract.page import PageSource, extract
page = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
extract(page, PageSource(url="http://{"h"}.example/"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    for name in ("long-base", "repeated-link"):
        done = subprocess.run(
            [sys.executable, "-c", program], input=PAGES[name](), capture_output=True, check=True
        )
        assert int(done.stdout) < 200_000, name  # kB; without bounds 3 GB


def test_a_page_of_which_only_the_reading_was_cut_has_its_whole_body() -> None:
    cut = read(filled(f"{QUOTES}<pre>", "x\n", 60_000)).cut

    assert cut
    assert not is_body_cut(cut)
    assert not is_body_cut("")
    assert is_body_cut(f"the body broke off: reset; {cut}")
