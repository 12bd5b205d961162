"""Specs: their fields, changes to them, and validation by the engine."""

import math
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard import Priority, Scope, Strategy, TextMode
from crawlyard.core.jobs.limits import LIMIT_NAMES, Limits
from crawlyard.core.jobs.retry import RetryPolicy, RetryReason
from crawlyard.core.jobs.spec import MAX_PATTERNS, MAX_SEEDS, JobSpec, Spread
from crawlyard.core.jobs.spec_json import EDITABLE, FIELDS, apply_changes, changes_of
from crawlyard.core.quantity import FOREVER_S
from crawlyard.core.webhooks.webhook import JobWebhook
from crawlyard.engine.admission import check_spec
from crawlyard.errors import Invalid
from tests.builders import a_spec

SECOND = timedelta(seconds=1)

OUT_OF_RANGE: list[tuple[str, Any]] = [
    ("urls", ("http://a.example/",) * (MAX_SEEDS + 1)),
    ("include", ("*",) * (MAX_PATTERNS + 1)),
    ("exclude", ("*",) * (MAX_PATTERNS + 1)),
    ("name", "n" * 201),
    ("tags", ("t",) * 51),
    ("per_host", 0),
    ("per_host", 257),
    ("concurrency", 0),
    ("concurrency", 1025),
    ("max_body", 0),
    ("max_body", 1024**3 + 1),
    ("url_retries", -1),
    ("url_retries", 11),
    ("max_depth", -1),
    ("max_depth", 2**63),
    ("delay_s", -1.0),
    ("delay_s", math.nan),
    ("delay_s", math.inf),
    ("timeout_s", 0.0),
    ("timeout_s", -1.0),
    ("unique_key", ""),
    ("unique_key", "k" * 201),
    ("unique_key", "a\0b"),
    ("unique_key", "\ud800"),
    ("retention_s", -1.0),
    ("retention_s", FOREVER_S + 1),
    ("retention_s", math.inf),
]

AT_THE_EDGE: list[tuple[str, Any]] = [
    ("name", "n" * 200),
    ("tags", ("t",) * 50),
    ("per_host", 256),
    ("concurrency", 1024),
    ("max_body", 1),
    ("url_retries", 0),
    ("max_depth", 0),
    ("delay_s", 0.0),
    ("unique_key", "k"),
    ("unique_key", "ä" * 200),
    ("retention_s", 0.0),
    ("retention_s", FOREVER_S),
]


def test_a_spec_needs_a_start_url_or_a_sitemap() -> None:
    with pytest.raises(Invalid, match="at least one start URL or sitemap"):
        JobSpec()
    assert JobSpec(sitemaps=("http://a.example/sitemap.xml",)).urls == ()


def test_a_value_out_of_its_range_is_refused_by_name(subtests: pytest.Subtests) -> None:
    for name, value in OUT_OF_RANGE:
        with (
            subtests.test(name=name, value=value),
            pytest.raises(Invalid, match=rf"\A{name}: expected .+, got ") as refused,
        ):
            a_spec(**{name: value})
        assert refused.value.field == name, (name, value)


def test_a_value_at_the_edge_of_its_range_is_taken() -> None:
    for name, value in AT_THE_EDGE:
        assert getattr(a_spec(**{name: value}), name) == value, (name, value)


def test_a_crawl_is_polite_and_stays_on_its_host_unless_asked_otherwise() -> None:
    spec = a_spec()
    assert (spec.delay_s, spec.per_host) == (0.5, 2)
    assert (spec.scope, spec.strategy) == (Scope.HOST, Strategy.BREADTH_FIRST)
    assert not spec.ignore_robots
    assert not spec.allow_private
    assert spec.allow_addresses == ()


def test_a_crawl_is_unbounded_and_of_normal_priority_unless_asked_otherwise() -> None:
    spec = a_spec()
    assert (spec.limits, spec.max_depth, spec.priority) == (Limits(), None, Priority.NORMAL)
    assert spec.text is TextMode.MARKDOWN


