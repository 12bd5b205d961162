import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlyard.core.jobs.spec import MAX_URL
from crawlyard.engine.urls import (
    Base,
    canonical,
    fingerprint,
    host_of,
    hostname_of,
    origin_of,
    path_of,
    port_of,
)
from crawlyard.errors import Invalid

PAGE = "http://example.com/a/b/page.html?q=1"

JOINS = {
    # relative forms
    "c.html": "http://example.com/a/b/c.html",
    "./c.html": "http://example.com/a/b/c.html",
    "../c.html": "http://example.com/a/c.html",
    "../../../../c.html": "http://example.com/c.html",
    "/c": "http://example.com/c",
    "//other.example/x": "http://other.example/x",
    "?p=2": "http://example.com/a/b/page.html?p=2",
    "": "http://example.com/a/b/page.html?q=1",
    "#top": "http://example.com/a/b/page.html?q=1",
    "c#frag?x": "http://example.com/a/b/c",
    "c?#": "http://example.com/a/b/c?",
    ".": "http://example.com/a/b/",
    "..": "http://example.com/a/",
    "http:c": "http://example.com/a/b/c",
    # white space, as a browser takes it
    "  c.html \n": "http://example.com/a/b/c.html",
    "c\t.ht\nml": "http://example.com/a/b/c.html",
    "a b": "http://example.com/a/b/a%20b",
    # backslashes and escaped dots
    "\\\\evil.example\\p": "http://evil.example/p",
    "..\\c": "http://example.com/a/c",
    "/x/%2e%2E/y": "http://example.com/y",
    "/x/%2F/y": "http://example.com/x/%2F/y",
    # hosts in other spellings
    "HTTP://EXAMPLE.COM/X": "http://example.com/X",
    "http://ex%61mple.com/": "http://example.com/",
    "http://bücher.example/": "http://xn--bcher-kva.example/",
    "http://\uff45xample.com/": "http://example.com/",
    "http:///x": "http://x/",
    "https:example.org": "https://example.org/",
    "http://h:80/": "http://h/",
    "https://h:443/": "https://h/",
    "http://h:443/": "http://h:443/",
    "http://h:/": "http://h/",
    "http://h:00080/": "http://h/",
    "http://127.1/": "http://127.0.0.1/",
    "http://0x7f.1/": "http://127.0.0.1/",
    "http://2130706433/": "http://127.0.0.1/",
    "http://017700000001/": "http://127.0.0.1/",
    "http://[::FFFF:7F00:1]/": "http://[::ffff:7f00:1]/",
    "http://[0:0::1]:8080/": "http://[::1]:8080/",
    "http://h./x": "http://h./x",
    # URLs that stay distinct
    "/A": "http://example.com/A",
    "/a/": "http://example.com/a/",
    "/?b=2&a=1": "http://example.com/?b=2&a=1",
    "/%7Ea": "http://example.com/%7Ea",
    "/%c3%a4": "http://example.com/%c3%a4",
    "/ä?ö": "http://example.com/%C3%A4?%C3%B6",
    # the percent-encode sets of a path, of a query and of a fragment differ
    "/a^b?c^d#e^f": "http://example.com/a%5Eb?c^d",
    "^": "http://example.com/a/b/%5E",
    '/ "#': "http://example.com/%20%22",
    "/<>`{}'|": "http://example.com/%3C%3E%60%7B%7D'|",
    "/?<>`{}'|": "http://example.com/?%3C%3E`{}%27|",
    "/a//b": "http://example.com/a//b",
    # credentials are dropped
    "http://user:secret@h/x@y": "http://h/x@y",
    "http://user@h/#f": "http://h/",
    "//a:b@h:8080/": "http://h:8080/",
    # no http(s) URL
    "javascript:void('#')": None,
    "mailto:a@example.com": None,
    "tel:+49123": None,
    "data:text/html,x": None,
    "ftp://h/": None,
    "file:///etc/passwd": None,
    "about:blank": None,
    "blob:http://h/x": None,
    "http://": None,
    "http://a b/": None,
    "http://h:99999/": None,
    "http://h:x/": None,
    "http://[::1/": None,
    "http://256.1.1.1/": None,
    "http://1.2.3.4.5/": None,
    "http://%00/": None,
    "http://a..b/": None,
    f"http://{'a' * 64}.example/": None,
    "\ud800": None,
    "/" + "a" * MAX_URL: None,
}


