"""Link checks: findings about redirects, failures, fragments, titles and canonical URLs."""

from typing import Any

from crawlyard.core.crawl.link import Link
from crawlyard.core.crawl.link_check import (
    Finding,
    FindingKind,
    LinkCheck,
    UncheckedReason,
    mark_new,
    missing_fragments,
)
from crawlyard.core.crawl.page import ErrorKind, KnownURL, PageError, TargetState, Via
from tests.builders import a_page, a_target

BROKEN, MISSING, CHAIN, SINGLE, TITLE, CANONICAL, ORPHAN = FindingKind


def url(path: str) -> str:
    return a_target(path).url


def page(check: LinkCheck, path: str, **fields: Any) -> None:
    check.add_page(a_page(a_target(path), **fields))


def failing(check: LinkCheck, path: str, kind: ErrorKind = ErrorKind.HTTP_4XX) -> None:
    page(check, path, status=404, error=PageError(kind=kind, detail=f"it is {kind}"))


def redirect(check: LinkCheck, path: str, to: str, *, via: Via = Via.LINK, why: str = "") -> None:
    state = TargetState.SKIPPED if why else TargetState.REDIRECTED
    rule = f"redirect to {url(to)}" + (f": {why}" if why else "")
    add_url(check, path, state, rule, via=via)


def add_url(check: LinkCheck, path: str, state: TargetState, rule: str = "", **fields: Any) -> None:
    fields = {"key": 1, "host": "example.com", "depth": 1, "tries": 0, "due_at": None} | fields
    fields = {"via": Via.LINK, "parent": None} | fields
    check.add_known(KnownURL(url=url(path), state=state, rule=rule, **fields))


def listed(check: LinkCheck, path: str, state: TargetState, rule: str = "") -> None:
    """Add a URL of a sitemap."""
    add_url(check, path, state, rule, via=Via.LISTED, parent=url("sitemap.xml"))


def links(check: LinkCheck, source: str, *targets: str) -> None:
    """Add links to *targets*, each perhaps with a fragment."""
    parts = (target.partition("#") for target in targets)
    check.add_links(url(source), [Link(url(path), fragment) for path, _, fragment in parts])


def findings_of(check: LinkCheck, kind: FindingKind) -> list[Finding]:
    return [finding for finding in check.findings({}) if finding.kind is kind]


def test_a_link_is_followed_through_redirects_to_what_is_known_already() -> None:
    check = LinkCheck()
    failing(check, "gone")
    redirect(check, "a", "b")
    redirect(check, "b", "gone", why="already known")
    links(check, "home", "a", "gone")

    assert [(finding.url, finding.chain) for finding in findings_of(check, BROKEN)] == [
        (url("a"), (url("b"), url("gone"))),
        (url("gone"), ()),
    ]
    assert findings_of(check, CHAIN) == []  # it is broken, which says more


def test_redirects_in_a_circle_end() -> None:
    check = LinkCheck()
    redirect(check, "a", "b")
    redirect(check, "b", "a", why="already known")
    links(check, "home", "a", "b")

    assert check.findings({}) == []
    assert check.unchecked == dict.fromkeys((url("a"), url("b")), UncheckedReason.FAILED)


def test_what_says_nothing_about_a_url_is_no_broken_link() -> None:
    check = LinkCheck()
    kinds = (ErrorKind.RATE_LIMITED, ErrorKind.ROBOTS, ErrorKind.INTERNAL, ErrorKind.TIMEOUT)
    for kind in kinds:
        failing(check, kind.value, kind)
    links(check, "home", *kinds, "never-requested")

    assert [finding.url for finding in findings_of(check, BROKEN)] == [url("timeout")]
    assert len(check.unchecked) == 4


def test_a_failed_url_without_links_is_found() -> None:
    check = LinkCheck()
    failing(check, "listed")
    assert [(finding.url, finding.linked_from) for finding in findings_of(check, BROKEN)] == [
        (url("listed"), ())
    ]


def test_a_chain_is_more_than_one_redirect_of_the_site() -> None:
    check = LinkCheck()
    page(check, "end")
    redirect(check, "one", "end")
    redirect(check, "two", "one")
    redirect(check, "theirs", "one", via=Via.EXTERNAL)
    links(check, "home", "one", "two", "theirs")

    assert [finding.url for finding in findings_of(check, CHAIN)] == [url("two")]
    (single,) = findings_of(check, SINGLE)
    assert (single.url, single.detail) == (url("one"), f"redirects to {url('end')}")


def test_fragments_are_checked_on_the_final_page_of_redirects() -> None:
    check = LinkCheck()
    page(check, "end")
    redirect(check, "old", "end")
    links(check, "home", "old#x", "end#y", "end", "end#/route", "end#!route", "end#:~:text=a")

    assert check.wanted == {url("end"): {"x", "y"}}
    missing = {url("end"): {"x"}}
    (finding,) = [
        broken_fragment
        for broken_fragment in check.findings(missing)
        if broken_fragment.kind is MISSING
    ]
    assert (finding.url, finding.fragment, finding.chain) == (url("old"), "x", (url("end"),))


def test_a_fragment_is_found_as_it_is_or_decoded() -> None:
    ids = ("a", "caf\u00e9", "100%", "b%20c")
    there = ("a", "caf%C3%A9", "caf\u00e9", "100%", "b%20c", "a:~:text=x", "top", "TOP", "%74op")
    assert missing_fragments((*there, "A", "b c", "tops"), ids) == {"A", "b c", "tops"}


