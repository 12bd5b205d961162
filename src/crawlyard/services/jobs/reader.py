"""Job reader: finds and counts jobs, and returns their progress."""

from collections.abc import Mapping
from datetime import datetime

from crawlyard.core.access.user import Actor, Role
from crawlyard.core.jobs.checkpoint import Standing
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.priority import Priority
from crawlyard.core.jobs.progress import Progress, progress_of_standing
from crawlyard.core.templates.template import is_id
from crawlyard.errors import Invalid, NotFound
from crawlyard.services.jobs.filter_names import meant
from crawlyard.store.queries import EVERY_JOB, JobQuery
from crawlyard.store.store import Store


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

    async def resolve(self, actor: Actor, word: str) -> str:
        """Return the id of the job that *word* means: an id, its beginning or end, or "last".

        Raises:
            NotFound: no job that the actor may see matches.
            Invalid: more than one matches.
        """
        if word == "last":
            found = await self.find(actor, limit=1)
            if not found:
                raise NotFound("there is no job yet")
            return found[0].job.id
        found = await self.find(actor, JobQuery(id_part=word.lower()), limit=2)
        if not found:
            raise NotFound(f"there is no job {word}")
        if len(found) > 1:
            raise Invalid("id", f"more than one job begins or ends with {word!r}; give more of it")
        return found[0].job.id

    async def counts(
        self, actor: Actor, query: JobQuery = EVERY_JOB, most: int | None = None
    ) -> Mapping[tuple[State, Priority], int]:
        """Return how many of the jobs that `find` matches are in each state and priority.

        Zeros are left out.

        *most* bounds how many are read: see `JobStore.counts`.
        """
        return await self._store.jobs.counts(await meant(self._store, actor, query), most)
