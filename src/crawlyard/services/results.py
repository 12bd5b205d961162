"""What a job has brought: its pages, errors, skipped URLs and events, read by its owner."""

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import replace

from crawlyard.core.event import Event
from crawlyard.core.page import Body, ErrorGroup, SkippedURL, StoredPage
from crawlyard.core.user import Actor
from crawlyard.errors import NotFound
from crawlyard.store.base import EventQuery, PageQuery, Store

_CHUNK = 500


class Results:
    """Reads what was stored, also while the job runs: what a checkpoint has written is there."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def pages(
        self, actor: Actor, job_id: str, query: PageQuery | None = None
    ) -> AsyncIterator[StoredPage]:
        """Yield page records in the order they were stored.

        Raises:
            NotFound: there is no such job, or it is somebody else's.
        """
        await self._may_see(actor, job_id)
        asked = query or PageQuery()
        while chunk := await self._store.pages.pages(job_id, asked, _CHUNK):
            for stored in chunk:
                yield stored
            asked = replace(asked, after=chunk[-1].id)

    async def records(
        self, actor: Actor, job_id: str, query: PageQuery, kinds: Collection[Body]
    ) -> AsyncIterator[tuple[StoredPage, Mapping[Body, bytes]]]:
        """Yield page records as `pages` does, each with what is kept of these *kinds*.

        Raises:
            NotFound: there is no such job, or it is somebody else's.
        """
        await self._may_see(actor, job_id)
        asked = query
        while chunk := await self._store.pages.pages(job_id, asked, _CHUNK):
            bodies = await self._store.pages.bodies([s.id for s in chunk], kinds)
            for stored in chunk:
                own = {kind: bodies[key] for kind in kinds if (key := (stored.id, kind)) in bodies}
                yield stored, own
            asked = replace(asked, after=chunk[-1].id)

    async def errors(self, actor: Actor, job_id: str) -> list[ErrorGroup]:
        """Return the failed URLs grouped by kind, the most frequent first.

        Raises:
            NotFound: there is no such job, or it is somebody else's.
        """
        await self._may_see(actor, job_id)
        return await self._store.pages.errors(job_id)

    async def skipped(self, actor: Actor, job_id: str) -> AsyncIterator[SkippedURL]:
        """Yield the URLs that a rule kept out, in the order they were found.

        Raises:
            NotFound: there is no such job, or it is somebody else's.
        """
        await self._may_see(actor, job_id)
        after = 0
        while chunk := await self._store.pages.skipped(job_id, after, _CHUNK):
            for after, url in chunk:  # noqa: B007 - the last key is where the next chunk begins
                yield url

    async def events(
        self, actor: Actor, job_id: str, after: int = 0, limit: int = 1000
    ) -> list[Event]:
        """Return what has happened to a job with a seq above *after*, oldest first.

        Raises:
            NotFound: there is no such job, or it is somebody else's.
        """
        await self._may_see(actor, job_id)
        return await self._store.events.events(EventQuery(subject=job_id), after, limit)

    async def _may_see(self, actor: Actor, job_id: str) -> None:
        standing = await self._store.jobs.get(job_id)
        if not actor.may_see(standing.job.owner):
            raise NotFound(f"there is no job {job_id}")
