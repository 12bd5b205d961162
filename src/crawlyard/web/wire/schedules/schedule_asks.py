"""The shapes of what is asked of schedules."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

from msgspec import NODEFAULT
from msgspec.structs import fields
from pydantic import AfterValidator, BeforeValidator, Field

from crawlyard.core.answers.base import LONGEST_REF
from crawlyard.core.merge_patch import merged_object
from crawlyard.core.schedules.records import ScheduleDraft
from crawlyard.core.schedules.schedule import (
    LONGEST_GRACE,
    LONGEST_JITTER,
    MOST_CATCH_UP,
    CrawlSchedule,
    Misfire,
    Overlap,
)
from crawlyard.core.templates.template import MAX_DESCRIPTION, MAX_NAME
from crawlyard.errors import Invalid
from crawlyard.services.jobs.jobs import MAX_REASON, MAX_VERSION
from crawlyard.web.wire.base import Ask, example

MOST_NEXT = 100
"""Runs that are told at once."""

LONGEST_WHEN = 200
LONGEST_ZONE = 64
_FIRST_YEAR, _LAST_YEAR = 1970, 9900  # a calendar from there on has room for a week
_MOST_RUNS = 1_000_000_000
_MOST_FAILURES = 1_000

FIELDS: Mapping[str, str] = {"grace": "grace_s", "jitter": "jitter_s"}
"""What members of a body are called, where the core calls them otherwise."""


def _text(value: object) -> object:
    if not isinstance(value, (str, datetime)):
        raise ValueError("expected text such as 2027-01-01T08:00:00Z")  # noqa: TRY004 - pydantic's
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("expected an instant such as 2027-01-01T08:00:00Z") from None


def _told(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("expected an offset from UTC, such as Z or +02:00")
    if not _FIRST_YEAR <= value.year <= _LAST_YEAR:
        raise ValueError(f"expected a year from {_FIRST_YEAR} to {_LAST_YEAR}")
    return value


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("expected text on one line")
    return value


AskedInstant = Annotated[
    datetime,
    BeforeValidator(_text, json_schema_input_type=str),
    AfterValidator(_told),
    Field(examples=["2027-01-01T08:00:00Z"], json_schema_extra={"format": "date-time"}),
]
"""An instant with its offset from UTC, as RFC 3339 writes it."""

_Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME, examples=["nightly"])]
_When = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LONGEST_WHEN,
        description="A cron expression, `@daily`, `every 6h`, or `at 2027-01-01T08:00`.",
        examples=["0 3 * * *"],
    ),
]
_Zone = Annotated[
    str, Field(max_length=LONGEST_ZONE, description="IANA.", examples=["Europe/Berlin"])
]
_Ref = Annotated[
    str,
    Field(min_length=1, max_length=LONGEST_REF, description="An id, a name, or OWNER/NAME."),
    AfterValidator(_printable),
]
_Version = Annotated[int, Field(ge=1, le=MAX_VERSION, description="Null: the latest at each run.")]
_Description = Annotated[str, Field(max_length=MAX_DESCRIPTION)]
_Grace = Annotated[float, Field(ge=0, le=LONGEST_GRACE.total_seconds())]
_Jitter = Annotated[float, Field(ge=0, le=LONGEST_JITTER.total_seconds())]
_CatchUp = Annotated[int, Field(ge=1, le=MOST_CATCH_UP)]
_Runs = Annotated[int, Field(ge=0, le=_MOST_RUNS, description="Null: no end.")]
_Failures = Annotated[int, Field(ge=1, le=_MOST_FAILURES, description="Null: never.")]


class ScheduleAsk(Ask):
    """A schedule to be made: when, and of what template or spec."""

    model_config = example(
        name="nightly",
        when="0 3 * * *",
        zone="Europe/Berlin",
        overrides={"urls": ["https://docs.example.org/"]},
    )

    name: _Name
    when: _When
    zone: _Zone = "UTC"
    description: _Description = ""
    template: _Ref | None = None
    template_version: _Version | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    overrides: dict[str, Any] = Field(
        default_factory=dict,
        description="What differs from the template, as in a job; without one: the spec.",
        examples=[{"urls": ["https://docs.example.org/"]}],
    )
    overlap: Overlap = Overlap.SKIP
    misfire: Misfire = Misfire.RUN_ONCE
    grace_s: _Grace = 300
    catch_up: _CatchUp = 10
    jitter_s: _Jitter = 0
    starts_at: AskedInstant | None = None
    ends_at: AskedInstant | None = None
    runs_left: _Runs | None = None
    pause_after: _Failures | None = None

    def draft(self) -> ScheduleDraft:
        """Return what is asked for."""
        given = {name: getattr(self, name) for name in type(self).model_fields}
        return ScheduleDraft(**dict(_value(name, value) for name, value in given.items()))


class SchedulePatch(Ask):
    """What is to be changed of a schedule: absent stays, null is the default or none."""

    model_config = example(when="every 6h", pause_after=None)

    name: _Name | None = None
    when: _When | None = None
    zone: _Zone | None = None
    description: _Description | None = None
    template: _Ref | None = None
    template_version: _Version | None = None
    params: Annotated[dict[str, Any] | None, Field(description="A null takes one away.")] = None
    overrides: Annotated[dict[str, Any] | None, Field(description="The same.")] = None
    overlap: Overlap | None = None
    misfire: Misfire | None = None
    grace_s: _Grace | None = None
    catch_up: _CatchUp | None = None
    jitter_s: _Jitter | None = None
    starts_at: AskedInstant | None = None
    ends_at: AskedInstant | None = None
    runs_left: _Runs | None = None
    pause_after: _Failures | None = None

    def changes(self, old: CrawlSchedule) -> Mapping[str, object]:
        """Return the fields of *old* that are asked to be otherwise, with their values.

        Raises:
            Invalid: what has no default is taken away.
        """
        changes: dict[str, object] = {}
        for member in self.model_fields_set:
            name, value = _value(member, getattr(self, member))
            if name in {"params", "overrides"}:
                value = {} if value is None else merged_object(getattr(old, name), value)
            elif value is None:
                value = _default(name, member)
            changes[name] = value
        return changes


class BackfillAsk(Ask):
    """A range of instants to be made up for."""

    model_config = example(
        **{"from": "2025-12-01T00:00:00Z", "to": "2025-12-03T00:00:00Z", "dry_run": True}
    )

    since: Annotated[AskedInstant, Field(alias="from")]
    until: Annotated[
        AskedInstant | None, Field(alias="to", description="Without this one; null: now.")
    ] = None
    dry_run: Annotated[bool, Field(description="Only say which they are.")] = True


class PauseAsk(Ask):
    """Why a schedule is paused."""

    model_config = example(reason="the site is being moved")

    reason: Annotated[str, Field(max_length=MAX_REASON)] = ""


class PreviewAsk(Ask):
    """A time table to be looked at."""

    model_config = example(when="0 3 * * mon-fri", zone="Europe/Berlin", count=3)

    when: _When
    zone: _Zone = "UTC"
    count: Annotated[int, Field(ge=0, le=MOST_NEXT)] = 5
    jitter_s: _Jitter = 0
    starts_at: AskedInstant | None = None
    ends_at: AskedInstant | None = None


def _value(member: str, value: Any) -> tuple[str, Any]:
    """Return the name in the core, and the value there, of a member of a body."""
    name = member.removesuffix("_s")
    if name == member or value is None:
        return name, value
    return name, timedelta(seconds=value)


_DEFAULTS: Mapping[str, object] = {f.name: f.default for f in fields(ScheduleDraft)}


def _default(name: str, member: str) -> object:
    default = _DEFAULTS[name]
    if default is NODEFAULT:
        raise Invalid(member, "expected a value: a schedule always has one")
    return default
