"""Comparison of a page between two runs, rule by rule."""

from typing import Any

from msgspec.structs import replace

from crawlyard.core.crawl.changes import (
    CarriedPage,
    Change,
    ChangeKind,
    Comparison,
    LastRead,
    PageFacts,
    Run,
    UrlState,
    compare_page,
    summarize_changes,
)
from crawlyard.core.crawl.page import TargetState
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.webhooks.webhook import message
from tests.builders import NOW, a_job, fp_of

K = ChangeKind
WHOLE = Run(incomplete_reason="", reach={"max_depth": None})
LIMITED = replace(WHOLE, job_id="limited", incomplete_reason="limit_pages")
CARRIED = CarriedPage(replace(WHOLE.last_read, job_id="first"), is_broken=False)


def a_page(path: str = "a", **fields: Any) -> PageFacts:
    url = f"https://example.com/{path}"
    defaults: dict[str, Any] = {
        "id": abs(fp_of(url)) % 10_000,
        "fp": fp_of(url),
        "url": url,
        "status": 200,
        "error": None,
        "truncated": "",
        "title": "A page",
        "sha256": f"sha of {path}",
        "content_rule": "main",
        "content_hash": f"hash of {path}",
        "content_version": 1,
    }
    return PageFacts(**(defaults | fields))


def failed(path: str = "a", status: int | None = 503, error: str = "http_5xx") -> PageFacts:
    return a_page(path, status=status, error=error, content_rule="", content_hash="", sha256="")


def only(comparison: Comparison, *, before: set[int] | None = None) -> Change:
    comparison.conclude(before or set(), set())
    [change] = comparison.changes
    return change


def test_two_whole_answers_are_compared_by_bytes_then_by_text() -> None:
    page = a_page()
    answers = {
        K.SAME: [
            page,
            replace(page, sha256="other"),  # the same text in other markup
            replace(page, content_version=2, content_hash="other"),  # the same bytes
            replace(page, status=304, sha256="", content_hash=""),
        ],
        K.CHANGED: [replace(page, sha256="other", content_hash="other")],
        K.UNKNOWN: [
            replace(page, sha256="other", content_version=2),
            replace(page, sha256="other", content_rule="article"),
            replace(page, sha256="other", content_hash="other", title="404 - Not Found"),
        ],
    }
    for kind, pages in answers.items():
        assert [compare_page(page, other)[0] for other in pages] == [kind] * len(pages)


def test_pages_without_text_are_compared_by_bytes() -> None:
    picture = a_page(content_rule="", content_hash="", content_version=0)
    assert compare_page(picture, picture)[0] is K.SAME
    assert compare_page(picture, replace(picture, sha256="other"))[0] is K.CHANGED


def test_a_page_with_not_found_in_its_title_from_the_start_is_compared() -> None:
    page = a_page(title="HTTP 404, explained")
    other = replace(page, sha256="other", content_hash="other")
    assert compare_page(page, other)[0] is K.CHANGED


def test_a_404_or_410_page_is_gone_even_in_an_incomplete_run() -> None:
    for status in (404, 410):
        comparison = Comparison(WHOLE, replace(WHOLE, incomplete_reason="the run is cancelled"))
        comparison.add(a_page(), failed(status=status, error="http_4xx"))
        assert only(comparison).kind is K.GONE


def test_what_answers_with_another_error_is_broken_once_and_may_hide_others() -> None:
    for status, error in ((503, "http_5xx"), (403, "http_4xx")):
        comparison = Comparison(WHOLE, WHOLE)
        comparison.add(a_page(), failed(status=status, error=error))
        comparison.add(a_page("b"), None)
        comparison.add(
            failed("c", status=status, error=error), failed("c", status=status, error=error)
        )
        comparison.conclude()
        changes = [(change.kind, change.url[-1], change.detail) for change in comparison.changes]
        assert changes[0] == (K.BROKEN, "a", f"answered {status}")
        assert [change[:2] for change in changes[1:]] == [(K.UNKNOWN, "b")]