WRONG_TYPES: list[tuple[str, Any, str]] = [
    ("urls", "http://a.example/", "expected a tuple of strings, got 'http://a.example/'"),
    ("urls", ("http://a.example/", 3), "expected a tuple of strings, got ('http://a.example/', 3)"),
    ("sitemaps", b"robots", "expected a tuple of strings, got b'robots'"),
    ("name", None, "expected a string, got None"),
    ("tags", "docs", "expected a tuple of strings, got 'docs'"),
    ("priority", 7, "expected Priority.LOW, NORMAL, HIGH or URGENT, got 7"),
    ("priority", "top", "expected Priority.LOW, NORMAL, HIGH or URGENT, got 'top'"),
    ("worker_tags", "gpu", "expected a tuple of strings, got 'gpu'"),
    ("spread", "many", "expected a whole number or Spread.AUTO, got 'many'"),
    ("limits", 100, "expected Limits, got 100"),
    ("limits", {"pages": "3"}, "expected Limits, got {'pages': '3'}"),
    ("retry", 3, "expected RetryPolicy, got 3"),
    ("scope", "prefx", "expected Scope.HOST, SUBDOMAINS, DOMAIN, PREFIX or ANY, got 'prefx'"),
    ("include", "*/docs/*", "expected a tuple of strings, got '*/docs/*'"),
    ("max_depth", "3", "expected a whole number or None, got '3'"),
    ("strategy", "sideways", "expected Strategy.BREADTH_FIRST or DEPTH_FIRST, got 'sideways'"),
    ("ignore_robots", "no", "expected True or False, got 'no'"),
    ("delay_s", "500ms", "expected a number, got '500ms'"),
    ("per_host", 1.5, "expected a whole number, got 1.5"),
    ("per_host", True, "expected a whole number, got True"),
    ("timeout_s", SECOND, "expected a number, got datetime.timedelta(seconds=1)"),
    ("max_body", "8MB", "expected a whole number, got '8MB'"),
    ("headers", {"Accept": "*/*"}, "expected a tuple of pairs of strings, got {'Accept'"),
    ("headers", (("Accept",),), "expected a tuple of pairs of strings, got (('Accept',),)"),
    ("text", "md", "expected TextMode.NONE, TEXT, MAIN, MARKDOWN or PAGE_MARKDOWN, got 'md'"),
    ("retention_s", "7d", "expected a number or None, got '7d'"),
    ("webhooks", ("https://a.example/",), "expected a tuple of JobWebhook, got ('https://a"),
]


def test_a_value_of_another_type_is_refused_by_name_with_what_is_accepted() -> None:
    for name, value, message in WRONG_TYPES:
        with pytest.raises(Invalid) as refused:
            a_spec(**{name: value})
        assert (refused.value.field, refused.value.message[: len(message)]) == (name, message)


def test_links_out_of_scope_are_not_checked_by_a_spread_job() -> None:
    assert a_spec(max_externals=3).max_externals == 3
    with pytest.raises(Invalid) as refused:
        a_spec(max_externals=3, spread=2)
    assert (refused.value.field, refused.value.message) == (
        "max_externals",
        "expected 0 for a job that is spread",
    )


OF_PARTS: list[tuple[Callable[..., object], str, Any, str]] = [
    (Limits, "limits.pages", "3", "expected a whole number or None, got '3'"),
    (Limits, "limits.pages", 10**30, "expected at most 9,223,372,036,854,775,807, got 1"),
    (Limits, "limits.duration_s", "60", "expected a number or None, got '60'"),
    (RetryPolicy, "retry.attempts", "3", "expected a whole number, got '3'"),
    (RetryPolicy, "retry.factor", "2", "expected a number, got '2'"),
    (
        RetryPolicy,
        "retry.reasons",
        "internal_error",
        "expected a frozenset of RetryReason.START_UNREACHABLE, INTERNAL_ERROR or WORKER_LOST",
    ),
    (JobWebhook, "webhooks.url", None, "expected a string, got None"),
    (partial(JobWebhook, url="x"), "webhooks.events", "*", "expected a tuple of strings, got '*'"),
]


def test_so_is_one_in_the_parts_of_a_spec() -> None:
    for make, field, value, message in OF_PARTS:
        with pytest.raises(Invalid) as refused:
            make(**{field.partition(".")[2]: value})
        assert (refused.value.field, refused.value.message[: len(message)]) == (field, message)


def test_every_field_of_a_spec_and_its_parts_is_checked() -> None:
    kinds: Mapping[Any, dict[str, Any]] = {
        JobSpec: {"urls": ("http://a.example/",)},
        Limits: {},
        RetryPolicy: {},
        JobWebhook: {"url": "https://a.example/"},
    }
    for kind, needs in kinds.items():
        for name in kind.__struct_fields__:
            with pytest.raises(Invalid) as refused:
                kind(**(needs | {name: object()}))
            assert refused.value.field.rpartition(".")[2] == name


def test_what_is_meant_without_doubt_is_taken_and_kept_as_its_own_type() -> None:
    spec = a_spec(
        urls=["http://a.example/"],
        tags={"docs"},
        priority="high",
        scope="prefix",
        spread="auto",
        limits=Limits(bytes=1e9),  # type: ignore[arg-type]  # the very test
        retry=RetryPolicy(reasons=["worker_lost"], factor=2),  # type: ignore[arg-type]
        headers=[["Accept", "*/*"]],
        keep_html=1,
    )
    assert spec == a_spec(
        urls=("http://a.example/",),
        tags=("docs",),
        priority=Priority.HIGH,
        scope=Scope.PREFIX,
        spread=Spread.AUTO,
        limits=Limits(bytes=10**9),
        retry=RetryPolicy(reasons=frozenset({RetryReason.WORKER_LOST}), factor=2.0),
        headers=(("Accept", "*/*"),),
        keep_html=True,
    )
    kinds = (spec.urls, spec.tags, spec.priority, spec.scope, spec.headers[0], spec.keep_html)
    assert [type(kind) for kind in kinds] == [tuple, tuple, Priority, Scope, tuple, bool]
    assert (type(spec.limits.bytes), type(spec.retry.factor)) == (int, float)


