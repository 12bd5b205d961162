"""What the command line asks of a yard, wherever that is."""

import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Protocol

from crawlyard.core.checkpoint import Standing
from crawlyard.core.job import Job
from crawlyard.core.page import Body, ErrorKind
from crawlyard.core.spec import JobSpec
from crawlyard.core.user import Actor
from crawlyard.engine.extract import decoded
from crawlyard.engine.fetch import charset_of
from crawlyard.services.jobs import progress_of_standing
from crawlyard.store.base import JobQuery, PageQuery
from crawlyard.web.wire.jobs import ErrorGroupOut, EventOut, JobOut, PageOut, SkippedOut
from crawlyard.web.wire.upkeep import FreedOut
from crawlyard.yard import Yard


class JobReader(Protocol):
    """Finds jobs. What does not exist for the user is `NotFound`."""

    async def get(self, job_id: str) -> JobOut:
        """Return one job."""
        ...

    async def find(self, query: JobQuery, limit: int) -> list[JobOut]:
        """Return the jobs that *query* asks for, newest first, at most *limit*."""
        ...

    async def resolve(self, word: str) -> str:
        """Return the id that *word* means: a whole id, its beginning or end, or "last".

        Raises:
            Invalid: more than one job is meant.
        """
        ...


class JobChanger(Protocol):
    """Makes and changes jobs, and returns them as they then are.

    Each may raise `NotFound`, `Forbidden`, and `IllegalMove` where the state of the
    job does not allow it.
    """

    async def submit(self, spec: JobSpec) -> JobOut:
        """Make a job that is due now. Raises `Invalid` if *spec* cannot be crawled."""
        ...

    async def pause(self, job_id: str, why: str = "") -> JobOut:
        """Hold a job and keep its frontier."""
        ...

    async def resume(self, job_id: str) -> JobOut:
        """Queue a job again where it stands."""
        ...

    async def cancel(self, job_id: str, why: str = "") -> JobOut:
        """End a job; its pages are kept."""
        ...

    async def edit(self, job_id: str, changes: Mapping[str, object]) -> JobOut:
        """Change fields of the spec; the values are those of `JobSpec`."""
        ...

    async def delete(self, job_id: str) -> FreedOut:
        """Delete an ended or paused job with its pages; return the room that this freed."""
        ...


class JobRetrier(Protocol):
    """Lets jobs try again, and returns them as they then are."""

    async def retry(self, job_id: str) -> JobOut:
        """Make a new job with the spec of an ended one, and return the new one."""
        ...

    async def retry_failed(self, job_id: str, kinds: Collection[ErrorKind]) -> tuple[JobOut, int]:
        """Queue the failed URLs of these kinds (none: all) again; return how many they are."""
        ...

    async def retry_now(self, job_id: str) -> JobOut:
        """End a pending job's wait for its next attempt or its start."""
        ...


class ResultReader(Protocol):
    """Reads what jobs have brought, also while they run."""

    def pages(
        self, job_id: str, query: PageQuery, kept: Collection[Body] = ()
    ) -> AsyncIterator[PageOut]:
        """Yield page records in the order they were stored, each with its bodies of *kept*."""
        ...

    async def errors(self, job_id: str) -> list[ErrorGroupOut]:
        """Return the failed URLs by kind, the most frequent first."""
        ...

    def skipped(self, job_id: str) -> AsyncIterator[SkippedOut]:
        """Yield the URLs that a rule kept out."""
        ...

    async def events(self, job_id: str, after: int = 0) -> list[EventOut]:
        """Return what happened after the event of seq *after*, oldest first, in portions."""
        ...


class Client(JobReader, JobChanger, JobRetrier, ResultReader, Protocol):
    """All of them; each method is one call of the services, or one endpoint of the API."""


