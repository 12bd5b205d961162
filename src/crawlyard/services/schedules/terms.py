"""Fields of a schedule as its endpoints take them."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, TypedDict

from msgspec import NODEFAULT, Meta
from msgspec.structs import fields

from crawlyard.core.endpoints.endpoint import Instant
from crawlyard.core.merge_patch import merged_object
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
from crawlyard.core.templates.template import MAX_DESCRIPTION, MAX_NAME
from crawlyard.errors import Invalid
from crawlyard.services.jobs.parameters import MAX_VERSION, TemplateRef

_LONGEST_WHEN = 200
_LONGEST_ZONE = 64

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


class ScheduleChanges(TypedDict, total=False):
    """What is to be changed of a schedule: absent stays, ``None`` is the default or none."""

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
"""What a schedule is made of."""

_DEFAULTS: Mapping[str, object] = {f.name: f.default for f in fields(ScheduleDraft)}


def changed_fields(old: CrawlSchedule, changes: ScheduleChanges) -> Mapping[str, object]:
    """Return the fields of a draft that are to be otherwise, with their values.

    Raises:
        Invalid: what has no default is taken away.
    """
    found: dict[str, object] = {}
    given: Mapping[str, Any] = {**changes}
    for part, value in given.items():
        name = part.removesuffix("_s")
        if name in {"params", "overrides"}:
            found[name] = {} if value is None else merged_object(getattr(old, name), value)
        elif value is None:
            found[name] = _default_of(name, part)
        else:
            found[name] = value if name == part else timedelta(seconds=value)
    return found


def _default_of(name: str, part: str) -> object:
    default = _DEFAULTS[name]
    if default is NODEFAULT:
        raise Invalid(part, "expected a value: a schedule always has one")
    return default
