from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlyard.core.jobs.spec import TextMode
from crawlyard.engine.extract.page import (
    MAX_DESCRIPTION,
    MAX_TITLE,
    MAX_VALUE,
    MAX_VALUES,
    Extracted,
    ExtractError,
    ExtractOptions,
    PageSource,
    decoded,
    extract,
    parse_css,
)
from crawlyard.engine.extract.selectors import check_extract_options
from crawlyard.errors import Invalid

URL = "http://h.example/dir/page.html"


def read(
    html: str | bytes,
    *,
    charset: str | None = None,
    headers: tuple[str, ...] = (),
    url: str = URL,
    **options: Any,
) -> Extracted:
    body = html.encode() if isinstance(html, str) else html
    source = PageSource(
        url=url,
        charset=charset,
        robots_header=headers,
        agent_token="crawlyard",
        options=ExtractOptions(**options),
    )
    return extract(body, source)


def links(html: str, **how: Any) -> list[str]:
    """Return the links of *html*, those of its own host as paths."""
    return [url.removeprefix("http://h.example") for url in read(html, **how).links]


def test_links_are_found_where_a_browser_would() -> None:
    for html, expected in [
        ("<a href=x>1</a><a href=/y>2</a>", ["/dir/x", "/y"]),
        ("<area href=x><iframe src=y></iframe>", ["/dir/x", "/dir/y"]),
        ("<frameset><frame src=x><frame src=y></frameset>", ["/dir/x", "/dir/y"]),
        ("<a href=b>1</a><area href=a><a href=c>2</a>", ["/dir/b", "/dir/a", "/dir/c"]),
        ("<a href=x>1</a><a href=x#y>2</a><a href='./x'>3</a>", ["/dir/x"]),
        ("<a href=#top>top</a>", ["/dir/page.html"]),
        ("<a href>1</a><a>2</a><a name=x>3</a>", ["/dir/page.html"]),
        ("<A HREF='X'>1</A>", ["/dir/X"]),
        ("<a\nhref\n=\n'x'\n>1</a>", ["/dir/x"]),
        ("<a href='  x\n '>1</a>", ["/dir/x"]),
        ("<a href='?a=1&amp;b=2&copy=3'>1</a>", ["/dir/page.html?a=1&b=2&copy=3"]),
        ("<a href='&#47;x&#x2F;y'>1</a>", ["/x/y"]),
        ("<a href=x href=y>1</a>", ["/dir/x"]),
        ("<a href=x><div><p>deep<b>er", ["/dir/x"]),
        ("<noscript><a href=x>1</a></noscript>", ["/dir/x"]),
        ("<svg><a href=x>1</a></svg>", ["/dir/x"]),
        ("<table><a href=x>1</a></table>", ["/dir/x"]),
        ("<a href='http://user:pw@other.example/'>1</a>", ["http://other.example/"]),
        # none of these is a link
        ("<!-- <a href=x> --><!--><a href=y>-->", ["/dir/y"]),
        ("<script>'<a href=x>'</script><style><a href=x></style>", []),
        ("<textarea><a href=x></textarea><title><a href=x></title>", []),
        ("<xmp><a href=x></xmp><noframes><a href=x></noframes>", []),
        ("<template><a href=x>1</a><template><a href=y></template></template>", []),
        ("<a href='javascript:x'>1</a><a href=mailto:x>2</a><a href=tel:1>3</a>", []),
        ("<a href='data:text/html,<a href=x>'>1</a><a href='http://a b/'>2</a>", []),
        ("<form action=x><button formaction=y></form>", []),
        ("<img src=x><link rel=stylesheet href=y><script src=z></script>", []),
        ("<a data-href=x>1</a><b href=y>2</b>", []),
    ]:
        assert links(html) == expected, html


def test_a_page_with_templates_keeps_all_else() -> None:
    page = read(
        "<title>t</title><base href=/b/><a href=1>x</a><template><title>no</title><a href=2>"
        "</template><div><template shadowrootmode=open><a href=3>y</a></template></div>"
    )
    assert page.title == "t"
    assert page.links == ("http://h.example/b/1", "http://h.example/b/3")


