"""Main content of a page: its choice, and the parts that are cut."""

import sys
import time
import unicodedata
from hashlib import blake2b
from typing import Any

import pytest

from crawlyard.core.jobs.spec import TextMode
from crawlyard.engine.extract.content import content_hash
from crawlyard.engine.extract.page import Extracted, ExtractOptions, PageSource, extract

PROSE = "<p>This is a paragraph that says something, at some length, as paragraphs do.</p>"
LINKS = "".join(f"<li><a href=/{n}>A link to page {n}</a></li>" for n in range(20))
SHELL = f"<nav>Top menu</nav><div class=sidebar><ul>{LINKS}</ul></div>"


def read(
    html: str, mode: TextMode = TextMode.MAIN, head: str = "<title>Title</title>"
) -> Extracted:
    source = PageSource(url="http://h.example/", charset="utf-8", options=ExtractOptions(text=mode))
    return extract(f"{head}<body>{html}".encode(), source)


def text(html: str, **how: Any) -> str:
    return read(html, **how).text or ""


@pytest.mark.parametrize(
    ("html", "rule"),
    [
        (f"<div class=body role=main>{PROSE}</div>", "div.body[role=main]"),
        (f"<article class='md-content__inner'>{PROSE}</article>", "article.md-content__inner"),
        (f"<div class=entry-content>{PROSE}</div>", "div.entry-content"),
        (f"<main>{PROSE}</main>", "main"),
        (f"<article>{PROSE}</article>", "article"),
        (f"<article>{PROSE}</article><article>{PROSE}</article>", "density"),
        (PROSE, "density"),
    ],
)
def test_the_rule_says_how_content_was_found(html: str, rule: str) -> None:
    page = read(SHELL + html.replace(PROSE, PROSE * 5))
    assert page.content_rule == rule
    assert page.content_version > 0
    assert "paragraph" in (page.text or "")
    assert "Top menu" not in (page.text or "")


def test_navigation_does_not_count_against_the_element_of_a_theme() -> None:
    content = f"<div class=vp-doc>{PROSE}</div>"
    for around, rule in (("nav", "div.vp-doc"), ("div", "density")):
        page = read(f"<{around}>{PROSE * 9}</{around}>{content}")
        assert page.content_rule == rule


def test_the_element_of_a_theme_is_not_sought_in_navigation() -> None:
    page = read(f"<nav><div class=vp-doc>{PROSE * 9}</div></nav><main>Text of the page</main>")
    assert (page.content_rule, page.text) == ("main", "Text of the page")


@pytest.mark.parametrize(
    "around",
    [
        "<nav>gone</nav>",
        "<header><p>gone</header>",
        "<footer>gone</footer>",
        "<aside>gone</aside>",
        "<div role=search>gone</div>",
        "<div hidden>gone</div>",
        "<div style='display:none'>gone</div>",
        "<div class=breadcrumbs>gone</div>",
        "<div class='site-footer'>gone</div>",
        "<div class=related><p>gone</div>",
        "<div id=sidebar>gone</div>",
        "<button>gone</button>",
        "<noscript>gone</noscript>",
        f"<div class=sidebar><h1>Project</h1>gone<ul>{LINKS * 3}</ul></div>",
        "<ul><li><a href=/1>gone</a><li><a href=/2>A link</a></ul>",
    ],
)
def test_what_is_around_the_content_is_cut(around: str) -> None:
    extracted = text(f"{around}<h1>Head</h1>{PROSE * 5}")
    assert "gone" not in extracted
    assert extracted.count("paragraph") == 10
    assert "Head" in extracted


@pytest.mark.parametrize(
    "part",
    [
        "<nav><h1>kept</h1></nav>",
        "<article><header><p>kept</header></article>",
        "<aside class=footnote>kept</aside>",
        "<div class=naval>kept</div>",
        "<div class='has-sidebar'>kept</div>",
        "<div class=deprecation-comment>kept</div>",
        "<div role=tabpanel hidden>kept</div>",
        "<div hidden=until-found>kept</div>",
        "<table><tr><td>kept</table>",
        "<dl><dt>kept<dd>it</dl>",
        "<div id=navigation-of-ships>kept</div>",
    ],
)
def test_what_belongs_to_the_content_is_kept(part: str) -> None:
    assert "kept" in text(f"<main>{PROSE}{part}{PROSE}</main>")


@pytest.mark.parametrize(
    "part",
    [
        "<p>gone: <a href=/a>en</a> <a href=/b hreflang=fr>fr</a> <a href=/c hreflang=de>de</a>",
        "<ul><li><a href=/fr hreflang=fr rel=alternate>gone</a></ul>",
        "<div class='page language-switcher'><a href=/fr>gone</a></div>",
        "<div class=bottomlang><p>gone: <a href=../en/a.html title=English>en</a></div>",
        "<div id=page-header><p>gone</p><img alt='' src=../images/gone.png></div>",
        "<div class=site-logo><img src=/a.png alt=gone></div>",
        "<p><a href=/><img src=/img/acme-logo.svg alt=gone></a></p>",
        "<div id=MSearchResultsWindow><div class=SRStatus id=NoMatches>gone</div></div>",
    ],
)
def test_logos_menus_of_languages_and_empty_searches_are_cut(part: str) -> None:
    extracted = text(f"<main><h1>Head</h1>{part}{PROSE}{PROSE}</main>", mode=TextMode.MARKDOWN)
    assert "gone" not in extracted
    assert "paragraph" in extracted


