"""Paths removed from the params and overrides of a schedule."""

import pytest

from crawlyard.cli.schedules.options import beside, remove_values
from crawlyard.errors import Invalid

PARAMS = {"site": "https://a.example/", "token": "x"}
OVERRIDES = {"limits": {"pages": 7, "errors": 3}, "delay_s": 2, "tags": ["a"]}


def test_what_is_set_can_be_taken_away_in_either_spelling() -> None:
    unset = ("params.token", "limits.pages", "delay", "tags")

    params, overrides = remove_values(PARAMS, OVERRIDES, unset)

    assert params == {"site": "https://a.example/"}
    assert overrides == {"limits": {"errors": 3}}
    assert remove_values({}, overrides, ["limits.errors"]) == ({}, {})


@pytest.mark.parametrize("path", ["params.word", "limits.bytes", "max_depth", "tags.0"])
def test_what_is_not_set_is_named(path: str) -> None:
    with pytest.raises(Invalid) as refused:
        remove_values(PARAMS, OVERRIDES, [path])

    assert refused.value.field == path


def test_an_object_is_set_beside_what_is_in_the_other() -> None:
    more = {"limits": {"errors": 5}, "tags": ["b"]}

    assert beside(OVERRIDES, more) == {
        "limits": {"pages": 7, "errors": 5},
        "delay_s": 2,
        "tags": ["b"],
    }
