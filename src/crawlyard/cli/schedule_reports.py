"""What commands tell of schedules, their ledger and what is to come."""

import sys
from collections.abc import Iterable
from datetime import datetime, timedelta

from rich.table import Table
from rich.text import Text

from crawlyard.cli import output
from crawlyard.cli.options import Common, Style
from crawlyard.cli.output import M, View
from crawlyard.cli.schedule_explain import COMING
from crawlyard.cli.schedule_views import SCHEDULES, calendar_view, facts, ledger_view
from crawlyard.cli.session import Session
from crawlyard.cli.stdout import write_line
from crawlyard.cli.words import printable
from crawlyard.store.base import ScheduleQuery

_ALL = 2**31
_AHEAD = timedelta(days=7)


async def schedules(session: Session, *, query: ScheduleQuery, limit: int, common: Common) -> int:
    """List schedules by name."""
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


async def runs(
    session: Session, *, ref: str, before: datetime | None, limit: int, common: Common
) -> int:
    """List what became of the instants at which a schedule was due, the latest first."""
    found = await session.schedules.get(ref)
    ticks = await session.schedules.runs(found.id, before, limit or _ALL)
    await _write(session, ticks, ledger_view(found.zone), common)
    if not ticks:
        session.tell(f"schedule {found.name} has not been due yet")
    elif len(ticks) == limit:
        session.tell(f"the latest {limit:,} are shown; --limit 0 shows all")
    return 0


async def next_runs(session: Session, *, ref: str, count: int, common: Common) -> int:
    """List the next instants at which a schedule will be due."""
    found = await session.schedules.get(ref)
    coming = await session.schedules.next_runs(found.id, count)
    await _write(session, coming, COMING, common)
    if not coming:
        session.tell(f"schedule {found.name} is not due any more")
    elif not found.enabled:
        session.tell(f"schedule {found.name} is paused; it runs again after a resume")
    return 0


async def calendar(
    session: Session, *, since: datetime | None, until: datetime | None, zone: str, common: Common
) -> int:
    """List when all schedules are due, in their order."""
    start = since or session.yard.clock.wall()
    found = await session.schedules.calendar(start, until or start + _AHEAD)
    await _write(session, found.occurrences, calendar_view(zone), common)
    if not found.occurrences:
        session.tell("nothing is due in that time")
    if not found.whole:
        session.tell(f"only the first {len(found.occurrences):,} are shown; ask for less time")
    return 0


async def _write(session: Session, items: Iterable[M], view: View[M], common: Common) -> None:
    style = common.style_on(terminal=session.out.is_terminal)
    await output.write_all(output.each(items), view, style, session.out, quiet=common.quiet)
