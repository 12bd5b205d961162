"""Lookup of schedules: by id, name or OWNER/NAME, as far as an actor may see or change them."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from msgspec.structs import replace

from crawlyard.core.access.user import Actor, Role
from crawlyard.core.schedules.schedule import CrawlSchedule
from crawlyard.core.schedules.timetable import instants, timetable
from crawlyard.core.templates.template import is_id
from crawlyard.errors import Forbidden, NotFound, Version, check_version
from crawlyard.store.queries import ScheduleQuery

if TYPE_CHECKING:
    from crawlyard.store.store import Store

_MICROSECOND = timedelta(microseconds=1)


async def find_schedule(store: "Store", actor: Actor, ref: str) -> CrawlSchedule:
    """Return a schedule.

    Raises:
        NotFound: no such schedule that the actor may see.
    """
    if is_id(ref):
        schedule = await store.schedules.get(ref.lower())
        if not actor.may_see(schedule.owner):
            raise NotFound(f"no schedule {ref.lower()}")
        return schedule
    owner, slash, name = ref.rpartition("/")
    query = ScheduleQuery(owner=owner if slash else actor.id, name=name)
    if actor.may_see(query.owner or ""):
        for schedule in await store.schedules.find(query, 1):
            return schedule
    raise NotFound(f"there is no schedule {ref}")


async def changeable_schedule(
    store: "Store", actor: Actor, ref: str, version: Version = None
) -> CrawlSchedule:
    """Return a schedule that the actor may change.

    Raises:
        NotFound, Forbidden, Stale: as the names say.
    """
    schedule = await find_schedule(store, actor, ref)
    if not actor.may_change(schedule.owner):
        raise Forbidden(f"{actor.id} may view schedule {schedule.name}, but not change it")
    check_version(f"schedule {schedule.name}", schedule.version, version)
    return schedule


async def visible_schedules(
    store: "Store", actor: Actor, query: ScheduleQuery, limit: int
) -> Sequence[CrawlSchedule]:
    """Return the schedules matching *query* that the actor may see, ordered by (name, id)."""
    if actor.role is not Role.ADMIN:
        query = replace(query, owner=actor.id)
    return await store.schedules.find(query, limit)


def is_due(schedule: CrawlSchedule, now: datetime) -> bool:
    """Return whether a schedule is active and its next instant, with jitter, has come."""
    fire_at = schedule.fire_at
    return fire_at is not None and schedule.paused_at is None and fire_at <= now


def instants_of(
    schedule: CrawlSchedule, since: datetime, until: datetime | None, most: int
) -> Iterator[datetime]:
    """Return the instants in [*since*, *until*) at which a schedule is due, at most *most*."""
    table = timetable(schedule.when, schedule.zone, schedule.anchor)
    after, least, last = since - _MICROSECOND, schedule.starts_at, schedule.ends_at
    coming = islice(instants(table, after, starts_at=least, ends_at=last), most)
    return takewhile(lambda at: until is None or at < until, coming)
