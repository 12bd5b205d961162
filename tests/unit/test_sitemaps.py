import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlyard.engine import sitemaps
from crawlyard.engine.sitemaps import MAX_BYTES, MAX_ENTRIES, Sitemap, parse

URL = "http://h.example/maps/sitemap.xml"
NS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


def urlset(*entries: str) -> str:
    return f"<urlset {NS}>{''.join(f'<url><loc>{e}</loc></url>' for e in entries)}</urlset>"


def read(text: str | bytes) -> Sitemap:
    return parse(text.encode() if isinstance(text, str) else text, URL)


def urls(text: str | bytes) -> tuple[str, ...]:
    """Return the pages in *text*, which must be a valid sitemap."""
    sitemap = read(text)
    assert sitemap.problem == ""
    assert sitemap.sitemaps == ()
    return sitemap.urls


A, B = "http://h.example/a", "http://h.example/b?x=1&y=2"

WHOLE: dict[str, str | bytes] = {
    "a urlset": urlset(A, B.replace("&", "&amp;")),
    "a declaration": f'<?xml version="1.0" encoding="UTF-8"?>\n{urlset(A)}',
    "white space in front": f'\n\n <?xml version="1.0"?>{urlset(A)}',
    "a byte order mark": f"\ufeff{urlset(A)}",
    "UTF-16": urlset(A).encode("utf-16"),
    "UTF-16 that says so": f'<?xml version="1.0" encoding="UTF-16"?>{urlset(A)}'.encode("utf-16"),
    "Latin-1": f'<?xml version="1.0" encoding="ISO-8859-1"?>{urlset(A)}<!--\xe4-->'.encode(
        "latin-1"
    ),
    "windows-1252": b'<?xml version="1.0" encoding="windows-1252"?>' + urlset(A).encode(),
    "GBK": f"<?xml version='1.0' encoding='GBK'?>{urlset(A)}<!--\u4f60-->".encode("gbk"),
    "Shift JIS": f'<?xml version="1.0" encoding="Shift_JIS"?>{urlset(A)}<!--\u3042-->'.encode(
        "shift_jis"
    ),
    "CDATA": urlset(f"<![CDATA[{A}]]>"),
    "white space around": urlset(f"\n   {A}\t"),
    "a relative entry": urlset("/a"),
    "a relative entry of the folder": urlset("../a"),
    "a fragment": urlset(A + "#x"),
    "another spelling": urlset("HTTP://h.EXAMPLE:80/x/../a"),
    "each once": urlset(A, A, A + "#"),
    "no namespace": f"<urlset><url><loc>{A}</loc></url></urlset>",
    "a prefix": f'<s:urlset xmlns:s="x"><s:url><s:loc>{A}</s:loc></s:url></s:urlset>',
    "an undeclared prefix": f"<s:urlset><s:url><s:loc>{A}</s:loc></s:url></s:urlset>",
    "upper case": f"<URLSET><URL><LOC>{A}</LOC></URL></URLSET>",
    "comments": urlset(f"<!-- x -->{A}<!-- y -->"),
    "a style sheet": f'<?xml-stylesheet href="http://evil.example/x.xsl"?>{urlset(A)}',
    "images and videos": (
        f"<urlset><url><loc>{A}</loc><image:image><image:loc>http://i/1</image:loc></image:image>"
        "<video:video><video:content_loc>http://v/</video:content_loc></video:video></url></urlset>"
    ),
    "RSS": (
        "<rss version='2.0'><channel><link>http://h.example/</link><item><title>t</title>"
        f"<link>{A}</link><description>&nbsp;</description></item></channel></rss>"
    ),
    "RSS 1.0": f"<rdf:RDF><channel/><item><link>{A}</link></item></rdf:RDF>",
    "Atom": (
        "<feed><link href='/self' rel='self'/><entry><link rel='enclosure' href='/e'/>"
        f"<link href='{A}'/></entry></feed>"
    ),
    "text": f"{A}\n",
    "text of Windows": f"\ufeff{A}\r\n\r\n",
    "text in UTF-16": f"{A}\n".encode("utf-16"),
    "gzip": gzip.compress(urlset(A).encode()),
    "text in gzip": gzip.compress(A.encode()),
    "gzip of two members": gzip.compress(urlset(A)[:50].encode())
    + gzip.compress(urlset(A)[50:].encode()),
    "a DTD without entities": f"<!DOCTYPE urlset>{urlset(A)}",
    "a DTD elsewhere": f'<!DOCTYPE urlset SYSTEM "http://evil.example/x.dtd">{urlset(A)}',
}