def test_a_link_leads_where_a_browser_would_go() -> None:
    for href, url in JOINS.items():
        assert Base(PAGE).join(href) == url, (href, url)


def test_base_href_moves_the_links_of_a_page() -> None:
    for href, joined in [
        (None, "http://example.com/a/b/x"),
        ("", "http://example.com/a/b/x"),
        ("/base/", "http://example.com/base/x"),
        ("//cdn.example/lib/", "http://cdn.example/lib/x"),
        ("https://user:pw@h/d/", "https://h/d/x"),
        ("http://a b/", "http://example.com/a/b/x"),  # no URL: as if it were not there
        ("\ud800", "http://example.com/a/b/x"),
        ("data:text/html,", "http://example.com/a/b/x"),
        ("javascript:alert(1)", "http://example.com/a/b/x"),
        ("ftp://h/d/", None),
        ("mailto:x", None),
    ]:
        assert Base(PAGE, href).join("x") == joined, href


def test_what_is_no_url_is_refused_by_its_value(subtests: pytest.Subtests) -> None:
    for url, says in [
        ("example.com", "absolute http or https URL, got 'example.com'"),
        ("/path", "absolute http or https URL"),
        ("", "got ''"),
        ("ftp://h/", "an http or https URL, got 'ftp://h/'"),
        ("mailto:a@b", "an http or https URL"),
        ("http://", "a host name or an IP address, got '' in 'http://'"),
        ("http://a..b/", "labels of 1 to 63 characters"),
        ("http://h/\ud800", r"'http://h/\\ud800'"),
        ("http://h/" + "a" * MAX_URL, "at most 8,192 characters"),
    ]:
        with subtests.test(url=url), pytest.raises(Invalid, match=says) as refused:
            canonical(url)
        assert refused.value.field == "url", url
        assert len(str(refused.value)) < 400, url


def test_a_start_url_without_a_scheme_is_offered_with_one() -> None:
    offered = {
        "docs.example.org": "https://docs.example.org/",
        "docs.example.org/a?b#c": "https://docs.example.org/a?b",
        "docs.example.org:8443/x": "https://docs.example.org:8443/x",
        "b\u00fccher.example": "https://xn--bcher-kva.example/",
        "localhost:8000": "http://localhost:8000/",
        "localhost": "http://localhost/",
        "shop.localhost:8000/x": "http://shop.localhost:8000/x",
        "intranet:8080/": "http://intranet:8080/",
        "127.0.0.1:8000/x": "http://127.0.0.1:8000/x",
        "[::1]:8000": "http://[::1]:8000/",
    }
    for url, whole in offered.items():
        with pytest.raises(Invalid) as refused:
            canonical(url)
        assert refused.value.message.endswith(f", got {url!r}; did you mean {whole}?")


def test_what_would_be_no_url_with_a_scheme_either_is_not_offered(
    subtests: pytest.Subtests,
) -> None:
    for url in [
        "",
        "docs",
        "/path.html",
        "docs.example.org:x",
        "mailto:a@b.example",
        "ftp://h.example/",
    ]:
        with subtests.test(url=url), pytest.raises(Invalid) as refused:
            canonical(url)
        assert refused.value.message.endswith(f"got {url!r}"), url


