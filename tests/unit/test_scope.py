from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlyard.core.jobs.spec import MAX_PATTERN, JobSpec, Scope
from crawlyard.engine.scope import Boundary
from crawlyard.errors import Invalid

SEED = "https://www.example.co.uk/docs/v1/index.html?x=/y/"


def a_boundary(*seeds: str, **spec: Any) -> Boundary:
    seeds = seeds or (SEED,)
    return Boundary(JobSpec(urls=seeds, **spec), seeds)


def test_a_scope_is_seen_from_the_start_url() -> None:
    for scope, url, verdict in [
        (Scope.HOST, "https://www.example.co.uk/", None),
        (Scope.HOST, "http://www.example.co.uk/other", None),
        (Scope.HOST, "https://example.co.uk/", "scope: other host"),
        (Scope.HOST, "https://a.www.example.co.uk/", "scope: other host"),
        (Scope.HOST, "https://www.example.co.uk:8443/", "scope: other host"),
        (Scope.HOST, "https://www.example.co.uk.evil.example/", "scope: other host"),
        (Scope.SUBDOMAINS, "https://www.example.co.uk/", None),
        (Scope.SUBDOMAINS, "https://a.b.www.example.co.uk:8443/", None),
        (Scope.SUBDOMAINS, "https://example.co.uk/", "scope: other host"),
        (Scope.SUBDOMAINS, "https://awww.example.co.uk/", "scope: other host"),
        (Scope.DOMAIN, "https://example.co.uk/", None),
        (Scope.DOMAIN, "http://shop.example.co.uk:81/x", None),
        (Scope.DOMAIN, "https://other.co.uk/", "scope: other domain"),
        (Scope.DOMAIN, "https://co.uk/", "scope: other domain"),
        (Scope.PREFIX, "https://www.example.co.uk/docs/v1/", None),
        (Scope.PREFIX, "https://www.example.co.uk/docs/v1/a/b?c", None),
        (Scope.PREFIX, "http://www.example.co.uk/docs/v1/a", None),
        (Scope.PREFIX, "https://www.example.co.uk/docs/v1", "scope: outside the start folder"),
        (Scope.PREFIX, "https://www.example.co.uk/docs/v10/", "scope: outside the start folder"),
        (Scope.PREFIX, "https://www.example.co.uk/?/docs/v1/", "scope: outside the start folder"),
        (Scope.PREFIX, "https://example.co.uk/docs/v1/", "scope: outside the start folder"),
        (Scope.ANY, "http://anywhere.example/", None),
    ]:
        assert a_boundary(scope=scope).verdict(url, 1) == verdict, (scope, url)


def test_the_domain_of_unusual_hosts() -> None:
    for seed, inside, outside in [
        ("http://me.github.io/", "http://me.github.io/x", "http://you.github.io/"),
        ("http://github.io/", "http://github.io/x", "http://you.github.io/"),
        ("http://localhost/", "http://localhost:81/", "http://otherhost/"),
        ("http://a.intranet/", "http://b.a.intranet/", "http://b.intranet/"),
        ("http://192.168.1.1/", "http://192.168.1.1:81/", "http://10.8.1.1/"),
        ("http://[::1]/", "http://[::1]:81/", "http://[::2]/"),
        ("http://xn--fiqs8s/", "http://xn--fiqs8s/x", "http://a.xn--fiqs8s/"),
        ("http://a.example.com./", "http://b.example.com./", "http://example.org./"),
    ]:
        boundary = a_boundary(seed, scope=Scope.DOMAIN)
        assert boundary.verdict(inside, 1) is None, seed
        assert boundary.verdict(outside, 1) == "scope: other domain", seed


def test_an_address_has_no_names_below_it() -> None:
    for scope in [Scope.HOST, Scope.SUBDOMAINS, Scope.PREFIX]:
        boundary = a_boundary("http://10.0.0.1/", scope=scope)
        assert boundary.verdict("http://10.0.0.1/x", 1) is None, scope
        assert boundary.verdict("http://1.10.0.0/", 1) is not None, scope


def test_every_seed_widens_the_scope() -> None:
    for scope in list(Scope):
        boundary = a_boundary("http://a.example/", "http://b.test/x/", scope=scope)
        boundary.add_seed("http://c.invalid/")
        for url in ("http://a.example/1", "http://b.test/x/1", "http://c.invalid/1"):
            assert boundary.verdict(url, 1) is None, scope


URL = "https://h.example/a/b%20c/page1.html?id=7"


MATCHING = ["*", "https://*", "https://h.example/*", "*page1*", "*?id=7", "*.html*", "*/b c/*"]
MATCHING += ["/a/*", "/*/page?.html?id=?", "/a/b%20c/page1.html?id=7", "http*7", "?ttps://*", URL]
MATCHING += ["re:page[0-9]+", "re:^https:", r"re:id=\d$", "re:(?i)PAGE", "re:a|b", r"re:\Qa/b"]

OTHER = ["https://h.example/", "*page1", "/a", "/page1.html*", "*PAGE*", "*page1.htm?id*"]
OTHER += ["/a/?c/*", "https://h?example", "*[0-9]*", "*page1.html", "/a(b|c)*"]
OTHER += ["re:^/a", "re:PAGE", "re:page$"]


def test_a_pattern_matches() -> None:
    for pattern in MATCHING:
        included = a_boundary("https://h.example/", include=(pattern,))
        excluded = a_boundary("https://h.example/", exclude=(pattern,))
        assert included.verdict(URL, 1) is None, pattern
        assert excluded.verdict(URL, 1) == f"exclude: {pattern}", pattern