def test_reads() -> None:
    for name, body in WHOLE.items():
        locations = urls(body)
        assert locations[:1] == (A,), name
        assert set(locations) <= {A, B}, name


def test_the_order_of_the_file_is_kept() -> None:
    entries = [f"http://h.example/{n}" for n in (3, 1, 2)]
    assert urls(urlset(*entries)) == tuple(entries)
    assert urls("\n".join(entries)) == tuple(entries)


def test_an_index_names_sitemaps() -> None:
    sitemap = read(
        f"<sitemapindex {NS}><sitemap><loc>/1.xml.gz</loc><lastmod>2024</lastmod></sitemap>"
        f"<sitemap><loc>{URL}</loc></sitemap></sitemapindex>"
    )
    assert sitemap == Sitemap(sitemaps=("http://h.example/1.xml.gz", URL))


def test_what_could_be_read_is_kept_and_the_rest_is_said() -> None:
    cases: list[tuple[str | bytes, str]] = [
        (urlset(A) + "<", "malformed XML: "),
        (urlset(A)[:-3], "malformed XML: "),
        (urlset(A).replace("</urlset>", "<url><loc>/b</url>"), "malformed XML: mismatched tag"),
        (urlset(A, "http://h.example/b?x&y"), "malformed XML: not well-formed"),
        (urlset(A, "mailto:x", "http://a b/"), "2 of 3 entries named no http(s) URL"),
        (f"{A}\nfoo\n# bar\n/relative\n", "3 of 4 entries named no http(s) URL"),
        (urlset(A, "x" * 100_000), "1 of 2 entries named no http(s) URL"),
        (
            gzip.compress(urlset(A, *map(str, range(9_000))).encode(), mtime=0)[:-9_000],
            "gzip stream ends early",
        ),
    ]
    for body, problem in cases:
        sitemap = read(body)
        assert problem in sitemap.problem, body
        assert sitemap.urls[:1] == (A,), body


def test_what_is_no_sitemap_says_so() -> None:
    cases: list[tuple[str | bytes, str]] = [
        (
            "<!DOCTYPE html><html><p>Not found</p></html>",
            "not a sitemap: its root element is <html>",
        ),
        (gzip.compress(b"x" * 99, mtime=0)[:12], "the gzip stream ends early"),
        (b"\x1f\x8bnonsense", "broken gzip stream"),
        (bytes(range(128, 256)) * 9, "1 of 1 entry named no http(s) URL"),
        ("<urlset>", "malformed XML: no element found"),
        ("<!doctype html><p>Not found", "malformed XML: syntax error"),
        ("<?xml version='1.0' encoding='foo'?><urlset/>", "malformed XML: unknown encoding"),
        ("<?xml version='1.0' encoding='hex'?><urlset/>", "malformed XML: 'hex' is not a text"),
        ("<?xml version='1.0' encoding='utf-7'?><urlset/>", "malformed XML: multi-byte encodings"),
    ]
    for body, problem in cases:
        sitemap = read(body)
        assert problem in sitemap.problem, body
        assert sitemap.urls == (), body


def test_an_empty_file_names_nothing_and_an_unknown_entity_is_left_out() -> None:
    assert urls("") == urls(" \n") == urls("<urlset/>") == urls(gzip.compress(b"")) == ()
    assert urls(urlset("http://h.example/&nbsp;a")) == (A,)


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))


def test_entities_are_refused() -> None:
    for name, dtd in {
        "a billion laughs": f'<!ENTITY l0 "http://h.example/lol">{LAUGHS}',
        "a file": '<!ENTITY l11 SYSTEM "file:///etc/passwd">',
        "a URL": '<!ENTITY l11 SYSTEM "http://evil.example/">',
        "a parameter entity": '<!ENTITY % p SYSTEM "http://evil.example/x.dtd"> %p;',
        "a harmless one": '<!ENTITY l11 "http://h.example/harmless">',
    }.items():
        sitemap = read(f"<!DOCTYPE urlset [{dtd}]>{urlset(A, '&l11;')}")
        assert "declares the entity" in sitemap.problem, name
        assert sitemap.urls == (), name


