"""Filter names: resolves ``me`` and the names of templates and schedules in job filters."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from msgspec.structs import replace

from crawlyard.core.access.user import Actor, Role
from crawlyard.core.jobs.filter import ME, Condition, FilterKey
from crawlyard.core.templates.template import is_id
from crawlyard.store.queries import JobQuery, ScheduleQuery, TemplateQuery
from crawlyard.store.store import Store

_Finder: TypeAlias = Callable[[Store, Actor, str], Awaitable[list[str]]]

_MOST_NAMED = 2  # names are unique per owner


async def meant(store: Store, actor: Actor, query: JobQuery) -> JobQuery:
    """Return *query* as a store takes it, narrowed to what the actor may see.

    In its conditions, names of templates and schedules (the actor's own, or OWNER/NAME) are
    replaced by ids, and ``me`` by the actor. An unknown name matches nothing.
    """
    where = tuple([await _resolved(store, actor, one) for one in query.where])
    owner = query.owner if actor.role is Role.ADMIN else actor.id
    return replace(query, owner=owner, where=where)


async def _resolved(store: Store, actor: Actor, asked: Condition) -> Condition:
    find = _FIND.get(asked.key)
    if find is None:
        return asked
    words = [word for name in asked.words for word in await find(store, actor, name)]
    return replace(asked, words=tuple(words))


async def _owner(_store: Store, actor: Actor, word: str) -> list[str]:
    return [actor.id if word == ME else word]


async def _templates(store: Store, actor: Actor, word: str) -> list[str]:
    if is_id(word):
        return [word.lower()]
    owner, slash, name = word.rpartition("/")
    seen_by = None if actor.role is Role.ADMIN else actor.id
    query = TemplateQuery(owner=owner if slash else actor.id, seen_by=seen_by, name=name)
    return [template.id for template in await store.templates.find(query, _MOST_NAMED)]


async def _schedules(store: Store, actor: Actor, word: str) -> list[str]:
    if is_id(word):
        return [word.lower()]
    owner, slash, name = word.rpartition("/")
    query = ScheduleQuery(owner=owner if slash else actor.id, name=name)
    found = await store.schedules.find(query, _MOST_NAMED)
    return [schedule.id for schedule in found if actor.may_see(schedule.owner)]


_FIND: Mapping[FilterKey, _Finder] = {
    FilterKey.OWNER: _owner,
    FilterKey.TEMPLATE: _templates,
    FilterKey.SCHEDULE: _schedules,
}
