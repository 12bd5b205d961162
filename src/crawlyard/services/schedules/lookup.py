"""Lookup of schedules: by id, name or OWNER/NAME, as far as an actor may see or change them."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from msgspec.structs import replace

from crawlyard.core.access.sharing import Sharing
from crawlyard.core.access.user import Actor, Role
from crawlyard.core.schedules.schedule import CrawlSchedule
from crawlyard.core.schedules.timetable import instants, timetable
from crawlyard.core.templates.template import is_id
from crawlyard.errors import Forbidden, NotFound, Version, check_version
from crawlyard.store.queries import ScheduleQuery

if TYPE_CHECKING:
    from crawlyard.store.store import Store

_MICROSECOND = timedelta(microseconds=1)


async def find_schedule(
    store: "Store", actor: Actor, ref: str, *, shared: bool = False
) -> CrawlSchedule:
    """Return a schedule; with *shared*, also one that another user shares.

    Raises:
        NotFound: no such schedule that the actor may see.
    """
    if is_id(ref):
        schedules = [await store.schedules.get(ref.lower())]
    else:
        owner, slash, name = ref.rpartition("/")
        query = ScheduleQuery(owner=owner if slash else actor.id, name=name)
        schedules = await store.schedules.find(query, 1)
    for schedule in schedules:
        if sees_schedule(actor, schedule) if shared else actor.may_see(schedule.owner):
            return schedule
    raise NotFound(f"there is no schedule {ref}")


def sees_schedule(actor: Actor, schedule: CrawlSchedule) -> bool:
    """Return whether the actor may see a schedule, its runs and their results."""
    is_shown = actor.sees_shared and schedule.shared is not Sharing.PRIVATE
    return is_shown or actor.may_see(schedule.owner)


def may_run_schedule(actor: Actor, schedule: CrawlSchedule) -> bool:
    """Return whether the actor may pause, resume, run and backfill; only owners and admins edit."""
    if actor.may_change(schedule.owner):
        return True
    is_shared = schedule.shared is Sharing.WRITE and actor.role is Role.OPERATOR
    return is_shared and sees_schedule(actor, schedule)


def actions_on(actor: Actor, schedule: CrawlSchedule) -> tuple[str, ...]:
    """Return what the actor may do with a schedule in its state."""
    turn = "pause" if schedule.paused_at is None else "resume"
    control = ("run", turn, "backfill") if may_run_schedule(actor, schedule) else ()
    return (*control, "edit", "delete") if actor.may_change(schedule.owner) else control


async def changeable_schedule(
    store: "Store", actor: Actor, ref: str, version: Version = None, *, to_run: bool = False
) -> CrawlSchedule:
    """Return a schedule that the actor may change, or with *to_run* control.

    Raises:
        NotFound, Forbidden, Stale: as the names say.
    """
    schedule = await find_schedule(store, actor, ref, shared=True)
    if not (may_run_schedule(actor, schedule) if to_run else actor.may_change(schedule.owner)):
        raise Forbidden(f"{actor.id} may view schedule {schedule.name}, but not change it")
    check_version(f"schedule {schedule.name}", schedule.version, version)
    return schedule


async def visible_schedules(
    store: "Store", actor: Actor, query: ScheduleQuery, limit: int
) -> Sequence[CrawlSchedule]:
    """Return the schedules matching *query* that the actor may see, ordered by (name, id)."""
    if actor.sees_shared and actor.role is not Role.ADMIN:
        query = replace(query, seen_by=actor.id)
    elif not actor.may_see(query.owner or actor.id):
        return ()
    elif actor.role is not Role.ADMIN:
        query = replace(query, owner=actor.id)
    return await store.schedules.find(query, limit)


def jobs_reader(actor: Actor) -> str | None:
    """Return the user whose view of the jobs of schedules the store applies; ``None``: all jobs."""
    return None if actor.role is Role.ADMIN else actor.id


def is_due(schedule: CrawlSchedule, now: datetime) -> bool:
    """Return whether a schedule is active and its next instant, with jitter, has come."""
    fire_at = schedule.fire_at
    return fire_at is not None and schedule.paused_at is None and fire_at <= now


def next_instants(schedule: CrawlSchedule, now: datetime, count: int) -> tuple[datetime, ...]:
    """Return the next *count* instants from *now*, at most as many as runs are left."""
    if schedule.next_at is None:
        return ()
    most = count if schedule.runs_left is None else min(count, schedule.runs_left)
    return tuple(instants_of(schedule, max(schedule.next_at, now), None, most))


def instants_of(
    schedule: CrawlSchedule, since: datetime, until: datetime | None, most: int
) -> Iterator[datetime]:
    """Return the instants in [*since*, *until*) at which a schedule is due, at most *most*."""
    table = timetable(schedule.when, schedule.zone, schedule.anchor)
    after, least, last = since - _MICROSECOND, schedule.starts_at, schedule.ends_at
    coming = islice(instants(table, after, starts_at=least, ends_at=last), most)
    return takewhile(lambda at: until is None or at < until, coming)
