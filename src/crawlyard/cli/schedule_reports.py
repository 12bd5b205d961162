"""What commands tell of schedules, their ledger and what is to come."""

import sys
from collections.abc import Iterable
from dataclasses import replace

from rich.table import Table
from rich.text import Text

from crawlyard.cli import output
from crawlyard.cli.options import Common, Style
from crawlyard.cli.output import M, View
from crawlyard.cli.schedule_explain import COMING, check_number
from crawlyard.cli.schedule_views import SCHEDULES, calendar_view, facts, ledger_view, local
from crawlyard.cli.session import Session
from crawlyard.cli.stdout import write_line
from crawlyard.cli.when import instant_of
from crawlyard.cli.words import printable
from crawlyard.core.timetable import zone_of
from crawlyard.store.base import ScheduleQuery

_ALL = 2**31


async def schedules(
    session: Session, *, query: ScheduleQuery, template: str, limit: int, common: Common
) -> int:
    """List schedules by name, only those of *template* if one is named."""
    if template:
        query = replace(query, template_id=(await session.templates.get(template)).id)
    found = await session.schedules.find(query, limit or _ALL)
    await _write(session, found, SCHEDULES, common)
    if not found:
        session.tell("no schedule is like that" if query != ScheduleQuery() else _NONE)
    elif len(found) == limit:
        session.tell(f"the first {limit:,} are shown; --limit 0 shows all")
    return 0


_NONE = "there is no schedule yet"


def no_schedules(common: Common) -> int:
    """List the schedules of a data directory that does not exist: none."""
    if common.style_on(terminal=sys.stdout.isatty()) is Style.JSON and not common.quiet:
        write_line("[]")
    elif not common.quiet:
        sys.stderr.write(f"{_NONE}\n")
    return 0


async def schedule(session: Session, *, ref: str, common: Common) -> int:
    """Show one schedule."""
    found = await session.schedules.get(ref)
    style = common.style_on(terminal=session.out.is_terminal)
    if common.quiet:
        write_line(found.id)
    elif style in (Style.JSON, Style.JSONL):
        output.write_one(found, style)
    elif style is Style.TABLE:
        sheet = Table.grid(padding=(0, 2))
        for name, value in facts(found):
            sheet.add_row(Text(name, style="bold"), Text(printable(value), overflow="fold"))
        session.out.print(sheet)
    elif style is Style.PLAIN:
        for name, value in facts(found):
            write_line(output.plain((name, value)))
    else:
        await _write(session, [found], SCHEDULES, common)
    return 0


async def runs(session: Session, *, ref: str, before: str, limit: int, common: Common) -> int:
    """List what became of the instants at which a schedule was due, the latest first.

    *before*: an instant, local to its zone unless it has an offset; empty for all.
    """
    found = await session.schedules.get(ref)
    instant = instant_of("--before", before, zone_of(found.zone)) if before else None
    ticks = await session.schedules.runs(found.id, instant, limit or _ALL)
    await _write(session, ticks, ledger_view(found.zone), common)
    if not ticks:
        session.tell(f"schedule {found.name} has not been due yet")
    elif len(ticks) == limit:
        session.tell(f"the latest {limit:,} are shown; --limit 0 shows all")
    return 0


async def next_runs(session: Session, *, ref: str, count: int, common: Common) -> int:
    """List the next instants at which a schedule will be due."""
    check_number(count)
    found = await session.schedules.get(ref)
    ahead = await session.schedules.next_runs(found.id, count)
    await _write(session, ahead.next, COMING, common)
    if ahead.overdue_at is not None:
        at = local(ahead.overdue_at, found.zone)
        session.tell(f"schedule {found.name} is overdue since {at}: no scheduler runs")
    if not found.enabled:
        session.tell(f"schedule {found.name} is paused; it runs again after a resume")
    elif count and not ahead.next:
        session.tell(f"schedule {found.name} is not due any more")
    return 0


async def calendar(session: Session, *, since: str, until: str, zone: str, common: Common) -> int:
    """List when all schedules are due, in their order.

    *since*, *until*: instants, local to *zone* unless they have an offset; empty for now,
    and for a week later.
    """
    place = zone_of(zone)
    found = await session.schedules.calendar(
        instant_of("--from", since, place) if since else None,
        instant_of("--until", until, place) if until else None,
    )
    await _write(session, found.occurrences, calendar_view(zone), common)
    if not found.occurrences:
        session.tell("nothing is due in that time")
    for schedule_id in found.unreadable:
        session.tell(f"left out, its time table means nothing any more: {schedule_id}")
    if not found.whole and not found.unreadable:
        session.tell(f"only the first {len(found.occurrences):,} are shown; ask for less time")
    return 0


async def _write(session: Session, items: Iterable[M], view: View[M], common: Common) -> None:
    style = common.style_on(terminal=session.out.is_terminal)
    await output.write_all(output.each(items), view, style, session.out, quiet=common.quiet)