def test_the_first_base_counts() -> None:
    for bases, link in [
        ("<base href=/b/>", "/b/x"),
        ("<base href='http://other.example/b/'>", "http://other.example/b/x"),
        ("<base target=_top><base href=/b/><base href=/c/>", "/b/x"),
        ("<base href='http://a b/'><base href=/c/>", "/dir/x"),
        ("<base href=''>", "/dir/x"),
        ("<base>", "/dir/x"),
    ]:
        assert links(f"{bases}<a href=x>1</a>") == [link], bases
        assert links(f"<a href=x>1</a>{bases}") == [link], bases


def test_a_nofollow_link_is_left_out_unless_it_is_wanted() -> None:
    html = "<a href=1 rel='ugc NoFollow'>1</a><a href=2 rel=nofollows>2</a><a href=3>3</a>"
    careful, bold = read(html), read(html, follow_nofollow=True)
    assert careful.links == ("http://h.example/dir/2", "http://h.example/dir/3")
    assert careful.nofollow == ("http://h.example/dir/1",)
    assert links(html, follow_nofollow=True) == ["/dir/1", "/dir/2", "/dir/3"]
    assert bold.nofollow == ()


def test_a_link_that_may_be_followed_somewhere_is_followed() -> None:
    page = read("<a href=1 rel=nofollow>1</a><a href=1#x>2</a>")
    assert page.links == ("http://h.example/dir/1",)
    assert page.nofollow == ()


def test_a_page_says_whether_it_is_to_be_kept_and_followed() -> None:
    for meta, headers, noindex, nofollow in [
        ("", (), False, False),
        ("<meta name=robots content=noindex>", (), True, False),
        ("<meta name=robots content=nofollow>", (), False, True),
        ("<meta name=ROBOTS content=' NoIndex , NOFOLLOW '>", (), True, True),
        ("<meta name=robots content=none>", (), True, True),
        ("<meta name=robots content='noindex nofollow'>", (), True, True),
        ("<meta name=robots content='index, follow, all'>", (), False, False),
        ("<meta name=robots content='noindexing'>", (), False, False),
        ("<meta name=Crawlyard content=noindex>", (), True, False),
        ("<meta name=googlebot content=none>", (), False, False),
        ("<meta property=robots content=none>", (), False, False),
        ("<meta name=robots>", (), False, False),
        ("<meta name=robots content=noindex><meta name=robots content=nofollow>", (), True, True),
        ("<p><meta name=robots content=noindex>", (), True, False),
        ("", ("noindex",), True, False),
        ("", ("NOINDEX, nofollow",), True, True),
        ("", ("none",), True, True),
        ("", ("otherbot: noindex, nofollow",), False, False),
        ("", ("otherbot: noindex", "nofollow"), False, True),
        ("", ("crawlyard: noindex",), True, False),
        ("", ("Crawlyard: noindex, nofollow",), True, True),
        ("", ("otherbot: noindex, crawlyard: nofollow",), False, True),
        ("", ("*: noindex",), True, False),
        ("", ("unavailable_after: 25 Jun 2030 15:00:00 PST, noindex",), True, False),
        ("", ("unavailable_after: Friday, 25 Jun 2030 15:00:00 PST", "noindex"), True, False),
        ("", ("unavailable_after: Friday, 25 Jun 2030 15:00:00 PST, noindex",), True, False),
        ("", ("max-snippet: 20, max-image-preview:large, nofollow",), False, True),
        ("", ("otherbot: max-snippet:20, noindex",), False, False),
        ("", ("",), False, False),
    ]:
        page = read(f"{meta}<a href=x>1</a>", headers=headers)
        assert page.noindex is noindex, (meta, headers)
        assert bool(page.nofollow) is nofollow, (meta, headers)
        assert bool(page.links) is not nofollow, (meta, headers)
        assert links(f"{meta}<a href=x>1</a>", headers=headers, follow_nofollow=True), (
            meta,
            headers,
        )