def test_other_failures_tell_nothing() -> None:
    for status, error in ((None, "timeout"), (429, "http_4xx")):
        comparison = Comparison(WHOLE, WHOLE)
        comparison.add(a_page(), failed(status=status, error=error))
        assert only(comparison).kind is K.UNKNOWN, status
    comparison = Comparison(WHOLE, WHOLE)
    comparison.add(a_page(), a_page(truncated="too large", content_hash="part of it"))
    assert only(comparison).kind is K.UNKNOWN


def test_what_is_not_found_is_gone_only_if_the_later_run_saw_all() -> None:
    doubts = {
        "the run is cancelled": replace(WHOLE, incomplete_reason="the run is cancelled"),
        "the runs differ in max_depth": replace(WHOLE, reach={"max_depth": 2}),
        "a sitemap could not be read": replace(WHOLE, broken_sitemaps=frozenset({1})),
    }
    for why, later in doubts.items():
        comparison = Comparison(WHOLE, later)
        comparison.add(a_page(), None)
        change = only(comparison)
        assert (change.kind, change.detail) == (K.UNKNOWN, why)
    comparison = Comparison(replace(WHOLE, broken_sitemaps=frozenset({1})), doubts[why])
    comparison.add(a_page(), None)
    assert only(comparison).kind is K.GONE  # the earlier run could not read it either


def test_a_page_that_failed_may_hide_others_unless_it_failed_before_as_well() -> None:
    comparison = Comparison(WHOLE, WHOLE)
    comparison.add(a_page("a"), None)
    comparison.add(failed("hub"), failed("hub"))
    assert only(comparison).kind is K.GONE

    for before in (a_page("hub"), None):  # read before, or new
        comparison = Comparison(WHOLE, WHOLE)
        comparison.add(a_page("a"), None)
        comparison.add(before, failed("hub"))
        comparison.conclude()
        assert {c.url[-1]: c.kind for c in comparison.changes}["a"] is K.UNKNOWN


def test_a_page_that_a_rule_kept_out_is_unknown_and_may_hide_others() -> None:
    comparison = Comparison(WHOLE, WHOLE)
    comparison.add(a_page("a"), None)
    comparison.add(
        a_page("hub"), None, None, UrlState(TargetState.SKIPPED, "robots: Disallow: /hub")
    )
    comparison.conclude()
    assert {c.kind for c in comparison.changes} == {K.UNKNOWN}


def test_a_page_that_is_still_linked_is_not_gone() -> None:
    comparison = Comparison(WHOLE, WHOLE)
    comparison.add(page := a_page(), None)
    comparison.conclude(set(), {page.fp})
    assert [c.kind for c in comparison.changes] == [K.UNKNOWN]


def test_a_page_is_new_if_the_earlier_run_would_have_found_it() -> None:
    cases = (
        (K.NEW, WHOLE, None, None),
        (K.NEW, WHOLE, failed(status=404, error="http_4xx"), None),
        (K.NEW, WHOLE, None, UrlState(TargetState.REDIRECTED, "redirect to https://x.example/")),
        (K.SEEN_FIRST, replace(WHOLE, incomplete_reason="limit"), None, None),
        (K.SEEN_FIRST, replace(WHOLE, reach={"max_depth": 1}), None, None),
        (K.SEEN_FIRST, WHOLE, failed(), None),
        (K.SEEN_FIRST, WHOLE, None, UrlState(TargetState.SKIPPED, "robots: Disallow: /")),
        (K.SEEN_FIRST, WHOLE, None, UrlState(TargetState.WAITING, "")),
    )
    for kind, earlier, before, previous in cases:
        comparison = Comparison(earlier, WHOLE)
        comparison.add(before, a_page(), previous)
        assert only(comparison).kind is kind, (earlier, before, previous)
    comparison = Comparison(WHOLE, WHOLE)
    comparison.add(None, page := a_page())
    assert only(comparison, before={page.fp}).kind is K.SEEN_FIRST  # linked, beyond its depth
    comparison = Comparison(WHOLE, WHOLE)
    comparison.add(failed(status=404, error="http_4xx"), page := a_page())
    assert only(comparison, before={page.fp}).kind is K.NEW  # by a link that led nowhere


