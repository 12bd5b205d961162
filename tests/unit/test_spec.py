from datetime import timedelta
from typing import Any

import pytest

from crawlyard import JobSpec, Limits, Priority, Scope, Strategy, TextMode
from crawlyard.core.spec import FOREVER, MAX_PATTERNS, MAX_SEEDS
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
    ("delay", -SECOND),
    ("timeout", timedelta(0)),
    ("timeout", -SECOND),
    ("retention", -SECOND),
    ("retention", FOREVER + SECOND),
    ("retention", timedelta.max),
]

AT_THE_EDGE: list[tuple[str, Any]] = [
    ("name", "n" * 200),
    ("tags", ("t",) * 50),
    ("per_host", 256),
    ("concurrency", 1024),
    ("max_body", 1),
    ("url_retries", 0),
    ("max_depth", 0),
    ("delay", timedelta(0)),
    ("retention", timedelta(0)),
    ("retention", FOREVER),
]


def test_a_spec_needs_a_start_url_or_a_sitemap() -> None:
    with pytest.raises(Invalid, match="at least one start URL or sitemap"):
        JobSpec()

    assert JobSpec(sitemaps=("http://a.example/sitemap.xml",)).urls == ()


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE)
def test_a_value_out_of_its_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(Invalid, match=rf"\A{name}: expected .+, got ") as refused:
        a_spec(**{name: value})

    assert refused.value.field == name


@pytest.mark.parametrize(("name", "value"), AT_THE_EDGE)
def test_a_value_at_the_edge_of_its_range_is_taken(name: str, value: Any) -> None:
    assert getattr(a_spec(**{name: value}), name) == value


def test_a_crawl_is_polite_and_stays_on_its_host_unless_asked_otherwise() -> None:
    spec = a_spec()

    assert (spec.delay, spec.per_host) == (timedelta(milliseconds=500), 2)
    assert (spec.scope, spec.strategy) == (Scope.HOST, Strategy.BREADTH_FIRST)
    assert not spec.ignore_robots
    assert not spec.allow_private
    assert spec.allow_addresses == ()


def test_a_crawl_is_unbounded_and_of_normal_priority_unless_asked_otherwise() -> None:
    spec = a_spec()

    assert (spec.limits, spec.max_depth, spec.priority) == (Limits(), None, Priority.NORMAL)
    assert spec.text is TextMode.TEXT


def test_specs_of_the_same_wishes_are_equal() -> None:
    assert a_spec(tags=("a",)) == a_spec(tags=("a",))
    assert a_spec(tags=("a",)) != a_spec(tags=("b",))
