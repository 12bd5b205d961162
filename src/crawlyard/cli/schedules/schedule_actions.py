"""What commands do to schedules, and what became of them."""

import sys
from collections.abc import Callable, Mapping, Sequence

from crawlyard.cli.jobs.actions import DECLINED
from crawlyard.cli.jobs.crawl_options import options_named
from crawlyard.cli.options import Common
from crawlyard.cli.render.sheets import listed, show, whole
from crawlyard.cli.render.words import printable
from crawlyard.cli.schedules.schedule_views import SCHEDULES, ledger_view, local
from crawlyard.cli.session import Session
from crawlyard.cli.stdout import write_line
from crawlyard.cli.when import instant_of
from crawlyard.core.answers.schedules.schedules import BackfillOut, ScheduleOut
from crawlyard.core.jobs.spec_json import Form
from crawlyard.core.quantity import counted
from crawlyard.core.schedules.records import ScheduleDraft
from crawlyard.core.schedules.timetable import zone_of
from crawlyard.errors import Invalid


async def create(session: Session, *, draft: ScheduleDraft, common: Common) -> int:
    """Remember a new schedule."""
    with options_named(own=("name",)):
        schedule = await session.schedules.create(draft)
    return await _told(session, common, "created", [schedule])


async def edit(
    session: Session,
    *,
    ref: str,
    changes: Callable[[str], Mapping[str, object]],
    params: Mapping[str, object],
    overrides: Form,
    unset: Sequence[str],
    common: Common,
) -> int:
    """Change a schedule; *changes* are read in the zone that it has."""
    found = await session.schedules.get(ref)
    given = changes(found.zone)
    if not given and not params and not overrides and not unset:
        raise Invalid("schedule", "expected something to change, such as --when '0 4 * * *'")
    schedule = await session.schedules.update(found.id, given, params, overrides, unset)
    return await _told(session, common, "changed", [schedule])


async def toggle(
    session: Session, *, refs: Sequence[str], enabled: bool, reason: str, common: Common
) -> int:
    """Pause or resume schedules; none, if one of them is not there."""
    found = [await session.schedules.get(ref) for ref in refs]
    toggled = [
        await session.schedules.toggle(schedule.id, enabled=enabled, reason=reason)
        for schedule in found
    ]
    return await _told(session, common, "resumed" if enabled else "paused", toggled)


async def run(session: Session, *, ref: str, common: Common) -> int:
    """Submit a job of a schedule at once."""
    job_id = await session.schedules.run_now(ref)
    if whole(session, common):
        await show(session, await session.client.get(job_id), (), common)
    else:
        write_line(job_id)
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
    """Make up for what did not run, after a look at what that is.

    *since*, *until*: instants, local to the schedule's zone unless they have an offset;
    no *until* is now.
    """
    schedule = await session.schedules.get(ref)
    zone = zone_of(schedule.zone)
    start = instant_of("--from", since, zone)
    end = instant_of("--until", until, zone) if until else None
    would = await session.schedules.backfill(schedule.id, start, end, dry_run=True)
    if not dry_run and would.runs:
        if not yes and not _agreed(session, schedule, would):
            session.tell("nothing was submitted")
            return DECLINED
        would = await session.schedules.backfill(schedule.id, start, would.until, dry_run=False)
    if whole(session, common):
        await show(session, would, (), common)
    else:
        await listed(session, would.runs, ledger_view(schedule.zone), common)
    verb = "would be submitted" if would.dry_run else "submitted"
    session.tell(
        f"{counted(len(would.runs), 'job')} {verb}; "
        f"{counted(would.kept, 'instant')} had run, wait or are to come"
    )
    return 0


async def delete(session: Session, *, refs: Sequence[str], yes: bool) -> int:
    """Delete schedules with their ledgers, after a question unless *yes*."""
    found = [await session.schedules.get(ref) for ref in refs]
    if not yes and not _sure(session, found):
        session.tell("nothing was deleted")
        return DECLINED
    for schedule in found:
        await session.schedules.delete(schedule.id)
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
    """Say what became of schedules, and write what they are now if that was asked for."""
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