def test_a_refresh_leads_where_a_browser_would_go() -> None:
    for content, target in [
        ("0; url=/x", "/x"),
        ("5;URL='/x'", "/x"),
        ('0; url = "/x" ; more', "/x"),
        ("0;url='/x", "/x"),
        ("0,/x", "/x"),
        ("0 /x", "/x"),
        ("  1.5 ;  url=x", "/dir/x"),
        (".5;url=x", "/dir/x"),
        ("0;'/x'", "/x"),
        ("0;url", "/dir/url"),
        ("0;urls/x", "/dir/urls/x"),
        ("0;u", "/dir/u"),
        ("0;url=?a=1&amp;b=2", "/dir/page.html?a=1&b=2"),
        ("0;url=http://other.example/", "http://other.example/"),
        # these lead nowhere else
        ("5", None),
        ("5;", None),
        ("5; url=", None),
        ("5; url=''", None),
        ("url=/x", None),
        ("/x", None),
        ("0/x", None),
        ("-1;url=/x", None),
        ("0;url=javascript:x", None),
        ("", None),
    ]:
        quoted = content.replace('"', "&quot;")
        page = read(f'<meta http-equiv=Refresh content="{quoted}">')
        assert (page.refresh and page.refresh.removeprefix("http://h.example")) == target, content


def test_a_refresh_is_no_name_and_the_first_that_leads_somewhere_counts() -> None:
    refresh = "<meta http-equiv=refresh content='5'><meta http-equiv=refresh content='0;/x'>"
    assert read("<meta name=refresh content='0;/x'>").refresh is None
    assert read(f"{refresh}<meta http-equiv=refresh content='0;/y'>").refresh == (
        "http://h.example/x"
    )
    assert read("<meta http-equiv=robots content=none>").noindex is False


def test_a_long_refresh_is_read_in_one_pass() -> None:
    # two runs of blanks or digits side by side would be split in every way
    for content in (
        "1" * 200_000,
        " " * 200_000,
        "0" + " " * 200_000 + "!",
        "0;url" + " " * 200_000,
    ):
        read(f"<meta http-equiv=refresh content='{content}'>")


def test_what_a_page_says_of_itself() -> None:
    page = read(
        "<html lang=' de-AT '><head><title>\n A  title &amp; more </title><title>second</title>"
        "<meta name=Description content=' What\n it is '><meta name=description content=other>"
        "<link rel='Canonical' href='/c#x'><link rel=canonical href=/d></head>"
    )
    assert page.title == "A title & more"
    assert page.description == "What it is"
    assert page.lang == "de-AT"
    assert page.canonical == "http://h.example/c"


def test_what_a_page_does_not_say_is_empty() -> None:
    assert read("", text=TextMode.NONE) == Extracted()
    assert read("<svg><title>icon</title></svg>").title == ""
    assert read("<link rel=canonical href='http://a b/'>").canonical == ""
    assert read("<html xml:lang=fr>").lang == "fr"


def test_long_values_are_cut() -> None:
    page = read(
        f"<title>{'t ' * 500_000}</title><meta name=description content={'d' * 9_999}>"
        f"{'<i>x</i>' * (MAX_VALUES + 1)}<b>{'y' * (MAX_VALUE + 1)}</b>",
        css=(("i", "i"), ("b", "b")),
    )
    assert len(page.title) == MAX_TITLE
    assert len(page.description) == MAX_DESCRIPTION
    assert len(page.extracted["i"]) == MAX_VALUES
    assert len(page.extracted["b"][0]) == MAX_VALUE


JAPANESE, RUSSIAN = (
    "日本語のページ。これは文字コードの試験です。",
    "Русская страница: погода, природа",
)


