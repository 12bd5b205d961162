"""A spec as a form, and patches of it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from crawlyard.core.access.sharing import Sharing
from crawlyard.core.crawl.cookie import CookieMode
from crawlyard.core.crawl.render_options import BrowserChoice, ScreenshotChoice
from crawlyard.core.events.event import EventName
from crawlyard.core.fields import fields_of
from crawlyard.core.jobs.limits import Limits
from crawlyard.core.jobs.retry import RetryPolicy, RetryReason
from crawlyard.core.jobs.spec import JobSpec, Priority, Scope, Spread, Strategy, TextMode
from crawlyard.core.jobs.spec_json import FIELDS, at, form_of, spec_of, values_of
from crawlyard.core.merge_patch import merge_patch
from crawlyard.core.parse import nearest
from crawlyard.core.quantity import FOREVER_S
from crawlyard.core.webhooks.webhook import JobWebhook
from crawlyard.errors import Invalid
from tests.builders import a_spec

SPANS = st.integers(0, 3650 * 86_400_000).map(lambda ms: ms / 1000)
WORDS = st.text(max_size=20)
PAIRS = st.lists(st.tuples(WORDS, WORDS), max_size=3).map(tuple)
COUNTS = st.integers(1, 2**40)


def lists(of: st.SearchStrategy[str] = WORDS) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(of, max_size=3).map(tuple)


@st.composite
def specs(draw: st.DrawFn) -> JobSpec:
    """Return a spec with every field drawn."""
    drawn: dict[str, st.SearchStrategy[Any]] = {
        "urls": st.lists(WORDS, min_size=1, max_size=3).map(tuple),
        "priority": st.sampled_from(Priority),
        "worker_tags": st.lists(st.from_regex(r"\A[A-Za-z0-9._:-]{1,8}\Z"), max_size=3).map(tuple),
        "notify": st.lists(st.from_regex(r"\A[A-Za-z0-9._-]{1,8}\Z"), max_size=3).map(tuple),
        "spread": st.integers(0, 64) | st.sampled_from(Spread),
        "limits": st.builds(
            Limits,
            pages=st.none() | COUNTS,
            bytes=st.none() | COUNTS,
            duration_s=st.none() | SPANS.filter(bool),
            errors=st.none() | COUNTS,
            render_s=st.none() | SPANS.filter(bool),
        ),
        "retry": st.builds(
            RetryPolicy,
            attempts=st.integers(1, 9),
            first_s=SPANS.filter(lambda first_s: first_s >= 1),
            factor=st.floats(1, 1000),
            jitter=st.floats(0, 1),
            cap_s=SPANS,
            reasons=st.frozensets(st.sampled_from(RetryReason)),
        ),
        "scope": st.sampled_from(Scope),
        "render": st.sampled_from(["never", "auto", "always", "/app/*"]),
        "renderer": st.just(BrowserChoice.CHROMIUM) | st.just(BrowserChoice.AUTO),
        "actions": st.sampled_from([(), ("click .more", "scroll 3", "wait 2s")]),
        "screenshot": st.sampled_from(ScreenshotChoice),
        "shared": st.sampled_from(Sharing),
        "max_externals": st.integers(0, 99),
        "strategy": st.sampled_from(Strategy),
        "text": st.sampled_from(TextMode),
        "cookies": st.sampled_from(CookieMode),
        "max_depth": st.none() | st.integers(0, 99),
        "per_host": st.integers(1, 256),
        "concurrency": st.integers(1, 1024),
        "max_body": st.integers(1, 1024**3),
        "url_retries": st.integers(0, 10),
        "timeout_s": SPANS.filter(bool),
        "headers": PAIRS,
        "extract": PAIRS,
        "since": st.none() | st.uuids().map(str),
        "unique_key": st.none() | st.sampled_from(["none", " a ", "x" * 200]),
        "full_every": st.none() | st.integers(1, 1000),
        "noise_after": st.none() | st.integers(2, 10),
        "ignore_text": st.sampled_from([(), ("re:^Updated ", "re:x")]),
        "ignore_css": st.sampled_from([(), (".ad", "#clock > b")]),
        "retention_s": st.none() | st.just(FOREVER_S) | SPANS,
        "webhooks": lists().map(lambda urls: tuple(JobWebhook(url=url) for url in urls)),
    }
    for field in fields_of(JobSpec).values():
        if field.group:
            continue
        of_its_type = {str: WORDS, bool: st.booleans(), float: SPANS}
        if field.name not in drawn:
            drawn[field.name] = lists() if field.many else of_its_type[field.kind]
    values = {name: draw(strategy) for name, strategy in drawn.items()}
    return JobSpec(**(values | ({"max_externals": 0} if values["spread"] else {})))


@given(specs())
def test_a_spec_is_read_as_it_is_written(spec: JobSpec) -> None:
    form = json.loads(json.dumps(form_of(spec)))
    assert spec_of(form) == spec


def test_every_field_of_a_spec_has_its_place_in_the_form() -> None:
    inside = {"limits": Limits, "retry": RetryPolicy}
    expected = {(n, name) for n, kind in inside.items() for name in kind.__struct_fields__}
    expected |= {("", name) for name in JobSpec.__struct_fields__ if name not in inside}
    assert {(form.field.group, form.field.name) for form in FIELDS.values()} == expected


def test_what_is_left_out_is_as_in_the_base() -> None:
    base = a_spec(limits=Limits(pages=5, errors=7), delay_s=9, name="base")
    spec = spec_of({"limits": {"pages": 6}, "name": "other"}, base)
    assert spec == replace(base, limits=Limits(pages=6, errors=7), name="other")


def test_a_field_may_be_written_in_other_ways() -> None:
    cases: list[tuple[dict[str, object], str, object]] = [
        ({"delay": "500ms"}, "delay_s", 0.5),
        ({"delay": 0.5}, "delay_s", 0.5),
        ({"delay_s": "1h30m"}, "delay_s", 5400.0),
        ({"max_body": "500kB"}, "max_body", 500_000),
        ({"limits": {"bytes": "1GiB"}}, "limits.bytes", 2**30),
        ({"limits": {"pages": "20k"}}, "limits.pages", 20_000),
        ({"limits.pages": None}, "limits.pages", None),
        ({"limits.pages": "none"}, "limits.pages", None),
        ({"limits": {"duration": "2h"}}, "limits.duration_s", 7200.0),
        ({"urls": "https://a.example/"}, "urls", ("https://a.example/",)),
        ({"headers": {"X-A": "1"}}, "headers", (("X-A", "1"),)),
        ({"headers": [["X-A", "1"], ["X-A", "2"]]}, "headers", (("X-A", "1"), ("X-A", "2"))),
        ({"scope": "Domain"}, "scope", Scope.DOMAIN),
        ({"priority": "urgent"}, "priority", Priority.URGENT),
        ({"keep_html": "true"}, "keep_html", True),
        ({"retention": "forever"}, "retention_s", FOREVER_S),
        ({"retention_s": None}, "retention_s", None),
        ({"retry": {"reasons": "internal_error"}}, "retry.reasons", {RetryReason.INTERNAL_ERROR}),
        ({"retry": {"factor": "1.5"}}, "retry.factor", 1.5),
    ]
    for form, path, value in cases:
        assert values_of(form) == {path: value}, form


def test_what_is_not_expected_is_refused_with_its_path(subtests: pytest.Subtests) -> None:
    cases: list[tuple[Any, str, str]] = [
        ({"url": "x"}, "url", "did you mean urls"),
        ({"limits": {"page": 3}}, "limits.page", "did you mean pages"),
        ({"pages": 3}, "pages", r"did you mean limits\.pages\?"),
        ({"max_pages": 3}, "max_pages", r"did you mean limits\.pages\?"),
        ({"max_duration": 3}, "max_duration", r"did you mean limits\.duration_s\?"),
        ({"depth": 3}, "depth", r"did you mean max_depth\?"),
        ({"strict": 3}, "strict", "there are urls, sitemaps, name"),
        ({"limits": {"zzz": 3}}, "limits.zzz", "there are pages, bytes, duration_s"),
        ({"limits": 3}, "limits", "expected an object of its fields, got 3"),
        ({"delay": 1, "delay_s": 2}, "delay_s", "expected delay or delay_s once"),
        ({"limits": {"pages": 1}, "limits.pages": 2}, "limits.pages", "once, got it twice"),
        ({"delay": -1}, "delay", "expected seconds, or a duration such as 90s"),
        ({"delay": float("nan")}, "delay", "got nan"),
        ({"delay": 1e300}, "delay", r"got 1e\+300"),
        ({"delay": True}, "delay", "got true"),
        ({"per_host": "two"}, "per_host", "expected a whole number such as 500 or 20k, got 'two'"),
        ({"per_host": True}, "per_host", "expected a whole number such as 500 or 20k, got true"),
        ({"per_host": 1.5}, "per_host", "got 1.5"),
        ({"limits": {"pages": 10**20}}, "limits.pages", "expected at most 9223372036854775807"),
        ({"limits": {"bytes": 10**20}}, "limits.bytes", "expected at most 9223372036854775807"),
        ({"max_depth": -(10**20)}, "max_depth", "got a number of more than 18 digits"),
        ({"max_depth": 10**9999}, "max_depth", "got a number of more than 18 digits"),
        ({"max_depth": "9" * 9999}, "max_depth", "expected at most 9223372036854775807, got '999"),
        ({"max_body": "9" * 9999}, "max_body", "expected at most 9223372036854775807 bytes"),
        ({"per_host": 0}, "per_host", "expected 1 to 256, got 0"),
        ({"max_body": []}, "max_body", "expected a size such as 500MB or 1048576, got a list"),
        ({"name": 2026}, "name", "expected text, got 2026; put it in quotes"),
        ({"name": None}, "name", "expected text, got null"),
        ({"urls": {"a": 1}}, "urls", "expected a list of texts, got an object"),
        ({"urls": []}, "urls", "at least one start URL"),
        ({"scope": "hots"}, "scope", "prefix, any, got 'hots'; did you mean host?"),
        ({"ignore_robots": "yes"}, "ignore_robots", "expected true or false, got 'yes'"),
        ({"headers": {"X-A": 1}}, "headers", "expected text for 'X-A'$"),
        ({"headers": [["X-A"]]}, "headers", r"a list of \[name, text\]"),
        ({"headers": "X-A: 1"}, "headers", "an object of names and texts"),
        ({"retry": {"factor": float("inf")}}, "retry.factor", "expected a finite number"),
        ({"retry": {"factor": "much"}}, "retry.factor", "expected a number, got 'much'"),
        ({"webhooks": [{"ur": "x"}]}, "webhooks.0.ur", "did you mean url"),
        ({"webhooks": [{"events": []}]}, "webhooks.0.url", "expected a URL, got none"),
        (
            {"webhooks": [{"url": "x", "metadata": "y"}]},
            "webhooks.0.metadata",
            "expected an object",
        ),
        ({"webhooks": [5]}, "webhooks.0", "expected a URL, or an object with url"),
        ({"webhooks": {"url": "x"}}, "webhooks", "expected a list of objects"),
        ({1: 2}, "1", "there is no such field"),
    ]
    for form, path, message in cases:
        with subtests.test(form=form), pytest.raises(Invalid, match=message) as refused:
            spec_of(form if "urls" in form else form | {"urls": ["https://example.com/"]})
        assert refused.value.field == path, form


def test_only_a_near_word_is_suggested() -> None:
    events = [str(name) for name in EventName]
    cases: list[tuple[str, list[str], str]] = [
        ("nmae", ["name", "tags"], "name"),
        ("pages", ["tags", "text"], ""),
        ("job.complete", events, "job.completed"),
        ("jobs.completed", events, "job.completed"),
        ("job.done", events, ""),
        ("job.", events, ""),
        ("x" * 10_000, ["x"], ""),
    ]
    for name, names, near in cases:
        assert nearest(name, names) == near, name
    assert nearest("APP_FOO", ["APP_FOR_ALL", "APP_JOBS"], "APP_") == ""


def test_a_long_value_is_cut_where_it_is_named() -> None:
    with pytest.raises(Invalid) as refused:
        values_of({"scope": "x" * 10_000})
    assert len(str(refused.value)) < 250


def test_a_value_is_found_by_its_path() -> None:
    form = form_of(a_spec(limits=Limits(pages=5)))
    fields = {path: at(form, path) for path in FIELDS}
    assert (fields["limits.pages"], fields["scope"]) == (5, "host")


def test_forever_is_a_word_and_a_webhook_may_be_a_url_alone() -> None:
    assert form_of(a_spec(retention_s=FOREVER_S))["retention_s"] == "forever"
    [hook] = spec_of({"urls": ["http://h/"], "webhooks": ["https://h/hook"]}).webhooks
    assert hook == JobWebhook(url="https://h/hook")


# RFC 7396, appendix A, but for those whose result is null as a whole
EXAMPLES: list[tuple[object, object, object]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


def test_a_patch_is_put_over_what_is_there_as_the_standard_shows() -> None:
    for target, patch, expected in EXAMPLES:
        assert merge_patch(target, patch) == expected, (target, patch)
    before = {"a": {"b": 1}}
    merge_patch(before, {"a": {"b": 2}})
    assert before == {"a": {"b": 1}}
