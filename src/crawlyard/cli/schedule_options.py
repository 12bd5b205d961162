"""What commands can be told about a schedule, in the groups that their help shows.

An option that was not given is ``None``: an edit must not take it for a wish.
"""

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from crawlyard.cli import values
from crawlyard.cli.options import choice, option
from crawlyard.core.schedule import Misfire, Overlap
from crawlyard.services.schedule_records import ScheduleDraft

TIMES, POLICY = "Times", "Policies"
_UNSET = ScheduleDraft(name="unset", when="@daily")  # what a schedule has where nothing is asked
_GRACE = values.duration_text(_UNSET.grace)

Ref = Annotated[
    str,
    typer.Argument(metavar="SCHEDULE", help="A name, OWNER/NAME or an id.", show_default=False),
]
Refs = Annotated[
    list[str],
    typer.Argument(
        metavar="SCHEDULE",
        help="Names, ids, or '-' to read them from stdin.",
        show_default=False,
    ),
]


def instant(text: str) -> datetime:
    """Return the instant that ``2026-11-24`` or ``2026-11-24T16:30`` is, local without offset."""
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError):
        message = f"expected an instant such as 2026-11-24 or 2026-11-24T16:30, got {text!r}"
        raise ValueError(message) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """When a schedule is due."""

    tz: Annotated[
        str | None, option(str, "--tz", "ZONE", "IANA time zone: Europe/Berlin; else UTC.", TIMES)
    ] = None
    jitter: Annotated[
        timedelta | None,
        option(values.duration, "--jitter", "TIME", "Delay each run by up to TIME.", TIMES),
    ] = None
    starts: Annotated[
        datetime | None, option(instant, "--starts", "INSTANT", "Not due before.", TIMES)
    ] = None
    ends: Annotated[
        datetime | None, option(instant, "--ends", "INSTANT", "Not due after.", TIMES)
    ] = None
    runs: Annotated[
        int | None, option(values.count, "--runs", "N", "End after N runs from now.", TIMES)
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """What becomes of runs that cannot be as they should."""

    overlap: Annotated[
        Overlap | None,
        choice(
            "--overlap",
            of=Overlap,
            text="While a job has not ended",
            panel=POLICY,
            default=_UNSET.overlap,
        ),
    ] = None
    misfire: Annotated[
        Misfire | None,
        choice("--misfire", of=Misfire, text="What is late", panel=POLICY, default=_UNSET.misfire),
    ] = None
    grace: Annotated[
        timedelta | None,
        option(
            values.duration, "--grace", "TIME", f"So late is still on time; else {_GRACE}.", POLICY
        ),
    ] = None
    catch_up: Annotated[
        int | None,
        option(
            values.count,
            "--catch-up",
            "N",
            f"run_all makes up for; else {_UNSET.catch_up}.",
            POLICY,
        ),
    ] = None
    pause_after: Annotated[
        int | None,
        option(values.count, "--pause-after", "N", "Pause after N failures in a row.", POLICY),
    ] = None


_FIELDS = {"tz": "zone", "starts": "starts_at", "ends": "ends_at", "runs": "runs_left"}


def given(*groups: Times | Policies, **others: Any) -> dict[str, Any]:
    """Return what was given, by the names of the fields of `ScheduleDraft`."""
    asked = {f.name: getattr(group, f.name) for group in groups for f in fields(group)}
    named = {_FIELDS.get(name, name): value for name, value in (asked | others).items()}
    return {name: value for name, value in named.items() if value is not None}
