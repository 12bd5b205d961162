"""Commands that show schedules, their ledgers and their next runs."""

from crawlyard.cli.options import Common
from crawlyard.cli.render.sheets import listed, nothing, show
from crawlyard.cli.schedules.explain import COMING, check_number
from crawlyard.cli.schedules.options import range_named
from crawlyard.cli.schedules.views import (
    SCHEDULES,
    calendar_view,
    facts,
    ledger_view,
    local,
)
from crawlyard.cli.session import Session
from crawlyard.cli.when import instant_of
from crawlyard.core.endpoint import every
from crawlyard.core.schedules.timetable import zone_of

_NONE = "there is no schedule yet"


async def schedules(
    session: Session,
    *,
    query: str,
    paused: bool | None,
    template: str,
    owner: str,
    limit: int,
    common: Common,
) -> int:
    """List schedules by name, only those of *template* if one is named."""
    surface = session.surface
    every_one = every(
        surface.schedules.list,
        paused=paused,
        template=(await surface.templates.get(template)).id if template else None,
        owner=owner or None,
        q=query,
        limit=limit or None,
    )
    found = [schedule async for schedule in every_one]
    await listed(session, found, SCHEDULES, common)
    if not found:
        asked = query or paused is not None or template or owner
        session.tell("no schedule is like that" if asked else _NONE)
    elif len(found) == limit:
        session.tell(f"the first {limit:,} are shown; --limit 0 shows all")
    return 0


def no_schedules(common: Common) -> int:
    """List the schedules of a data directory that does not exist: none."""
    return nothing(common, SCHEDULES, _NONE)


async def schedule(session: Session, *, ref: str, common: Common) -> int:
    """Show one schedule."""
    found = await session.surface.schedules.get(ref)
    return await show(session, found, facts(found), common, key=found.id, view=SCHEDULES)


async def runs(session: Session, *, ref: str, before: str, limit: int, common: Common) -> int:
    """List what became of the instants at which a schedule was due, the latest first.

    *before*: an instant, local to its zone unless it has an offset; empty for all.
    """
    found = await session.surface.schedules.get(ref)
    instant = instant_of("--before", before, zone_of(found.zone)) if before else None
    asked = session.surface.schedules.runs
    every_one = every(asked, found.id, before=instant, limit=limit or None)
    ticks = [tick async for tick in every_one]
    await listed(session, ticks, ledger_view(found.zone), common)
    if not ticks:
        session.tell(f"schedule {found.name} has not been due yet")
    elif len(ticks) == limit:
        session.tell(f"the latest {limit:,} are shown; --limit 0 shows all")
    return 0


async def next_runs(session: Session, *, ref: str, count: int, common: Common) -> int:
    """List the next instants at which a schedule will be due."""
    check_number(count)
    found = await session.surface.schedules.get(ref)
    ahead = await session.surface.schedules.next(found.id, max(count, 1))
    await listed(session, ahead.next[:count], COMING, common)
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
    start = instant_of("--from", since, place) if since else None
    end = instant_of("--until", until, place) if until else None
    with range_named():
        found = await session.surface.schedules.calendar(start, end)
    await listed(session, found.occurrences, calendar_view(zone), common)
    if not found.occurrences:
        session.tell("nothing is due in that time")
    for schedule_id in found.unreadable:
        session.tell(f"left out, its time table means nothing any more: {schedule_id}")
    if not found.whole and not found.unreadable:
        session.tell(f"only the first {len(found.occurrences):,} are shown; ask for less time")
    return 0