@pytest.mark.parametrize(
    "part",
    [
        "<p><a href=/report><img src=/img/logo-history.png alt=kept></a></p>",
        "<p><img src=/img/logo.png alt=kept></p>",
        "<h2 id=page-header>kept</h2>",
        "<div id=page-header><h1>kept</h1></div>",
        "<p>A French kept <a href=https://b.example/fr hreflang=fr>translation of it</a>.</p>",
        "<p><a href=1 hreflang=de>kept</a> <a href=/2 hreflang=fr>b</a> <a href=3>c</a> <a href=4>",
    ],
)
def test_pictures_and_links_of_the_content_are_kept(part: str) -> None:
    assert "kept" in text(f"<main>{PROSE}{part}{PROSE}</main>", mode=TextMode.MARKDOWN)


def test_a_table_in_a_table_is_kept() -> None:
    inner = "<table><tr><td>one<td>two</table>"
    assert text(f"<main>{PROSE}<table><tr><td>{inner}</table></main>").split()[-2:] == [
        "one",
        "two",
    ]


def test_a_heading_outside_of_the_content_is_put_in_front_if_the_title_repeats_it() -> None:
    html = f"<header><h1>Head</h1></header><main>{PROSE}</main>"
    assert text(html, head="<title>Head - Site</title>").startswith("Head\n\nThis is")
    assert text(html, head="<title>Else</title>").startswith("This is")
    assert (read(html, TextMode.MARKDOWN, "<title>Head</title>").text or "").startswith("# Head\n")


@pytest.mark.parametrize(
    "says",
    [
        "<meta property=og:type content=article>",
        "<meta property=article:author content=x>",
        '<script type=application/ld+json>{"@graph":[{"@type":["NewsArticle"]}]}</script>',
        "<div itemtype=https://schema.org/BlogPosting></div>",
    ],
)
def test_an_article_loses_its_blocks_of_links_and_a_manual_does_not(says: str) -> None:
    html = f"<main>{PROSE * 8}<div><ul>{LINKS}</ul></div>{PROSE}</main>"
    assert "A link to page 3" in text(html)
    article = text(html, head=f"<title>T</title>{says}")
    assert "A link to page 3" not in article
    assert article.count("paragraph") == 18


def test_a_page_whose_content_is_nowhere_is_nearly_empty() -> None:
    menu = f"<nav>{LINKS * 3}</nav>"
    assert read(f"{menu}<main>Nothing</main>").nearly_empty
    assert not read(f"{menu}<main>{PROSE}</main>").nearly_empty
    assert not read("<main>Nothing</main>").nearly_empty
    assert not read(f"{menu}<main>Nothing</main>", TextMode.TEXT).nearly_empty


def test_the_hash_is_that_of_the_content_alone() -> None:
    page = f"<nav>1</nav><main><h2>H</h2>{PROSE}</main><footer>2</footer>"
    same = f"<nav>9</nav><main><h2>H</h2>\n\n {PROSE}</main><footer>8</footer>"
    other = page.replace("something", "something else")
    for mode in (TextMode.MAIN, TextMode.MARKDOWN):
        first, second, third = (read(html, mode).content_hash for html in (page, same, other))
        assert first == second != third
        assert len(first) == 32
    main, markdown = (read(page, mode) for mode in (TextMode.MAIN, TextMode.MARKDOWN))
    assert main.content_hash == markdown.content_hash
    assert read(page, TextMode.TEXT).content_rule == "page"
    assert read(page, TextMode.NONE).content_hash == read("", TextMode.MAIN).content_hash == ""


def test_white_space_and_composition_do_not_count() -> None:
    assert content_hash(" a \n\tb ") == content_hash("ab") != content_hash("ac")
    assert content_hash("e\u0301") == content_hash("\u00e9")
    assert content_hash(" \n") == ""
    assert content_hash("\ud800")


def test_the_hash_is_of_the_words_without_any_white_space() -> None:
    spaces = "".join(filter(str.isspace, map(chr, range(sys.maxunicode))))
    for text in [f"a{spaces}b", f"e{spaces}\u0301 x", "\ud800 y", f"{spaces}z"]:
        bare = unicodedata.normalize("NFC", "".join(text.split()))
        digest = blake2b(bare.encode("utf-8", "replace"), digest_size=16).hexdigest()
        assert content_hash(text) == digest, text[:5]
    assert content_hash(spaces) == ""


def cost(html: str, mode: TextMode) -> float:
    """Return CPU seconds: the least of three, as other work on the machine adds to them."""
    durations = []
    for _ in range(3):
        began = time.process_time()
        read(html, mode)
        durations.append(time.process_time() - began)
    return min(durations)


@pytest.mark.parametrize(
    "html",
    [
        "<nav>x" * 20_000 + "<h1>t</h1>",
        "<aside>x" * 15_000,
        "<div class=nav>x" * 10_000 + "<h1>t</h1>",
        "<table><tr><td>x" * 6_000,
        "<b>x" * 30_000,
        "<code><a href=x>y</a>" * 3_000,
        f"<p class='{'-' * 120_000}'>x",
        "<br>x" * 25_000,
    ],
    ids=lambda html: html[:12],
)
def test_hostile_pages_cost_little_more_than_to_read_them(html: str) -> None:
    """120 to 150 kB each; half a second is what the worst took when they grew quadratically."""
    plain = cost(html, TextMode.TEXT)
    for mode in (TextMode.MAIN, TextMode.MARKDOWN):
        assert cost(html, mode) < 0.05 + 12 * plain
