"""Cookies that a jar accepts and sends: RFC 6265, section 5."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlyard.core.crawl.cookie import (
    MAX_JAR_BYTES,
    MAX_PER_DOMAIN,
    MAX_PER_JAR,
    Cookie,
    decode_cookies,
    encode_cookies,
)
from crawlyard.engine.http.cookies import CookieJar, cookie_date, default_path, parse_cookie
from crawlyard.services.access.sealing import NotOpened, Seal

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SITE = "https://shop.example.com/a/b?q=/c"


def jar_with(*values: str, url: str = SITE) -> CookieJar:
    jar = CookieJar()
    jar.receive(url, values, NOW)
    return jar


@pytest.mark.parametrize(
    ("value", "goes_to", "not_to"),
    [
        ("a=1", ["https://shop.example.com/a/", "http://shop.example.com/a/x"], []),
        ("a=1", [], ["https://shop.example.com/", "https://shop.example.com/ab"]),
        ("a=1; Path=/", ["https://shop.example.com/"], ["https://www.shop.example.com/"]),
        ("a=1; Path=/", ["https://shop.example.com:8443/x"], ["https://example.com/"]),
        ("a=1; Path=no", ["https://shop.example.com/a"], ["https://shop.example.com/"]),
        ("a=1; Path=/x", ["https://shop.example.com/x/y"], ["https://shop.example.com/xy"]),
        ("a=1; Path=/x/; Path=/", ["https://shop.example.com/"], []),
        (
            "a=1; Path=/; Domain=.Example.com",
            ["https://example.com/", "https://x.y.example.com/"],
            ["https://notexample.com/", "https://example.com.evil.net/"],
        ),
        ("a=1; Path=/; Domain=", ["https://shop.example.com/"], ["https://example.com/"]),
        ("a=1; Path=/; Secure", ["https://shop.example.com/"], ["http://shop.example.com/"]),
        ("a=1; Path=/; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT", [SITE], []),
        ("a=1; Path=/; Max-Age=soon", [SITE], []),
        ("a=1; Path=/; Expires=never", [SITE], []),
        ("__Host-a=1; Secure; Path=/", [SITE], []),
        ("__Secure-a=1; Secure; Path=/; Domain=example.com", ["https://example.com/"], []),
    ],
)
def test_a_cookie_goes_where_it_belongs(
    value: str, goes_to: Sequence[str], not_to: Sequence[str]
) -> None:
    jar = jar_with(value)
    pair = value.partition(";")[0]
    assert [jar.header(url, NOW) for url in goes_to] == [pair] * len(goes_to)
    assert [jar.header(url, NOW) for url in not_to] == [""] * len(not_to)


@pytest.mark.parametrize(
    ("url", "value"),
    [
        (SITE, "a=1; Domain=com"),  # a public suffix
        ("https://shop.co.uk/", "a=1; Domain=co.uk"),
        ("https://me.github.io/", "a=1; Domain=github.io"),
        (SITE, "a=1; Domain=example.org"),
        (SITE, "a=1; Domain=www.shop.example.com"),
        (SITE, "a=1; Domain=hop.example.com"),
        ("http://127.0.0.1/", "a=1; Domain=0.0.1"),
        ("http://[::1]/", "a=1; Domain=1"),
        ("http://shop.example.com/", "a=1; Secure"),
        ("http://shop.example.com/", "__Secure-a=1"),
        (SITE, "__Secure-a=1"),
        (SITE, "__Host-a=1; Secure; Path=/; Domain=shop.example.com"),
        (SITE, "__host-a=1; Secure; Path=/a"),
        (SITE, "__Host-a=1; Secure"),
        (SITE, "no sign"),
        (SITE, "=nameless"),
        (SITE, "a=1\x00"),
        (SITE, "a=\udcff"),
        (SITE, "a=" + "x" * 4_096),
        (SITE, "a=1; Max-Age=0"),
        (SITE, "a=1; Max-Age=-1"),
        (SITE, "a=1; Expires=Wed, 31-Dec-25 23:59:59 GMT"),
    ],
)
def test_a_cookie_that_its_sender_may_not_set_is_refused(url: str, value: str) -> None:
    jar = jar_with(value, url=url)
    assert len(jar) == 0
    assert not jar.changes()


def test_a_host_named_as_a_public_suffix_has_cookies_of_its_own() -> None:
    jar = jar_with("a=1; Path=/; Domain=github.io", url="https://github.io/")
    assert jar.header("https://github.io/", NOW) == "a=1"
    assert not jar.header("https://me.github.io/", NOW)
    alone = jar_with("a=1; Domain=127.0.0.1; Path=/", url="http://127.0.0.1:80/")
    assert alone.header("http://127.0.0.1:8000/", NOW) == "a=1"
    assert not alone.header("http://1.127.0.0.1.example/", NOW)


def test_cookies_are_sent_the_longest_path_first_then_the_oldest() -> None:
    jar = jar_with("z=1; Path=/", "long=1; Path=/a/b", "a=1; Path=/", "mid=1; Path=/a")
    jar.receive(SITE, ["z=2; Path=/"], NOW + timedelta(seconds=9))
    jar.receive(SITE, ["b=1; Path=/"], NOW + timedelta(seconds=1))
    assert jar.header(SITE, NOW) == "long=1; mid=1; z=2; a=1; b=1"


def test_a_cookie_lives_until_it_expires_or_is_ended() -> None:
    jar = jar_with("a=1; Path=/; Max-Age=60", "b=1; Path=/; Max-Age=" + "9" * 30)
    assert jar.header(SITE, NOW + timedelta(seconds=59)) == "a=1; b=1"
    assert jar.header(SITE, NOW + timedelta(seconds=60)) == "b=1"
    assert jar.header(SITE, NOW + timedelta(days=400)) == ""
    jar.changes()
    jar.receive(SITE, ["b=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], NOW)
    assert list(jar.changes().values()) == [None]
    assert jar.header(SITE, NOW) == "a=1"


def test_http_cannot_put_a_cookie_before_one_of_https() -> None:
    jar = jar_with("id=good; Secure; Path=/; Domain=example.com")
    jar.receive("http://shop.example.com/", ["id=bad; Path=/", "other=1; Path=/"], NOW)
    assert jar.header(SITE, NOW) == "id=good; other=1"


def test_changes_are_told_once_and_make_the_same_jar_elsewhere() -> None:
    jar = jar_with("a=1; Path=/", "b=1; Path=/", "c=1; Secure; HttpOnly; SameSite=Lax")
    stored = dict(jar.changes())
    assert not jar.changes()
    jar.receive(SITE, ["a=1; Path=/"], NOW + timedelta(seconds=5))
    assert not jar.changes()  # nothing is new
    jar.receive(SITE, ["a=2; Path=/", "b=; Path=/; Max-Age=0"], NOW)
    stored |= jar.changes()
    cookies = [cookie for cookie in stored.values() if cookie is not None]
    again = CookieJar.of(decode_cookies(encode_cookies(cookies)))
    assert again.header(SITE, NOW) == jar.header(SITE, NOW) == "c=1; a=2"
    assert not again.changes()
    assert len(again) == 2


def test_caps_hold_and_the_oldest_go_first() -> None:
    jar = CookieJar()
    for n in range(MAX_PER_DOMAIN + 1):
        jar.receive(SITE, [f"n{n}=1; Path=/", "session=1; Path=/"], NOW)
    assert len(jar) == MAX_PER_DOMAIN
    names = {pair.partition("=")[0] for pair in jar.header(SITE, NOW).split("; ")}
    assert "session" in names  # it was set again and again
    assert not {"n0", "n1"} & names
    for n in range(MAX_PER_JAR + 1):
        at = NOW + timedelta(seconds=1)
        jar.receive(f"http://h{n}.example.net/", ["a=1"], at)
    assert len(jar) == MAX_PER_JAR
    assert not jar.header(SITE, NOW)
    for n in range(MAX_JAR_BYTES // 4_000 + 1):
        at = NOW + timedelta(seconds=2)
        jar.receive(f"http://big{n}.example.net/", ["a=" + "x" * 4_000], at)
    assert len(jar) < MAX_JAR_BYTES // 4_000 + 1
    assert len([c for c in jar.changes().values() if c is not None]) == len(jar)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)),
        ("Sunday, 06-Nov-94 08:49:37 GMT", datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)),
        ("Sun Nov  6 08:49:37 1994", datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)),
        ("06 november 69 8:49:7 UTC+2", datetime(2069, 11, 6, 8, 49, 7, tzinfo=UTC)),
        ("31 Feb 2030 00:00:00", None),
        ("1 Jan 2030 25:00:00", None),
        ("1 Jan 1600 00:00:00", None),
        ("1 Jan 2030", None),
        ("Jan 2030 00:00:00", None),
        ("", None),
    ],
)
def test_dates_are_read_as_browsers_do(text: str, expected: datetime | None) -> None:
    assert cookie_date(text) == expected


def test_a_cookies_path_is_the_folder_of_its_page() -> None:
    urls = ("http://h/", "http://h/a", "http://h/a/", "http://h/a/b?c=/d/e")
    assert [default_path(url) for url in urls] == ["/", "/", "/a", "/a"]


def test_names_of_attributes_have_no_case_and_others_are_passed_over() -> None:
    cookie = parse_cookie("a=b=c; SECURE ; httponly; samesite=STRICT; what=ever", SITE, NOW)
    assert cookie is not None
    assert (cookie.name, cookie.value) == ("a", "b=c")
    assert cookie.secure
    assert cookie.expires is None


@given(st.lists(st.text(max_size=60), max_size=5), st.sampled_from(["http", "https"]))
def test_no_header_breaks_a_jar_or_a_request(values: list[str], scheme: str) -> None:
    url = f"{scheme}://www.example.com/x"
    jar = jar_with(*values, *(f"n=1;{value}" for value in values), url=url)
    header = jar.header(url, NOW)
    assert not set(header) & {"\r", "\n", "\0"}
    header.encode()
    for cookie in jar.changes().values():
        assert cookie is None or "www.example.com".endswith(cookie.domain)


def test_a_cookies_value_is_not_in_its_text() -> None:
    cookie = Cookie(name="id", value="s3cret", domain="example.com", created=NOW)
    assert "s3cret" not in f"{cookie} {cookie!r} {[cookie]}"


def test_what_is_sealed_opens_with_its_key_alone_and_unchanged() -> None:
    seal = Seal("key")
    sealed = seal.seal(b"id=s3cret")
    assert b"s3cret" not in sealed
    assert seal.seal(b"id=s3cret") != sealed
    assert Seal("key").open(sealed) == b"id=s3cret"
    damaged = [sealed[:-1], sealed[:-1] + bytes([sealed[-1] ^ 1]), b"\x02" + sealed[1:], b""]
    for bad in damaged:
        with pytest.raises(NotOpened):
            seal.open(bad)
    with pytest.raises(NotOpened, match="another key"):
        Seal("other").open(sealed)