def test_the_part_of_a_url_that_cannot_be_is_named(subtests: pytest.Subtests) -> None:
    for url, says in [
        ("http://host:99999/", "expected a port from 1 to 65535, got '99999' in "),
        ("http://user@host:65536", "expected a port from 1 to 65535, got '65536' in "),
        ("http://[::1]:x/", "expected a port from 1 to 65535, got 'x' in "),
        (f"http://h:{'9' * 5000}/", "expected a port from 1 to 65535, got '999"),
        ("http:///", "expected a host name or an IP address, got '' in "),
        ("https://:80/", "expected a host name or an IP address, got '' in "),
        ("http://a b/", "expected a host name or an IP address, got 'a b' in "),
        ("http://256.1.1.1/", "expected a host name or an IP address, got '256.1.1.1' in "),
        ("HTTP:\\\\[::1/", "expected a host name or an IP address, got '[::1' in "),
    ]:
        with subtests.test(url=url), pytest.raises(Invalid) as refused:
            canonical(url)
        assert refused.value.message.startswith(says), url
        assert len(str(refused.value)) < 500, url


def test_one_page_has_one_spelling() -> None:
    spellings = [
        "http://example.com/dup/x",
        "HTTP://EXAMPLE.com/dup/x",
        "http://example.com:80/dup/x",
        "http://example.com/./dup/x",
        "http://example.com/dup/../dup/x",
        "http://example.com/dup/x#a",
        "http://example.com/dup/x#",
        "  http://example.com/dup/x\n",
        "http:\\\\example.com\\dup\\x",
        "http://me:pw@example.com/dup/x",
    ]
    assert {canonical(url) for url in spellings} == {"http://example.com/dup/x"}


def test_pages_that_differ_are_not_merged() -> None:
    urls = ["/x", "/X", "/x/", "/x?", "/x?a&b", "/x?b&a", "/%78", "/x%2F", "/x%2f", "/x;v", "//x"]
    spellings = {canonical(f"http://h{path}") for path in urls}
    assert len(spellings) == len(urls)


@pytest.mark.parametrize(
    ("url", "host", "hostname", "port", "origin", "path"),
    [
        ("http://h/", "h", "h", 80, "http://h", "/"),
        ("https://h/a?b", "h", "h", 443, "https://h", "/a?b"),
        ("http://h:8080/?x=/", "h:8080", "h", 8080, "http://h:8080", "/?x=/"),
        ("http://[::1]/a", "[::1]", "::1", 80, "http://[::1]", "/a"),
        (
            "https://[fe80::1]:8443/",
            "[fe80::1]:8443",
            "fe80::1",
            8443,
            "https://[fe80::1]:8443",
            "/",
        ),
        ("http://127.1:81/", "127.0.0.1:81", "127.0.0.1", 81, "http://127.0.0.1:81", "/"),
    ],
)
def test_the_parts_of_a_url_can_be_read(
    url: str, host: str, hostname: str, port: int, origin: str, path: str
) -> None:
    url = canonical(url)
    assert (host_of(url), hostname_of(url), port_of(url)) == (host, hostname, port)
    assert (origin_of(url), path_of(url)) == (origin, path)


def test_fingerprints_are_signed_and_never_change() -> None:
    # stored in databases: another value would make every known URL new
    assert fingerprint("http://example.com/") == -5_081_748_069_831_205_333
    assert fingerprint("http://example.com/a") == 5_371_018_469_612_982_524


texts = st.text(max_size=30)
WORDS = ["http:", "https:", "/", "//", "\\", "..", ".", "%2e", "%", "%41", "@", ":", "#", "?"]
WORDS += ["[", "]", "::1", "h", "ä", "127.1", "8080", "xn--", "a.b"]
pieces = st.sampled_from([*WORDS, " ", "\t", "\u200d", "\ud800"])
urlish = st.one_of(texts, st.lists(pieces, max_size=10).map("".join))


@given(href=urlish)
def test_a_spelling_is_a_fixed_point(href: str) -> None:
    url = Base(PAGE).join(href)

    if url is not None:
        assert canonical(url) == url
        assert Base(PAGE).join(url) == url
        assert url.isascii()
        assert "#" not in url
        assert -(2**63) <= fingerprint(url) < 2**63
        assert url == origin_of(url) + path_of(url)
        assert 0 <= port_of(url) < 65_536


@given(url=urlish.map("http://h/".__add__))
def test_joining_and_canonical_agree(url: str) -> None:
    try:
        expected: str | None = canonical(url)
    except Invalid:
        expected = None
    assert Base(PAGE).join(url) == expected
