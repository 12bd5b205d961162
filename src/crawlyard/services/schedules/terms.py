"""Fields of a schedule in the form of its endpoints."""

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, TypedDict

from msgspec import NODEFAULT, Meta
from msgspec.structs import fields

from crawlyard.core.endpoints.endpoint import Default, Instant
from crawlyard.core.merge_patch import merge_object
from crawlyard.core.parse import format_value, is_list
from crawlyard.core.schedules.schedule import (
    LONGEST_GRACE,
    LONGEST_JITTER,
    MOST_CATCH_UP,
    MOST_FAILURES,
    MOST_RUNS,
    CrawlSchedule,
    Misfire,
    Overlap,
    ScheduleDraft,
)
from crawlyard.core.templates.secrets import HIDDEN
from crawlyard.core.templates.template import MAX_DESCRIPTION, MAX_NAME, check_name
from crawlyard.errors import Invalid
from crawlyard.services.jobs.parameters import MAX_VERSION, TemplateRef

_LONGEST_WHEN = 200
_LONGEST_ZONE = 64
_DEEPEST = 10  # levels of nested objects and lists

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME, examples=["nightly"])]
When = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=_LONGEST_WHEN,
        description="A cron expression, `@daily`, `every 6h`, or `at 2027-01-01T08:00`.",
        examples=["0 3 * * *"],
    ),
]
Zone = Annotated[
    str, Meta(max_length=_LONGEST_ZONE, description="IANA.", examples=["Europe/Berlin"])
]
TemplateVersion = Annotated[
    int, Meta(ge=1, le=MAX_VERSION, description="Null: the latest at each run.")
]
Description = Annotated[str, Meta(max_length=MAX_DESCRIPTION)]
Grace = Annotated[float, Meta(ge=0, le=LONGEST_GRACE.total_seconds())]
Jitter = Annotated[float, Meta(ge=0, le=LONGEST_JITTER.total_seconds())]
CatchUp = Annotated[int, Meta(ge=1, le=MOST_CATCH_UP)]
Runs = Annotated[int, Meta(ge=0, le=MOST_RUNS, description="Null: no end.")]
Failures = Annotated[int, Meta(ge=1, le=MOST_FAILURES, description="Null: never.")]


_FORM = Mapping[str, Any]


class NewSchedule(TypedDict, total=False):
    """Fields of a new schedule besides its name and timetable."""

    zone: Annotated[Zone, Default("UTC")]
    description: Annotated[Description, Default("")]
    template: TemplateRef | None
    template_version: TemplateVersion | None
    params: Annotated[_FORM, Default({})]
    overrides: Annotated[
        _FORM,
        Meta(
            description="What differs from the template, as in a job; without one: the spec.",
            examples=[{"urls": ["https://docs.example.org/"]}],
        ),
        Default({}),
    ]
    overlap: Annotated[Overlap, Default(Overlap.SKIP)]
    misfire: Annotated[Misfire, Default(Misfire.RUN_ONCE)]
    grace_s: Annotated[Grace, Default(300)]
    catch_up: Annotated[CatchUp, Default(10)]
    jitter_s: Annotated[Jitter, Default(0)]
    starts_at: Instant | None
    ends_at: Instant | None
    runs_left: Runs | None
    pause_after: Failures | None


class ScheduleChanges(TypedDict, total=False):
    """Changes to a schedule: absent fields stay, ``None`` is the default or no value."""

    name: Name | None
    when: When | None
    zone: Zone | None
    description: Description | None
    template: TemplateRef | None
    template_version: TemplateVersion | None
    params: Annotated[Mapping[str, Any] | None, Meta(description="A null takes one away.")]
    overrides: Annotated[Mapping[str, Any] | None, Meta(description="The same.")]
    overlap: Overlap | None
    misfire: Misfire | None
    grace_s: Grace | None
    catch_up: CatchUp | None
    jitter_s: Jitter | None
    starts_at: Instant | None
    ends_at: Instant | None
    runs_left: Runs | None
    pause_after: Failures | None


PARTS = tuple(ScheduleChanges.__annotations__)
"""Fields of a schedule draft."""

_DEFAULTS: Mapping[str, object] = {f.name: f.default for f in fields(ScheduleDraft)}


def draft_fields(terms: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a draft that *terms* set, checked.

    Raises:
        Invalid: a value cannot be stored.
    """
    values: dict[str, Any] = {}
    for part, value in terms.items():
        in_seconds = part.endswith("_s") and not isinstance(value, timedelta)
        values[part.removesuffix("_s")] = timedelta(seconds=value) if in_seconds else value
    if "name" in values:
        check_name(values["name"])
    for part in ("params", "overrides"):
        _check(part, values.get(part, {}), _DEEPEST)
    return values


def changed_fields(old: CrawlSchedule, changes: ScheduleChanges) -> dict[str, Any]:
    """Return the fields of a draft that *changes* set, checked, merged into *old*.

    Raises:
        Invalid: a field without a default is removed, or a value cannot be stored.
    """
    terms: dict[str, Any] = {**changes}
    for part, value in terms.items():
        if value is None:
            terms[part] = _default_of(part)
        elif part in {"params", "overrides"}:
            terms[part] = merge_object(getattr(old, part), value)
    return draft_fields(terms)


def _default_of(part: str) -> object:
    if part in {"params", "overrides"}:
        return {}
    default = _DEFAULTS[part.removesuffix("_s")]
    if default is NODEFAULT:
        raise Invalid(part, "expected a value: a schedule always has one")
    return default


def _check(path: str, value: object, deep: int) -> None:
    if not deep:
        raise Invalid(path, f"expected at most {_DEEPEST} levels")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise Invalid(path, f"expected names that are text, got {format_value(name)}")
            _check(f"{path}.{name}", inner, deep - 1)
    elif is_list(value):
        for index, inner in enumerate(value):
            _check(f"{path}.{index}", inner, deep - 1)
    elif value == HIDDEN:
        expected = f"{HIDDEN} stands for a hidden value; give the value itself"
        raise Invalid(path, expected)
    elif not (value is None or isinstance(value, (str, int, float))):
        raise Invalid(path, f"expected what JSON can hold, got {format_value(value)}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise Invalid(path, f"expected a finite number, got {value}")