def test_titles_count_of_pages_that_are_to_be_indexed() -> None:
    check = LinkCheck()
    for path in ("b", "a"):
        page(check, path, title="Same", canonical=url(path))
    page(check, "copy", title="Same", canonical=url("a"))
    page(check, "hidden", title="Same", noindex=True)
    page(check, "none", title="")
    page(check, "nothing", title="")

    (finding,) = findings_of(check, TITLE)
    assert (finding.url, finding.pages) == (url("a"), (url("a"), url("b")))
    assert finding.detail == "2 pages have the title 'Same'"


def test_a_canonical_url_has_to_be_the_last_word() -> None:
    check = LinkCheck()
    failing(check, "gone")
    page(check, "hidden", noindex=True)
    page(check, "third")
    page(check, "second", canonical=url("third"))
    redirect(check, "old", "third")
    for target in ("gone", "hidden", "third", "second", "old", "unknown"):
        page(check, f"to-{target}", canonical=url(target))

    details = {finding.url: finding.detail for finding in findings_of(check, CANONICAL)}
    assert details == {
        url(f"to-{path}"): f"its canonical URL {url(path)} {why}"
        for path, why in {
            "gone": "fails: it is http_4xx",
            "hidden": "says noindex",
            "old": f"redirects to {url('third')}",
            "second": f"names {url('third')}",
        }.items()
    }


def test_new_findings_are_identified_by_kind_url_and_fragment() -> None:
    def finding(path: str, fragment: str = "", detail: str = "") -> Finding:
        return Finding(kind=MISSING, url=url(path), fragment=fragment, detail=detail)

    now = [finding("a", "x"), finding("a", "y"), finding("b")]
    before = [finding("a", "x", "said otherwise"), finding("c")]
    assert [finding.new for finding in mark_new(now, before)] == [False, True, True]


def test_a_url_that_is_not_checked_has_a_reason() -> None:
    check = LinkCheck()
    rules = {
        "waits": "",
        "forbidden": "robots: Disallow: /forbidden",
        "elsewhere": "scope: other host",
        "pattern": "exclude: */pattern",
        "blocked": "host blocked",
    }
    for path, rule in rules.items():
        add_url(check, path, TargetState.SKIPPED if rule else TargetState.WAITING, rule)
    failing(check, "refused", ErrorKind.RATE_LIMITED)
    redirect(check, "out", "outside", why="scope: other host")
    redirect(check, "down", "deeper", why="depth: beyond 1")
    add_url(check, "sitemap.xml", TargetState.SKIPPED, "sitemap: 2 URLs", via=Via.SITEMAP)
    listed(check, "later", TargetState.WAITING)
    links(check, "home", *rules, "refused", "out", "down", "too-deep", "sitemap.xml")
    check.add_links(url("home"), [Link(url("private"), rel="ugc nofollow")])
    check.add_unlinked()

    limit, failed, robots, other_site, excluded, nofollow = UncheckedReason
    assert check.unchecked == {
        url("waits"): limit,
        url("forbidden"): robots,
        url("elsewhere"): other_site,
        url("pattern"): excluded,
        url("blocked"): excluded,
        url("refused"): failed,
        url("out"): other_site,
        url("down"): limit,
        url("too-deep"): limit,
        url("private"): nofollow,
        url("later"): limit,
    }


def test_a_check_is_incomplete_if_a_limit_or_a_failure_of_the_site_left_urls_out() -> None:
    for path, kind, via, expected in (
        ("a", ErrorKind.RATE_LIMITED, Via.LINK, True),
        ("a", ErrorKind.RATE_LIMITED, Via.EXTERNAL, False),
        ("a", ErrorKind.TIMEOUT, Via.LINK, False),
        ("beyond-the-depth", ErrorKind.TIMEOUT, Via.LINK, True),
    ):
        check = LinkCheck()
        failing(check, "a", kind)
        add_url(check, "a", TargetState.FAILED, via=via)
        add_url(check, "forbidden", TargetState.SKIPPED, "robots: Disallow: /forbidden")
        links(check, "home", path, "forbidden")
        check.add_unlinked()
        assert check.is_incomplete is expected, (path, kind, via)


def a_sitemap() -> LinkCheck:
    """Return the check of a sitemap whose URLs are linked, not linked, gone and redirected."""
    check = LinkCheck()
    for path in ("linked", "alone", "new"):
        page(check, path)
        listed(check, path, TargetState.DONE)
    failing(check, "gone")
    listed(check, "gone", TargetState.FAILED)
    listed(check, "old", TargetState.REDIRECTED, f"redirect to {url('new')}")
    links(check, "home", "linked")
    links(check, "alone", "alone")  # its own link does not count
    return check


def test_pages_of_a_sitemap_that_no_page_links_to_are_found() -> None:
    check = a_sitemap()
    check.add_unlinked()

    orphans = [
        (finding.url, finding.sitemap, finding.linked_from)
        for finding in findings_of(check, ORPHAN)
    ]
    assert orphans == [(url(path), url("sitemap.xml"), ()) for path in ("alone", "new")]
    (broken,) = findings_of(check, BROKEN)
    assert (broken.url, broken.sitemap) == (url("gone"), url("sitemap.xml"))
    (old,) = findings_of(check, SINGLE)
    assert (old.url, old.chain, old.sitemap) == (url("old"), (url("new"),), url("sitemap.xml"))


def test_no_page_is_called_an_orphan_while_others_were_not_read() -> None:
    check = a_sitemap()
    add_url(check, "later", TargetState.WAITING)
    check.add_unlinked()

    assert findings_of(check, ORPHAN) == []