class LocalClient:
    """Calls the services of a yard that is open in this process."""

    def __init__(self, yard: Yard, actor: Actor) -> None:
        self._jobs = yard.jobs
        self._results = yard.results
        self._actor = actor
        self._clock = yard.clock

    async def get(self, job_id: str) -> JobOut:
        """Return one job."""
        return self._out(await self._jobs.get(self._actor, job_id))

    async def find(self, query: JobQuery, limit: int) -> list[JobOut]:
        """Return the jobs that *query* asks for, newest first, at most *limit*."""
        return [
            self._out(standing) for standing in await self._jobs.find(self._actor, query, limit)
        ]

    async def resolve(self, word: str) -> str:
        """Return the id that *word* means."""
        return await self._jobs.resolve(self._actor, word)

    async def submit(self, spec: JobSpec) -> JobOut:
        """Make a job that is due now."""
        return await self._now(await self._jobs.submit(self._actor, spec))

    async def pause(self, job_id: str, why: str = "") -> JobOut:
        """Hold a job and keep its frontier."""
        return await self._now(await self._jobs.pause(self._actor, job_id, why))

    async def resume(self, job_id: str) -> JobOut:
        """Queue a job again where it stands."""
        return await self._now(await self._jobs.resume(self._actor, job_id))

    async def cancel(self, job_id: str, why: str = "") -> JobOut:
        """End a job; its pages are kept."""
        return await self._now(await self._jobs.cancel(self._actor, job_id, why))

    async def retry(self, job_id: str) -> JobOut:
        """Make a new job with the spec of an ended one, and return the new one."""
        return await self._now(await self._jobs.retry(self._actor, job_id))

    async def retry_failed(self, job_id: str, kinds: Collection[ErrorKind]) -> tuple[JobOut, int]:
        """Queue the failed URLs of these kinds (none: all) again; return how many they are."""
        job, count = await self._jobs.retry_failed(self._actor, job_id, kinds)
        return await self._now(job), count

    async def retry_now(self, job_id: str) -> JobOut:
        """End a pending job's wait."""
        return await self._now(await self._jobs.retry_now(self._actor, job_id))

    async def edit(self, job_id: str, changes: Mapping[str, object]) -> JobOut:
        """Change fields of the spec."""
        return await self._now(await self._jobs.edit(self._actor, job_id, changes))

    async def delete(self, job_id: str) -> FreedOut:
        """Delete an ended or paused job with its pages, and free the space of them."""
        await self._jobs.delete(self._actor, job_id)
        return FreedOut.of(await self._jobs.purge(self._actor))

    async def pages(
        self, job_id: str, query: PageQuery, kept: Collection[Body] = ()
    ) -> AsyncIterator[PageOut]:
        """Yield page records in the order they were stored."""
        if not kept:
            async for stored in self._results.pages(self._actor, job_id, query):
                yield PageOut.of(stored.page)
            return
        records = self._results.records(self._actor, job_id, query, kept)
        async for stored, bodies in records:
            yield PageOut.of(stored.page, **_readable(bodies))

    async def errors(self, job_id: str) -> list[ErrorGroupOut]:
        """Return the failed URLs by kind, the most frequent first."""
        return [ErrorGroupOut.of(g) for g in await self._results.errors(self._actor, job_id)]

    async def skipped(self, job_id: str) -> AsyncIterator[SkippedOut]:
        """Yield the URLs that a rule kept out."""
        async for url in self._results.skipped(self._actor, job_id):
            yield SkippedOut.of(url)

    async def events(self, job_id: str, after: int = 0) -> list[EventOut]:
        """Return what happened after the event of seq *after*, oldest first, in portions."""
        return [EventOut.of(e) for e in await self._results.events(self._actor, job_id, after)]

    async def _now(self, job: Job) -> JobOut:
        """Return a job that was just changed with how far it has come."""
        return await self.get(job.id)

    def _out(self, standing: Standing) -> JobOut:
        return JobOut.of(standing, progress_of_standing(standing), self._clock.now())


def _readable(bodies: Mapping[Body, bytes]) -> dict[str, object]:
    """Return what is kept of a page as JSON values."""
    readable: dict[str, object] = {}
    if Body.TEXT in bodies:
        readable["text"] = bodies[Body.TEXT].decode(errors="replace")
    if Body.HEADERS in bodies:
        readable["headers"] = json.loads(bodies[Body.HEADERS])
    if Body.HTML in bodies:
        headers: Sequence[tuple[str, str]] = json.loads(bodies.get(Body.HEADERS, b"[]"))
        types = (value for name, value in headers if name.lower() == "content-type")
        readable["html"] = decoded(bodies[Body.HTML], charset_of(next(types, "")))
    return readable
