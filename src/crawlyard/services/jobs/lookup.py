"""Lookup of jobs: the ones an actor may see, and names in queries resolved to ids."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from msgspec.structs import replace

from crawlyard.core.access.job_parts import JobPart, sees_job
from crawlyard.core.access.user import Actor, Role
from crawlyard.core.events.event import Event
from crawlyard.core.jobs.filter import ME, Condition, FilterKey
from crawlyard.core.jobs.job import Standing
from crawlyard.core.templates.template import is_id
from crawlyard.errors import NotFound
from crawlyard.store.events.events import EventLog
from crawlyard.store.queries import EventQuery, JobQuery, ScheduleQuery, TemplateQuery
from crawlyard.store.store import Store

_BATCH_SIZE = 500


async def read_all_events(log: EventLog, query: EventQuery) -> list[Event]:
    """Return all events of *query*, oldest first; meant for one job, which has few."""
    events: list[Event] = []
    while batch := await log.events(query, events[-1].seq if events else 0, _BATCH_SIZE):
        events += batch
    return events


async def find_job(
    store: Store, actor: Actor, job_id: str, part: JobPart = JobPart.EVERYTHING
) -> Standing:
    """Return a job with its usage and lease, for *part* of it.

    Raises:
        NotFound: no job has that id, or the actor may not see *part* of it.
    """
    if not is_id(job_id):
        raise NotFound(f"there is no job {job_id[:100]}")
    standing = await store.jobs.get(job_id.lower())
    if not sees_job(actor, standing.job, part):
        raise NotFound(f"there is no job {job_id}")
    return standing


_Resolver: TypeAlias = Callable[[Store, Actor, str], Awaitable[list[str]]]

_MAX_MATCHES = 2  # names are unique per owner


async def visible_query(
    store: Store, actor: Actor, query: JobQuery, part: JobPart = JobPart.EVERYTHING
) -> JobQuery:
    """Return *query* in the form of the store, narrowed to jobs whose *part* the actor may see.

    In its conditions, names of templates and schedules (the actor's own, or OWNER/NAME) are
    replaced by ids, and ``me`` by the actor. An unknown name matches nothing.
    """
    where = tuple([await _resolve_condition(store, actor, condition) for condition in query.where])
    if actor.role is Role.ADMIN:
        return replace(query, where=where)
    if part and actor.sees_shared:
        return replace(query, seen_by=actor.id, part=part, where=where)
    return replace(query, owner=actor.id, where=where)


async def _resolve_condition(store: Store, actor: Actor, condition: Condition) -> Condition:
    resolve = _RESOLVERS.get(condition.key)
    if resolve is None:
        return condition
    words = [word for name in condition.words for word in await resolve(store, actor, name)]
    return replace(condition, words=tuple(words))


async def _resolve_owner(_store: Store, actor: Actor, word: str) -> list[str]:
    return [actor.id if word == ME else word]


async def _resolve_template(store: Store, actor: Actor, word: str) -> list[str]:
    if is_id(word):
        return [word.lower()]
    owner, slash, name = word.rpartition("/")
    seen_by = None if actor.role is Role.ADMIN else actor.id
    query = TemplateQuery(owner=owner if slash else actor.id, seen_by=seen_by, name=name)
    return [template.id for template in await store.templates.find(query, _MAX_MATCHES)]


async def _resolve_schedule(store: Store, actor: Actor, word: str) -> list[str]:
    if is_id(word):
        return [word.lower()]
    owner, slash, name = word.rpartition("/")
    query = ScheduleQuery(owner=owner if slash else actor.id, name=name)
    schedules = await store.schedules.find(query, _MAX_MATCHES)
    return [schedule.id for schedule in schedules if actor.may_see(schedule.owner)]


_RESOLVERS: Mapping[FilterKey, _Resolver] = {
    FilterKey.OWNER: _resolve_owner,
    FilterKey.TEMPLATE: _resolve_template,
    FilterKey.SCHEDULE: _resolve_schedule,
}
