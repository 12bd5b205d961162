"""Metadata of fields, and the bounds that it sets."""

import math
from enum import Enum
from typing import Annotated, Any

import pytest
from msgspec import Struct

from crawlyard import JobSpec, Limits, Settings
from crawlyard.core.fields import Count, Seconds, about, check_bounds, fields_of
from crawlyard.core.jobs.retry import RetryPolicy
from crawlyard.core.webhooks.webhook import JobWebhook
from crawlyard.errors import Invalid


class Inner(Struct, frozen=True):
    many: Annotated[tuple[str, ...], about("some", longest=2)] = ()


class Record(Struct, frozen=True, kw_only=True):
    up: Annotated[Count, about("from 3", least=3)] = 3
    down: Annotated[Count | None, about("to 3", most=3, null="no end")] = None
    between: Annotated[Seconds, about("between", least=1, most=2)] = 1.0
    above: Annotated[Seconds, about("positive", above=0)] = 1.0
    inner: Inner = Inner()


def test_each_bound_is_named_by_what_it_expects() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"up": 2}, "up: expected at least 3, got 2"),
        ({"down": 4}, "down: expected at most 3, got 4"),
        ({"between": 0.5}, "between: expected 1 to 2 s, got 0.5 s"),
        ({"between": math.nan}, "between: expected 1 to 2 s, got nan s"),
        ({"above": 0}, "above: expected more than 0 s, got 0 s"),
        ({"above": math.nan}, "above: expected more than 0 s, got nan s"),
    ]
    for values, expected in cases:
        with pytest.raises(Invalid) as refused:
            check_bounds(Record(**values))
        assert str(refused.value) == expected


def test_what_is_in_its_bounds_is_accepted() -> None:
    check_bounds(Record(up=3, down=3, between=2.0, above=1e-9))
    check_bounds(Record(down=None))


@pytest.mark.parametrize("record", [JobSpec, Limits, RetryPolicy, JobWebhook, Settings])
def test_defaults_which_are_not_checked_are_within_their_bounds(record: type[Struct]) -> None:
    for path, field in fields_of(record).items():
        value, bounds = field.default, field.about
        if value is None or isinstance(value, Enum):
            continue
        assert bounds.above is None or value > bounds.above, path
        assert bounds.least is None or value >= bounds.least, path
        assert bounds.most is None or value <= bounds.most, path
        assert bounds.longest is None or len(value) <= bounds.longest, path


def test_a_group_stands_before_the_name_in_an_error() -> None:
    with pytest.raises(Invalid, match=r"^inner\.many: expected at most 2, got 3$"):
        check_bounds(Inner(many=("a", "b", "c")), "inner.")


def test_fields_of_records_in_a_record_have_paths() -> None:
    fields = fields_of(Record)
    assert list(fields) == ["up", "down", "between", "above", "inner.many"]
    assert (fields["inner.many"].many, fields["inner.many"].kind) == (True, str)
    assert (fields["down"].kind, fields["down"].about.null) == (int, "no end")
    assert (fields["between"].unit, fields["between"].metavar) == ("s", "TIME")