def test_a_page_is_read_in_its_encoding() -> None:
    for body, charset, title in [
        ("<title>é</title>".encode(), "utf-8", "é"),
        ("<title>é</title>".encode("latin-1"), "ISO-8859-1", "é"),
        ("<title>€</title>".encode("cp1252"), "latin1", "€"),
        ("<meta charset=iso-8859-1><title>é</title>".encode("latin-1"), None, "é"),
        ("<meta charset=iso-8859-1><title>é</title>".encode(), "utf-8", "é"),
        ("<meta charset=utf-8><title>é</title>".encode("latin-1"), "latin1", "é"),
        ("<title>é</title>".encode("utf-8-sig"), "latin1", "é"),
        ("\ufeff<title>é</title>".encode("utf-16-le"), None, "é"),
        ("\ufeff<title>é</title>".encode("utf-16-be"), "utf-8", "é"),
        (f"<meta charset=shift_jis><title>{JAPANESE}</title>".encode("shift_jis"), None, JAPANESE),
        (
            "<meta http-equiv=content-type content='text/html; charset=euc-jp'>"
            f"<title>{JAPANESE}</title>".encode("euc-jp"),
            None,
            JAPANESE,
        ),
        (f"<title>{JAPANESE}</title>".encode("shift_jis"), None, JAPANESE),
        (f"<title>{RUSSIAN}</title>".encode("cp1251"), None, RUSSIAN),
        (f"<title>{RUSSIAN}</title>".encode(), None, RUSSIAN),
        # labels that mean nothing are as good as none
        (f"<title>{RUSSIAN}</title>".encode(), "none", RUSSIAN),
        (f"<title>{RUSSIAN}</title>".encode(), "utf-7", RUSSIAN),
        (f"<title>{RUSSIAN}</title>".encode(), "", RUSSIAN),
        (f"<title>{RUSSIAN}</title>".encode(), "\x00\udc80", RUSSIAN),
        (f"<title>{RUSSIAN}</title>".encode(), ' "UTF-8" ', RUSSIAN),
        (f"<meta charset=foo><title>{RUSSIAN}</title>".encode(), "bar", RUSSIAN),
        (b"<title>a\xff\xfeb\x00c</title>", "utf-8", "a\ufffd\ufffdb\ufffdc"),
        (b"<title>&#xD800;&#0;</title>", None, "\ufffd\ufffd"),
    ]:
        assert read(body, charset=charset).title == title, (body, charset)


ARTICLE = (
    "<nav><a href=/1>Home</a> <a href=/2>News</a></nav><article><h1>Head</h1>"
    "<p>The first paragraph of the article says something <b>bold</b>, at some length, so that "
    "it is taken for what the page is about.</p><p>The second one goes on, and on, and on, with "
    "commas, until there is enough of it to read.</p></article><script>no()</script>"
)


def test_text_is_what_a_reader_sees() -> None:
    assert read(ARTICLE, text=TextMode.NONE).text is None

    text = read(ARTICLE, text=TextMode.TEXT).text or ""
    main = read(ARTICLE, text=TextMode.MAIN).text or ""
    markdown = read(ARTICLE, text=TextMode.MARKDOWN).text or ""

    assert "Home" in text
    assert "no()" not in text + main + markdown
    assert "Home" not in main
    assert "The second one goes on" in main
    assert "# Head" in markdown
    assert "**bold**" in markdown


def test_selectors_give_texts_or_attributes() -> None:
    page = read(
        "<p class=price>\n 1  EUR </p><p class=price><b>2</b> EUR</p>"
        "<a class=x href=' /a '>t</a><a class=x>u</a><i data-Id=7></i>",
        css=(
            ("price", ".price"),
            ("link", "a.x@href"),
            ("id", "i@data-id"),
            ("none", "table"),
            ("class", "p@CLASS"),
        ),
    )
    assert page.extracted == {
        "price": ("1 EUR", "2 EUR"),
        "link": ("http://h.example/a",),
        "id": ("7",),
        "none": (),
        "class": ("price", "price"),
    }


def test_an_attribute_is_named_behind_an_at() -> None:
    for expression, css, attribute in [
        ("a.price@href", "a.price", "href"),
        (" a > b @ data-x ", "a > b", "data-x"),
        ("a[href*='@']", "a[href*='@']", None),
        ("a[href*='@x']@xml:lang", "a[href*='@x']", "xml:lang"),
        ("h1", "h1", None),
        ("h1@", "h1@", None),
    ]:
        assert parse_css(expression) == (css, attribute), expression


def test_a_selector_that_is_none_is_refused(subtests: pytest.Subtests) -> None:
    for css in ["a[", "", "@href", "h1@", "a:foo", "..", "a >", "::attr(x)"]:
        with (
            subtests.test(css=css),
            pytest.raises(Invalid, match=r"extract: x: .* is not a CSS selector: "),
        ):
            check_extract_options(ExtractOptions(css=(("ok", "h1"), ("x", css))))