def test_a_part_of_a_form_is_read() -> None:
    cases: list[tuple[dict[str, object], dict[str, object]]] = [
        ({}, {}),
        ({"name": "n"}, {"name": "n"}),
        ({"delay": "90s"}, {"delay_s": 90.0}),
        ({"delay": None}, {"delay_s": 0.5}),
        ({"limits": {"pages": "20k"}}, {"limits.pages": 20_000}),
        ({"limits": {"pages": None, "errors": 1}}, {"limits.pages": None, "limits.errors": 1}),
        (
            {"limits": None},
            dict.fromkeys(f"limits.{n}" for n in LIMIT_NAMES),
        ),
        ({"tags": None}, {"tags": ()}),
        ({"retention_s": None}, {"retention_s": None}),
    ]
    for patch, changes in cases:
        assert changes_of(patch) == changes, patch


def test_an_unknown_field_is_refused_even_if_it_is_null(subtests: pytest.Subtests) -> None:
    cases: list[dict[str, object]] = [{"": None}, {"x": None}, {"limits": {"x": None}}, {"x": {}}]
    for patch in cases:
        with subtests.test(patch=patch), pytest.raises(Invalid, match="field"):
            changes_of(patch)


def test_a_misspelt_option_names_the_near_one() -> None:
    cases: list[tuple[Callable[..., object], dict[str, Any], str]] = [
        (JobSpec, {"urls": ("https://a.example/",), "delay": 1}, r"did you mean delay_s\?"),
        (Limits, {"page": 1}, r"did you mean pages\?"),
        (RetryPolicy, {"attempt": 1}, r"did you mean attempts\?"),
        (JobWebhook, {"url": "https://a.example/", "event": ()}, r"did you mean events\?"),
        (JobSpec, {"zzz": 1}, "there are urls, sitemaps"),
    ]
    for record, options, hint in cases:
        with pytest.raises(TypeError, match=f"has no option '[a-z]+'; {hint}"):
            record(**options)


def test_every_editable_field_has_a_path() -> None:
    assert set(FIELDS) >= EDITABLE - {"limits"}


def test_one_limit_leaves_the_others() -> None:
    spec = a_spec(limits=Limits(pages=1, errors=2))
    assert apply_changes(spec, {"limits.pages": 5}, check_spec).limits == Limits(pages=5, errors=2)
    assert apply_changes(
        spec, {"limits": Limits(), "limits.pages": 5}, check_spec
    ).limits == Limits(pages=5)


def test_a_change_of_another_type_is_refused_by_name() -> None:
    for name, value in (("tags", "docs"), ("delay_s", "1s"), ("limits", 3), ("limits.pages", "3")):
        with pytest.raises(Invalid) as refused:
            apply_changes(a_spec(), {name: value}, check_spec)
        assert refused.value.field == name


def test_a_start_url_with_credentials_is_refused_without_repeating_them(
    subtests: pytest.Subtests,
) -> None:
    for field in ["urls", "sitemaps"]:
        for userinfo in ("zoe:s3cr%65t", "zoe", ":s3cr%65t", "zoe@b:s3cr@%65t"):
            start_urls = ("http://example.com/", f"HTTP://{userinfo}@Example.org/x?q#f")
            with subtests.test(field=field), pytest.raises(Invalid) as refused:
                check_spec(replace(JobSpec(urls=start_urls[:1]), **{field: start_urls}))

            assert refused.value.field == field, field
            assert str(refused.value).startswith(
                f"{field}: http://example.org/x?q contains a user "
            ), field
            assert "'Authorization: Basic …'" in str(refused.value), field
            assert not any(part in str(refused.value) for part in ("zoe", "s3cr", "%65t")), field


def test_what_is_ignored_is_checked_before_the_crawl() -> None:
    check_spec(a_spec(ignore_text=("re:^Now",), ignore_css=(".clock",)))
    for field, wrong, message in (
        ("ignore_text", "Now", "expected 're:'"),
        ("ignore_text", "re:(", "missing"),
        ("ignore_css", "a[", "not a CSS selector"),
    ):
        with pytest.raises(Invalid, match=message) as refused:
            check_spec(a_spec(**{field: ("re:x" if field == "ignore_text" else "p", wrong)}))
        assert refused.value.field == field


def test_an_at_sign_or_a_bad_url_never_shows_a_password() -> None:
    check_spec(JobSpec(urls=("http://example.com/@ada", "http://example.com/?mail=a:b@c")))
    for url in ("http://ada:s3cret@h:x/", "ftp://ada:s3cret@h/", "http://ada:s3cret@a..b/"):
        with pytest.raises(Invalid, match=r"//\*\*\*@") as refused:
            check_spec(JobSpec(urls=(url,)))
        assert "s3cret" not in str(refused.value), url
