"""What may be said of a host, and what follows from it."""

import math
from typing import Any

import pytest

from crawlyard.core.hosts.rule import HostRule
from crawlyard.errors import Invalid
from tests.builders import NOW


def test_a_value_out_of_its_range_is_refused_by_its_name(subtests: pytest.Subtests) -> None:
    for field, value in [
        ("host", ""),
        ("host", "Example.org"),
        ("host", "https://example.org"),
        ("host", "example.org/"),
        ("host", "ann@example.org"),
        ("host", "example org"),
        ("host", "a" * 261),
        ("delay_s", -0.1),
        ("delay_s", 86_401),
        ("delay_s", math.nan),
        ("delay_s", math.inf),
        ("at_once", 0),
        ("at_once", 257),
        ("note", "x" * 501),
    ]:
        given: dict[str, Any] = {"host": "example.org", field: value, "updated_at": NOW}

        with (
            subtests.test(value=value),
            pytest.raises(Invalid, match=f"^{field}: expected .*, got") as refused,
        ):
            HostRule(**given)

        assert refused.value.field == field, value


def test_a_host_is_taken_as_it_stands_in_a_url() -> None:
    for host in ["example.org", "localhost:8080", "[::1]:81", "xn--bcher-kva.de"]:
        assert HostRule(host=host, delay_s=0, at_once=256, updated_at=NOW).host == host, host


def test_a_rule_makes_gentler_and_never_rougher() -> None:
    rule = HostRule(host="example.org", delay_s=2, at_once=3, updated_at=NOW)
    assert [rule.slowed(delay_s) for delay_s in (0.0, 5.0)] == [2, 5]
    assert [rule.narrowed(at_once) for at_once in (1, 8)] == [1, 3]


def test_a_rule_that_says_nothing_of_the_pace_leaves_it_to_the_jobs() -> None:
    rule = HostRule(host="example.org", updated_at=NOW)
    assert (rule.slowed(0.5), rule.narrowed(8)) == (0.5, 8)