def test_a_page_has_moved_where_its_url_leads_or_its_text_is() -> None:
    comparison = Comparison(WHOLE, WHOLE)
    new = a_page("new")
    comparison.add(a_page("old"), None, None, UrlState(TargetState.REDIRECTED, "x"), new)
    comparison.add(None, new)
    change = only(comparison)
    assert (change.kind, change.moved_to, change.after) == (K.MOVED, new.url, new.id)

    comparison = Comparison(WHOLE, WHOLE)
    comparison.add(a_page("old", content_hash="it"), failed("old", 404))
    comparison.add(None, new := a_page("new", content_hash="it"))
    assert (only(comparison).kind, comparison.changes[0].moved_to) == (K.MOVED, new.url)


def test_text_that_several_pages_have_does_not_tell_where_one_moved() -> None:
    for twin_before, twin_after in ((True, False), (False, True)):
        comparison = Comparison(WHOLE, WHOLE)
        comparison.add(a_page("old", content_hash="it"), failed("old", 404))
        comparison.add(None, a_page("new", content_hash="it"))
        twin = a_page("twin", content_hash="it")
        other = replace(twin, content_hash="other", sha256="other")
        comparison.add(twin if twin_before else other, twin if twin_after else other)
        comparison.conclude()
        kinds = [c.kind for c in comparison.changes if "twin" not in c.url]
        assert kinds == [K.NEW, K.GONE]


def test_a_redirect_to_a_page_that_fails_tells_nothing() -> None:
    comparison = Comparison(WHOLE, WHOLE)
    redirected = UrlState(TargetState.REDIRECTED, "redirect to https://example.com/x")
    comparison.add(a_page(), None, None, redirected, failed("x"))
    assert only(comparison).kind is K.UNKNOWN
    assert redirected.leads_to == "https://example.com/x"
    assert UrlState(TargetState.SKIPPED, "redirect to https://a.example/: scope").leads_to == (
        "https://a.example/"
    )


def test_what_is_not_proven_is_carried_to_the_next_comparison() -> None:
    skipped = UrlState(TargetState.SKIPPED, "robots: Disallow: /")
    cases: list[tuple[PageFacts | None, UrlState | None, Run, dict[int, bool]]] = [
        (None, None, LIMITED, {a_page().fp: False}),
        (None, skipped, WHOLE, {a_page().fp: False}),
        (failed(), None, WHOLE, {a_page().fp: True}),
        (failed(status=None, error="timeout"), None, WHOLE, {a_page().fp: False}),
        (
            a_page(title="404 Not Found", sha256="", content_hash=""),
            None,
            WHOLE,
            {a_page().fp: False},
        ),
        (a_page(content_rule="article", sha256="x"), None, WHOLE, {}),
        (failed(status=404, error="http_4xx"), None, LIMITED, {}),
        (None, None, WHOLE, {}),
        (None, UrlState(TargetState.SKIPPED, "exclude: */a"), WHOLE, {}),
    ]
    for after, previous, later, unproven in cases:
        comparison = Comparison(WHOLE, later)
        comparison.add(a_page(), after, None, previous)
        comparison.conclude()
        assert comparison.unproven == unproven, (after, previous)
    comparison = Comparison(WHOLE, LIMITED)
    comparison.add(failed(), None)  # no run has read it
    comparison.conclude()
    assert (comparison.unproven, comparison.changes) == ({a_page().fp: False}, [])


def test_a_page_reported_as_broken_is_not_reported_again() -> None:
    broken = CarriedPage(CARRIED.last_read, is_broken=True)
    for carried, kind in ((CARRIED, K.BROKEN), (broken, K.UNKNOWN)):
        comparison = Comparison(LIMITED, WHOLE, WHOLE)
        comparison.add(a_page(), failed(), carried=carried)
        assert only(comparison).kind is kind
        assert comparison.unproven == {a_page().fp: True}
    comparison = Comparison(LIMITED, LIMITED)
    comparison.add(a_page(), None, carried=broken)
    comparison.conclude()
    assert comparison.unproven == {a_page().fp: True}