def test_a_pattern_does_not_match() -> None:
    for pattern in OTHER:
        included = a_boundary("https://h.example/", include=(pattern,))
        excluded = a_boundary("https://h.example/", exclude=(pattern,))
        assert included.verdict(URL, 1) == "include: no pattern matches", pattern
        assert excluded.verdict(URL, 1) is None, pattern


def test_a_caret_in_a_glob_matches_in_the_path_and_in_the_query() -> None:
    boundary = a_boundary("http://h/", exclude=("/a^b?c^d",))
    assert boundary.verdict("http://h/a%5Eb?c^d", 1) == "exclude: /a^b?c^d"
    assert boundary.verdict("http://h/a%5Eb?c%5Ed", 1) == "exclude: /a^b?c^d"
    assert boundary.verdict("http://h/ab?cd", 1) is None


def test_what_is_not_ascii_in_a_glob_is_read_as_in_a_url() -> None:
    boundary = a_boundary("http://h/", exclude=("*/straße/*",))
    assert boundary.verdict("http://h/stra%C3%9Fe/1", 1) == "exclude: */straße/*"


def test_the_first_of_many_patterns_is_named() -> None:
    globs = tuple(f"*/section{n}/*" for n in range(990))
    boundary = a_boundary("http://h/", exclude=(*globs, "re:x{2}", "*/section7/x*"))
    assert boundary.verdict("http://h/section7/xx", 1) == "exclude: */section7/*"
    assert boundary.verdict("http://h/section989/xx", 1) == "exclude: */section989/*"
    assert boundary.verdict("http://h/xx", 1) == "exclude: re:x{2}"
    assert boundary.verdict("http://h/section7", 1) is None


def test_a_pattern_that_cannot_stand_among_others_is_tried_alone() -> None:
    boundary = a_boundary("http://h/", exclude=(r"re:\Qa.b", "*c*"))
    assert boundary.verdict("http://h/a.b", 1) == r"exclude: re:\Qa.b"
    assert boundary.verdict("http://h/c", 1) == "exclude: *c*"
    assert boundary.verdict("http://h/axb", 1) is None


def test_the_rules_are_asked_in_their_order() -> None:
    boundary = a_boundary("http://h/", include=("*/in/*",), exclude=("*/out/*",), max_depth=3)
    assert boundary.verdict("http://h/in/", 3) is None
    assert boundary.verdict("http://h/in/", 4) == "depth: beyond 3"
    assert boundary.verdict("http://h/x", 4) == "include: no pattern matches"
    assert boundary.verdict("http://h/out/", 4) == "exclude: */out/*"
    assert boundary.verdict("http://other/out/", 4) == "scope: other host"


def test_a_seed_need_not_be_included_but_may_be_excluded() -> None:
    seeds = ("http://h/", "http://h/out/")
    boundary = a_boundary(*seeds, include=("*/in/*",), exclude=("*/out/*",), max_depth=0)
    assert boundary.verdict("http://h/", 0) is None
    assert boundary.verdict("http://h/out/", 0) == "exclude: */out/*"
    assert boundary.verdict("http://h/other", 0) == "include: no pattern matches"


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("re:a[b", r"'re:a\[b': missing \]: \[b at position 1"),
        ("re:(?=x)", r"invalid perl operator: \(\?= at position 0"),
        ("re:a(b", r"missing \): a\(b at position 0"),
        ("re:x**", r"bad repetition operator: \*\* at position 1"),
        (r"re:(a)\1", r"invalid escape sequence: \\1 at position 3"),
        ("re:((a{100}){100}){100}", "repetition size"),
        (r"re:(\pL{100}){10}", "too large"),
        ("re:", "expected a regular expression after 're:'"),
        ("re:\ud800", "surrogates not allowed at position 0"),
        ("", "'' can match no URL"),
        ("example.com/*", "'example.com/.' can match no URL: a glob begins with '/'"),
        ("ftp://*", "can match no URL"),
        ("*" * (MAX_PATTERN + 1), "at most 2000 characters, got 2001"),
    ],
    ids=lambda v: ascii(v)[:30],
)
@pytest.mark.parametrize("field", ["include", "exclude"])
def test_a_pattern_that_is_none_is_refused(field: str, pattern: str, says: str) -> None:
    with pytest.raises(Invalid, match=says) as refused:
        a_boundary(**{field: (pattern,)})
    assert refused.value.field == field


def test_nested_repetition_takes_no_longer_on_a_long_url() -> None:
    # a backtracking engine would try 2**8000 ways
    boundary = a_boundary("http://h/", exclude=("re:(a+)+$", "*a*a*a*a*a*a*a*b"))
    assert boundary.verdict("http://h/" + "a" * 8_000 + "c", 1) is None


def fits(glob: str, text: str) -> bool:
    """Return by exhaustive search whether *glob* matches all of *text*."""
    if not glob:
        return not text
    if glob[0] == "*":
        return any(fits(glob[1:], text[i:]) for i in range(len(text) + 1))
    return bool(text) and glob[0] in {"?", text[0]} and fits(glob[1:], text[1:])


@given(glob=st.text("ab.*?+(", max_size=6), path=st.text("ab.+(", max_size=7))
def test_globs_match_as_by_trying_everything(glob: str, path: str) -> None:
    boundary = a_boundary("http://h/", exclude=("/" + glob,))
    reason = boundary.verdict("http://h/" + path, 1)
    assert (reason is not None) == fits(glob, path)
