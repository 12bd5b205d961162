"""Commands that change and run schedules."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crawlyard.cli.jobs.actions import DECLINED
from crawlyard.cli.jobs.crawl_options import options_named
from crawlyard.cli.options import Common
from crawlyard.cli.render.sheets import listed, show, whole
from crawlyard.cli.render.words import printable
from crawlyard.cli.schedules.options import range_named
from crawlyard.cli.schedules.unsetting import beside, without
from crawlyard.cli.schedules.views import SCHEDULES, ledger_view, local
from crawlyard.cli.session import Session
from crawlyard.cli.stdout import write_line
from crawlyard.cli.when import instant_of
from crawlyard.core.answers.schedules import BackfillOut, ScheduleOut
from crawlyard.core.jobs.spec_json import NO_LIMIT, Form
from crawlyard.core.merge_patch import patch_between
from crawlyard.core.quantity import counted
from crawlyard.core.schedules.timetable import zone_of
from crawlyard.errors import Invalid

_OWN: Mapping[str, str] = {"name": "name", "grace_s": "--grace", "jitter_s": "--jitter"}
"""Names of a schedule's own fields in errors; `options_named` names those of a spec."""


async def create(session: Session, *, fields: Mapping[str, Any], common: Common) -> int:
    """Create a schedule."""
    with options_named(**_OWN):
        schedule = await session.surface.schedules.create(**fields)
    return await _told(session, common, "created", [schedule])


async def edit(
    session: Session,
    *,
    ref: str,
    changes: Callable[[str], Mapping[str, Any]],
    params: Mapping[str, object],
    overrides: Form,
    unset: Sequence[str],
    common: Common,
) -> int:
    """Change a schedule; *changes* are read in the zone that it has.

    *params* and *overrides* are set beside those that it has; *unset*: paths to take away.
    """
    found = await session.surface.schedules.get(ref)
    given = {**changes(found.zone)}
    if not given and not params and not overrides and not unset:
        raise Invalid("schedule", "expected something to change, such as --when '0 4 * * *'")
    overrides = _in_words(overrides)
    if unset:
        more = {**found.params, **params}, beside(found.overrides, overrides)
        objects = without(*more, unset)
        params, overrides = map(patch_between, (found.params, found.overrides), objects)
    given |= {n: v for n, v in (("params", params), ("overrides", overrides)) if v}
    with options_named(**_OWN):
        changed = await session.surface.schedules.edit(found.id, version=found.version, **given)
    return await _told(session, common, "changed", [changed])


def _in_words(form: Form) -> dict[str, object]:
    """Return *form* with a word for null, which would take away an override in a change."""
    said: dict[str, object] = {}
    for name, value in form.items():
        inner = _in_words(value) if isinstance(value, Mapping) else value
        said[name] = NO_LIMIT if inner is None else inner
    return said


async def toggle(
    session: Session, *, refs: Sequence[str], enabled: bool, reason: str, common: Common
) -> int:
    """Pause or resume schedules; none, if one of them does not exist."""
    schedules = session.surface.schedules
    found = [await schedules.get(ref) for ref in refs]
    toggled = [
        await (schedules.resume(one.id) if enabled else schedules.pause(one.id, reason))
        for one in found
    ]
    return await _told(session, common, "resumed" if enabled else "paused", toggled)


async def run(session: Session, *, ref: str, common: Common) -> int:
    """Submit a job of a schedule at once."""
    job = await session.surface.schedules.run(ref)
    if whole(session, common):
        await show(session, job, (), common)
    else:
        write_line(job.id)
    session.tell(session.by_worker("a worker runs what is queued"))
    return 0


async def backfill(
    session: Session,
    *,
    ref: str,
    since: str,
    until: str,
    dry_run: bool,
    yes: bool,
    common: Common,
) -> int:
    """Submit jobs for the instants that did not run, after a dry run.

    *since*, *until*: instants, local to the schedule's zone unless they have an offset;
    no *until* is now.
    """
    schedules = session.surface.schedules
    schedule = await schedules.get(ref)
    zone = zone_of(schedule.zone)
    start = instant_of("--from", since, zone)
    end = instant_of("--until", until, zone) if until else None
    with range_named():
        would = await schedules.backfill(schedule.id, start, end, dry_run=True)
    done = would
    if not dry_run and would.runs:
        if not yes and not _agreed(session, schedule, would):
            session.tell("nothing was submitted")
            return DECLINED
        done = await schedules.backfill(schedule.id, start, would.until, dry_run=False)
    if whole(session, common):
        await show(session, done, (), common)
    else:
        await listed(session, done.runs, ledger_view(schedule.zone), common)
    if done.operation_id is not None:  # there are many
        doing = f"operation {done.operation_id} submits {counted(len(would.runs), 'job')}"
        session.tell(session.by_worker(f"{doing}; a worker runs it"))
        return 0
    verb = "would be submitted" if done.dry_run else "submitted"
    session.tell(
        f"{counted(len(done.runs), 'job')} {verb}; "
        f"{counted(done.kept, 'instant')} had run, wait or are to come"
    )
    return 0


async def delete(session: Session, *, refs: Sequence[str], yes: bool) -> int:
    """Delete schedules with their ledgers, after a question unless *yes*."""
    found = [await session.surface.schedules.get(ref) for ref in refs]
    if not yes and not _sure(session, found):
        session.tell("nothing was deleted")
        return DECLINED
    for schedule in found:
        await session.surface.schedules.delete(schedule.id, version=schedule.version)
        session.tell(f"deleted: {schedule.name}")
    return 0


def _agreed(session: Session, schedule: ScheduleOut, would: BackfillOut) -> bool:
    if not sys.stdin.isatty():
        message = "there is no terminal to ask on: pass --yes, or --dry-run to see what would run"
        raise Invalid("--yes", message)
    for tick in would.runs:
        session.err.print(local(tick.due_at, schedule.zone), markup=False, highlight=False)
    jobs = counted(len(would.runs), "job")
    return _yes(session, f"Submit {jobs} of {schedule.name} for these instants?")


def _sure(session: Session, schedules: Sequence[ScheduleOut]) -> bool:
    session.check_can_ask()
    for schedule in schedules:
        about = f"{schedule.name}  {schedule.when}  {schedule.id}"
        session.err.print(printable(about), markup=False, highlight=False)
    count = "this schedule" if len(schedules) == 1 else f"these {len(schedules):,} schedules"
    return _yes(session, f"Delete {count} and what is known of past runs?")


def _yes(session: Session, question: str) -> bool:
    answer = session.err.input(f"{printable(question)} (y/N) ", markup=False)
    return answer.strip().lower() in {"y", "yes"}


async def _told(
    session: Session, common: Common, done: str, schedules: Sequence[ScheduleOut]
) -> int:
    """Say what was done to schedules, and write them as they are now if that was asked for."""
    for schedule in schedules:
        at = schedule.next_at
        due = f"next {local(at, schedule.zone)}" if at is not None else "not due any more"
        session.tell(f"{done}: {schedule.name}  {due}  {schedule.id}")
    if not common.asked:
        return 0
    if len(schedules) == 1 and whole(session, common):
        return await show(session, schedules[0], (), common)
    await listed(session, schedules, SCHEDULES, common)
    return 0