def test_no_more_entries_are_taken_than_the_protocol_allows() -> None:
    entries = [f"http://h/{n}" for n in range(MAX_ENTRIES)]
    assert len(urls(urlset(*entries))) == MAX_ENTRIES
    for body in (urlset(*entries, A, B), "\n".join([*entries, A, B])):
        sitemap = read(body)
        assert sitemap.urls == tuple(entries)
        assert sitemap.problem == "more than 50,000 entries: the rest was not read"


def test_no_more_bytes_are_unpacked_than_the_protocol_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert MAX_BYTES == 50 * 1024 * 1024
    monkeypatch.setattr(sitemaps, "MAX_BYTES", 100_000)
    body = urlset(A).removesuffix("</urlset>").encode() + b" " * 100_000 + urlset(B).encode()
    for sitemap in (read(gzip.compress(body, 1)), read(body)):
        assert sitemap.urls == (A,)
        assert "more than 100,000 bytes" in sitemap.problem


def test_half_a_line_is_no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitemaps, "MAX_BYTES", len(A) + 10)
    sitemap = read(f"{A}\n{B}")
    assert sitemap.urls == (A,)


def test_a_file_of_tags_alone_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitemaps, "MAX_ELEMENTS", 100)
    sitemap = read(urlset(A).replace("</urlset>", "<a>" * 200))
    assert sitemap.urls == (A,)
    assert sitemap.problem == "more than 100 elements: the rest was not read"


DATES: dict[str, str | None] = {
    "2024-05-01": "2024-05-02T00:00:00+00:00",  # at some time of that day
    " 2024-05-01T10:00:00+02:00\n": "2024-05-01T08:00:00+00:00",
    "2024-05-01T10:00Z": "2024-05-01T10:00:00+00:00",
    "2024-05-01T10:00:00.5Z": "2024-05-01T10:00:00.500000+00:00",
    "2024-05-01 10:00:00": "2024-05-01T10:00:00+00:00",
    "2024-05": None,
    "2024": None,
    "yesterday": None,
    "": None,
    "9999-12-31": None,
    "0001-01-01T00:00:00+14:00": None,
}


def test_dates_are_instants_in_utc() -> None:
    for text, expected in DATES.items():
        entry = f"<url><lastmod>{text}</lastmod><loc>{A}</loc></url>"
        sitemap = read(f"<urlset>{entry}</urlset>")
        assert sitemap.urls == (A,)
        lastmod = sitemap.lastmods.get(A)
        assert (lastmod and lastmod.isoformat()) == expected, text


def test_of_several_dates_of_a_page_the_last_one_counts() -> None:
    dated = "".join(
        f"<url><loc>{url}</loc><lastmod>{date}</lastmod></url>"
        for url, date in ((A, "2024-05-03"), (A, "2024-05-01"), (A, ""), ("ftp://x/", "2025-01-01"))
    )
    index = f"<sitemap><loc>{URL}</loc><lastmod>2025-01-01</lastmod></sitemap>"
    sitemap = read(
        f"<urlset>{dated}<url><loc>{B.replace('&', '&amp;')}</loc></url>{index}</urlset>"
    )
    assert {url: f"{lastmod:%F}" for url, lastmod in sitemap.lastmods.items()} == {A: "2024-05-04"}
    assert sitemap.sitemaps == (URL,)


@given(
    body=st.binary(max_size=200), start=st.sampled_from([b"", b"<urlset><url><loc>", b"\x1f\x8b"])
)
def test_nothing_in_a_file_is_an_error(body: bytes, start: bytes) -> None:
    sitemap = read(start + body)
    assert all(url.startswith(("http://", "https://")) for url in sitemap.urls)


def test_the_urls_of_a_sitemap_are_bounded_in_characters() -> None:
    entries = "".join(f"<url><loc>{n:05}</loc></url>" for n in range(7_000))

    read = parse(f"<urlset>{entries}</urlset>".encode(), f"http://h.example/{'x' * 8_000}/s.xml")

    assert 6_000 < len(read.urls) < 7_000
    assert read.problem == f"URLs of over {MAX_BYTES:,} characters: the rest was not read"