def test_what_is_ignored_is_left_out_of_the_text_and_its_links_are_followed() -> None:
    page = (
        "<main><h1>A page</h1><p class=clock>12:01</p>"
        "<p>Its <b>text</b> is <a href=/x>this</a></p></main>"
    )
    for mode in (TextMode.TEXT, TextMode.MAIN, TextMode.MARKDOWN, TextMode.PAGE_MARKDOWN):
        whole, less = (
            read(page, text=mode, ignored=ignored, css=(("clock", ".clock"),))
            for ignored in ((), (".clock", "p > a, p > b"))
        )
        assert "12:01" in (whole.text or "")
        assert (less.text or "").split()[-2:] == ["Its", "is"]
        assert (less.links, less.extracted) == (("http://h.example/x",), {"clock": ("12:01",)})
        assert less.content_hash != whole.content_hash
        assert less.content_rule == f"{whole.content_rule} without .clock, p > a, p > b"
    assert read(page, text=TextMode.NONE, ignored=("p",)).content_rule == ""
    assert read(page, ignored=("body",)).text == ""
    same = read("<main><h1>A page</h1><p>Its is </p></main>", ignored=(".clock", "p > a, p > b"))
    assert same.content_hash == less.content_hash


def test_what_is_ignored_must_be_a_selector() -> None:
    check_extract_options(ExtractOptions(ignored=("a.b > c", ":is(h1, h2)")))
    with pytest.raises(Invalid, match=r"ignore_css: 'a\[' is not a CSS selector: "):
        check_extract_options(ExtractOptions(ignored=("h1", "a[")))
    with pytest.raises(Invalid, match="ignore_css: expected at most 100 characters each, got 101"):
        check_extract_options(ExtractOptions(ignored=("a" * 101,)))


def test_what_can_be_selected_is_not_refused() -> None:
    check_extract_options(ExtractOptions(css=(("a", "a.b > c:not(d)@href"), ("b", ":is(h1, h2)"))))


def test_any_parser_error_is_an_extract_error() -> None:
    with pytest.raises(ExtractError, match="SelectorSyntaxError: "):
        read("x", css=(("x", "["),))


def test_hostile_nesting_is_read_like_any_page() -> None:
    for piece, count in [
        (b"<div>", 60_000),
        (b"<b><i><p>", 10_000),
        (b"<table><tr><td>", 10_000),
        (b"<template><a href=x>", 10_000),
        (b"<a href=x><div>", 20_000),
        (b"<font size=1>", 5_000),
        (b"<!--", 50_000),
        (b"<svg><title>", 5_000),
        (b"<title>", 50_000),
        (b"\0", 100_000),
        (b"&", 100_000),
        (b"<", 100_000),
    ]:
        page = read(piece * count)
        assert len(page.links) <= 1, piece


@given(
    body=st.binary(max_size=300) | st.text(max_size=100).map(str.encode),
    charset=st.text(max_size=9),
)
def test_no_page_is_more_than_an_error(body: bytes, charset: str) -> None:
    page = read(b"<title>" + body, charset=charset)
    assert page.title == " ".join(page.title.split())
    page.title.encode()
    (page.text or "").encode()


tags = st.sampled_from(["<a href=x>", "<a href='/y?#z'>", "<base href=/b/>", "<template>", "<p>"])
tags |= st.sampled_from(
    ["</a>", "</template>", "<svg>", "<table>", "<!--", "-->", "<select>", "</p>"]
)


@given(html=st.lists(tags, max_size=12).map("".join))
def test_links_are_canonical_and_unique(html: str) -> None:
    page = read(html, follow_nofollow=True)
    assert len(set(page.links)) == len(page.links)
    assert all(url.startswith("http://h.example/") and "#" not in url for url in page.links)


def test_kept_markup_is_read_in_its_own_encoding() -> None:
    for body, charset, text in [
        ("<p>é".encode(), None, "<p>é"),
        ("<p>é".encode("latin-1"), "iso-8859-1", "<p>é"),
        (
            "<meta charset=iso-8859-2><p>ł".encode("iso-8859-2"),
            None,
            "<meta charset=iso-8859-2><p>ł",
        ),
        (b"<p>a", "no-such-charset", "<p>a"),
    ]:
        assert decoded(body, charset) == text, body