def test_a_carried_page_is_gone_if_all_that_may_lead_to_it_was_read_since() -> None:
    read_since, not_read_since = None, CARRIED
    for carried, kind in ((read_since, K.GONE), (not_read_since, K.UNKNOWN)):
        comparison = Comparison(LIMITED, WHOLE, WHOLE)
        comparison.add(a_page("a"), None, carried=CARRIED)
        comparison.add(a_page("hub"), failed("hub"), carried=carried)
        comparison.conclude()
        assert {c.url[-1]: c.kind for c in comparison.changes}["a"] is kind
    comparison = Comparison(LIMITED, WHOLE, WHOLE)
    comparison.add(page := a_page("a"), None, carried=CARRIED)
    comparison.add(a_page("hub"), failed("hub"))
    comparison.conclude(link_sources={page.fp: comparison.unread[a_page("hub").id]})
    [change] = [c for c in comparison.changes if c.url.endswith("/a")]
    assert change.kind is K.UNKNOWN
    assert change.detail == "may be linked from https://example.com/hub (answered 503)"


def test_a_carried_page_is_judged_by_the_run_that_read_it_last() -> None:
    broken = replace(WHOLE, broken_sitemaps=frozenset({1}))
    other = CarriedPage(LastRead("first", "another reach"), is_broken=False)
    cases = (
        (broken, CARRIED, "a sitemap could not be read"),
        (WHOLE, other, "the run that has it could reach other pages"),
    )
    for run, carried, why in cases:
        comparison = Comparison(run, run)
        comparison.add(a_page(), None, carried=carried)
        change = only(comparison)
        assert (change.kind, change.detail) == (K.UNKNOWN, why)


def test_after_a_run_that_ended_early_the_last_whole_run_tells_what_is_new() -> None:
    cases = (
        (K.NEW, WHOLE),
        (K.SEEN_FIRST, None),
        (K.SEEN_FIRST, replace(WHOLE, reach={"max_depth": 1})),
        (K.SEEN_FIRST, replace(WHOLE, broken_sitemaps=frozenset({1}))),
    )
    for kind, reference in cases:
        comparison = Comparison(LIMITED, WHOLE, reference)
        comparison.add(None, a_page())
        assert only(comparison).kind is kind, reference


def test_a_run_is_whole_if_nothing_was_left() -> None:
    job = a_job(state=State.COMPLETED, state_reason=StateReason.EXHAUSTED)
    assert Run.of(job).incomplete_reason == ""
    for state, reason, why_partial in (
        (State.COMPLETED, StateReason.LIMIT_PAGES, "the run ended early: page limit"),
        (State.CANCELLED, StateReason.BY_USER, "the run ended early: by a user"),
        (State.RUNNING, StateReason.CRAWLING, "the run has not ended"),
    ):
        assert Run.of(a_job(state=state, state_reason=reason)).incomplete_reason == why_partial


def test_an_event_names_the_first_changes_and_counts_the_others() -> None:
    def some(count: int, length: int = 0) -> list[Change]:
        end = "x" * length
        return [
            Change(kind=K.CHANGED, url=f"https://example.com/{n}{end}", before=1, after=2)
            for n in range(count)
        ]

    moved = Change(kind=K.MOVED, url="https://example.com/a", moved_to="https://example.com/b")
    assert summarize_changes([*some(1), moved]) == {
        "pages": [
            {"kind": "changed", "url": "https://example.com/0"},
            {"kind": "moved", "url": moved.url, "moved_to": moved.moved_to},
        ],
        "more": 0,
    }
    for comparison, named in ((some(150), 100), (some(150, 200), 54), (some(3, 8_000), 1)):
        data = dict(summarize_changes(comparison))
        assert isinstance(data["pages"], list)
        assert (len(data["pages"]), data["more"]) == (named, len(comparison) - named)
        event = a_job().event(EventName.PAGE_CHANGED, NOW, "changes", base_id=a_job().id, **data)
        sent = message(event).data
        assert sent.details["pages"] == data["pages"]
        assert not sent.cut
