"""Job reader: finds and counts jobs, and returns their progress."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TypeAlias

from msgspec.structs import replace

from crawlyard.core.access.user import Actor, Role
from crawlyard.core.jobs.checkpoint import Standing
from crawlyard.core.jobs.filter import ME, Condition, FilterKey
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.priority import Priority
from crawlyard.core.jobs.progress import Progress, progress_of_standing
from crawlyard.core.templates.template import is_id
from crawlyard.errors import NotFound
from crawlyard.store.queries import EVERY_JOB, JobQuery, ScheduleQuery, TemplateQuery
from crawlyard.store.store import Store

_Finder: TypeAlias = Callable[[Store, Actor, str], Awaitable[list[str]]]

_MOST_NAMED = 2  # names are unique per owner


class JobReader:
    """Finds jobs. A job that the actor may not see raises `NotFound`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, actor: Actor, job_id: str) -> Standing:
        """Return a job with its usage and lease.

        Raises:
            NotFound: there is none of that id, or it belongs to another user.
        """
        if not is_id(job_id):
            raise NotFound(f"there is no job {job_id[:100]}")
        standing = await self._store.jobs.get(job_id.lower())
        if not actor.may_see(standing.job.owner):
            raise NotFound(f"there is no job {job_id}")
        return standing

    async def progress(self, actor: Actor, job_id: str) -> Progress:
        """Return the progress of a job, its pace and the time left.

        Raises:
            NotFound: there is none of that id, or it belongs to another user.
        """
        return progress_of_standing(await self.get(actor, job_id))

    async def find(
        self, actor: Actor, query: JobQuery | None = None, limit: int = 50
    ) -> list[Standing]:
        """Return at most *limit* jobs that match *query* and that the actor may see, newest first.

        Conditions may refer to templates and schedules by name, and to the actor as ``me``.
        """
        asked = await meant(self._store, actor, query or EVERY_JOB)
        return await self._store.jobs.find(asked, limit)

    async def queue(self, actor: Actor, now: datetime, limit: int) -> list[Standing]:
        """Return the first *limit* pending jobs that the actor may see, in the order of claims."""
        owner = None if actor.role is Role.ADMIN else actor.id
        return await self._store.queue.pending(now, limit, owner)

    async def counts(
        self, actor: Actor, query: JobQuery = EVERY_JOB, most: int | None = None
    ) -> Mapping[tuple[State, Priority], int]:
        """Return how many of the jobs that `find` matches are in each state and priority.

        Zeros are left out.

        *most* bounds how many are read: see `JobStore.counts`.
        """
        return await self._store.jobs.counts(await meant(self._store, actor, query), most)


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
