"""Changes to a spec as a part of its form; null is the default."""

import pytest

from crawlyard.core.jobs.edits import EDITABLE, changes_of, edited
from crawlyard.core.jobs.limits import Limits
from crawlyard.core.jobs.spec_json import FIELDS
from crawlyard.errors import Invalid
from tests.builders import a_spec


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
            dict.fromkeys(f"limits.{n}" for n in ("pages", "bytes", "duration_s", "errors")),
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


def test_every_editable_field_has_a_path() -> None:
    assert set(FIELDS) >= EDITABLE - {"limits"}


def test_one_limit_leaves_the_others() -> None:
    spec = a_spec(limits=Limits(pages=1, errors=2))
    assert edited(spec, {"limits.pages": 5}).limits == Limits(pages=5, errors=2)
    assert edited(spec, {"limits": Limits(), "limits.pages": 5}).limits == Limits(pages=5)


def test_a_change_of_another_type_is_refused_by_name() -> None:
    for name, value in (("tags", "docs"), ("delay_s", "1s"), ("limits", 3), ("limits.pages", "3")):
        with pytest.raises(Invalid) as refused:
            edited(a_spec(), {name: value})
        assert refused.value.field == name
