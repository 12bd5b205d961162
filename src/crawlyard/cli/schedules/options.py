"""Options of schedules, in the groups of their help.

An option that was not given is ``None``: an edit leaves its field unchanged.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Annotated, Any

import typer
from msgspec import Struct

from crawlyard.cli import values
from crawlyard.cli.options import Together, choice, option
from crawlyard.cli.stdin_args import read_ids
from crawlyard.cli.templates.options import TEMPLATE, Params
from crawlyard.cli.when import instant_of
from crawlyard.core.jobs.spec_json import FIELDS
from crawlyard.core.schedules.schedule import Misfire, Overlap, ScheduleDraft
from crawlyard.core.schedules.timetable import zone_of
from crawlyard.errors import Invalid

TIMES, POLICY = "Times", "Policies"
_UNSET = ScheduleDraft(name="unset", when="@daily")  # has the defaults
_GRACE = values.duration_text(_UNSET.grace)

Ref = Annotated[
    str,
    typer.Argument(metavar="SCHEDULE", help="Schedule name, OWNER/NAME or id.", show_default=False),
]
Refs = Annotated[
    list[str],
    typer.Argument(
        metavar="SCHEDULE",
        help="Schedule names or ids; '-' reads them from stdin.",
        show_default=False,
    ),
    Together(read_ids),
]


NONE, LATEST = "none", "latest"
"""Words that remove a value."""


class Times(Struct, frozen=True, kw_only=True):
    """Times of a schedule; the fields are those of a schedule."""

    zone: Annotated[
        str | None,
        option(str, "--tz", "ZONE", "IANA time zone, such as Europe/Berlin; default UTC.", TIMES),
    ] = None
    jitter_s: Annotated[
        float | None,
        option(
            values.span_s,
            "--jitter",
            "TIME",
            "Delay each run by a random time of up to TIME.",
            TIMES,
        ),
    ] = None
    starts_at: Annotated[
        str | None,
        option(
            str,
            "--starts",
            "DATETIME",
            "No runs before DATETIME, in the time zone of --tz; or none.",
            TIMES,
        ),
    ] = None
    ends_at: Annotated[
        str | None,
        option(
            str,
            "--ends",
            "DATETIME",
            "No runs after DATETIME, in the time zone of --tz; or none.",
            TIMES,
        ),
    ] = None
    runs_left: Annotated[
        str | None, option(str, "--runs", "N", "End after N more runs; or none.", TIMES)
    ] = None


class Policies(Struct, frozen=True, kw_only=True):
    """Policies for late and overlapping runs; the fields are those of a schedule."""

    overlap: Annotated[
        Overlap | None,
        choice(
            "--overlap",
            of=Overlap,
            text="If the previous run is still running",
            panel=POLICY,
            default=_UNSET.overlap,
        ),
    ] = None
    misfire: Annotated[
        Misfire | None,
        choice(
            "--misfire",
            of=Misfire,
            text="Policy for missed runs",
            panel=POLICY,
            default=_UNSET.misfire,
        ),
    ] = None
    grace_s: Annotated[
        float | None,
        option(
            values.span_s,
            "--grace",
            "TIME",
            f"Runs up to TIME late count as on time; default {_GRACE}.",
            POLICY,
        ),
    ] = None
    catch_up: Annotated[
        int | None,
        option(
            values.count,
            "--catch-up",
            "N",
            f"Maximum number of missed runs that run_all starts; default {_UNSET.catch_up}.",
            POLICY,
        ),
    ] = None
    pause_after: Annotated[
        str | None,
        option(str, "--pause-after", "N", "Pause after N failed jobs in a row; or none.", POLICY),
    ] = None


class NewUse(Struct, frozen=True, kw_only=True):
    """Template of future jobs."""

    template: Annotated[
        str | None, option(str, "--template", "T", "Use this template.", TEMPLATE)
    ] = None
    param: Params = None
    template_version: Annotated[
        str | None,
        option(str, "--template-version", "N", "Use this version; or latest.", TEMPLATE),
    ] = None
    unset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Remove params.NAME or a field such as limits.pages. Repeatable.",
            rich_help_panel=TEMPLATE,
            show_default=False,
        ),
    ] = None


_INSTANTS: Mapping[str, str] = {"starts_at": "--starts", "ends_at": "--ends"}
_COUNTS: Mapping[str, str] = {"runs_left": "--runs", "pause_after": "--pause-after"}
"""Options that also accept "none", by the fields that they set."""


def schedule_fields(*groups: Times | Policies, zone: str, **fields: Any) -> dict[str, Any]:
    """Return the fields of a schedule from its options.

    *zone* applies to instants without an offset, unless `Times` names another.

    Raises:
        Invalid: an instant, a count or a zone is not valid.
    """
    values = {n: getattr(group, n) for group in groups for n in group.__struct_fields__}
    values = {name: value for name, value in (values | fields).items() if value is not None}
    for name in values.keys() & _INSTANTS.keys():
        place = zone_of(values.get("zone", zone))
        values[name] = _unless_none(values[name], partial(instant_of, _INSTANTS[name], zone=place))
    for name in values.keys() & _COUNTS.keys():
        values[name] = _unless_none(values[name], partial(count_of, _COUNTS[name]))
    return values


def version_of(text: str) -> int | None:
    """Return the version of a template in *text*; ``None`` for the latest."""
    return None if text.strip().lower() == LATEST else count_of("--template-version", text)


def count_of(name: str, text: str) -> int:
    """Return *text* as a whole number.

    Raises:
        Invalid: it is not one; the field is *name*, an option.
    """
    try:
        return values.count(text)
    except ValueError as error:
        raise Invalid(name, str(error)) from None


def _unless_none(text: str, read: Callable[[str], object]) -> object:
    return None if text.strip().lower() == NONE else read(text)


# --- removed values

_PARAMS = "params."


def remove_values(
    params: Mapping[str, object], overrides: Mapping[str, object], unset: Collection[str]
) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """Return *params* and *overrides* without the paths *unset*: ``params.NAME`` or a spec field.

    Raises:
        Invalid: a path is not set.
    """
    for path in unset:
        if path.startswith(_PARAMS):
            params = _remove_value(params, path.removeprefix(_PARAMS), path)
        else:
            overrides = _remove_value(overrides, _find_spelling(overrides, path), path)
    return params, overrides


def beside(form: Mapping[str, object], more: Mapping[str, object]) -> dict[str, object]:
    """Return *form* updated with *more*; an object that is in both is merged one level deep."""
    merged = {**form, **more}
    for name, value in more.items():
        before = form.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            merged[name] = {**before, **value}
    return merged


def _find_spelling(form: Mapping[str, object], path: str) -> str:
    """Return the path of a field in the spelling that *form* uses, of the two that it may have."""
    ways = next(([f.path, f.also] for f in FIELDS.values() if path in (f.path, f.also)), [])
    return next((way for way in (path, *ways) if way and _has(form, way)), path)


def _has(form: Mapping[str, object], path: str) -> bool:
    head, dot, rest = path.partition(".")
    inner = form.get(head)
    return head in form and (not dot or (isinstance(inner, Mapping) and _has(inner, rest)))


def _remove_value(form: Mapping[str, object], path: str, message: str) -> dict[str, object]:
    """Return *form* without the value at *path*, and without an object left empty by that.

    Raises:
        Invalid: *path* is not set; the field is *message*.
    """
    if not _has(form, path):
        there = ", ".join(form) or "nothing"
        raise Invalid(message, f"is not set, so it cannot be removed; set: {there}")
    head, dot, rest = path.partition(".")
    remaining, inner = dict(form), form[head]
    if dot and isinstance(inner, Mapping) and (inner_rest := _remove_value(inner, rest, message)):
        remaining[head] = inner_rest
    else:
        del remaining[head]
    return remaining
