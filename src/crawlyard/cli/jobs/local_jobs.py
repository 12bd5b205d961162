"""Jobs of a yard that is open in this process."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from crawlyard.core.access.user import Actor
from crawlyard.core.answers.fleet.upkeep import FreedOut
from crawlyard.core.answers.jobs.jobs import ErrorGroupOut, EventOut, JobOut, PageOut, SkippedOut
from crawlyard.core.answers.jobs.pages import StoredPageOut
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.checkpoint import Standing
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.progress import progress_of_standing
from crawlyard.core.jobs.spec_json import Form, JobRequest
from crawlyard.export.base import Format, Record
from crawlyard.export.plan import Plan
from crawlyard.lazy import lazily
from crawlyard.store.queries import JobQuery, PageQuery
from crawlyard.yard import Yard

if TYPE_CHECKING:
    from crawlyard.services.jobs import exporting
else:  # for exports alone
    exporting = lazily("crawlyard.services.jobs.exporting")


class LocalClient:
    """Calls the services of a yard that is open in this process."""

    def __init__(self, yard: Yard, actor: Actor) -> None:
        self._jobs = yard.jobs
        self._requests = yard.services.requests
        self._why = yard.services.why
        self._results = yard.results
        self._actor = actor
        self._clock = yard.clock

    async def get(self, job_id: str) -> JobOut:
        """Return one job."""
        return (await self._out([await self._jobs.get(self._actor, job_id)]))[0]

    async def find(self, query: JobQuery, limit: int) -> list[JobOut]:
        """Return the jobs that *query* asks for, newest first, at most *limit*."""
        return await self._out(await self._jobs.find(self._actor, query, limit))

    async def resolve(self, word: str) -> str:
        """Return the id that *word* means."""
        return await self._jobs.resolve(self._actor, word)

    async def submit(self, form: Form) -> JobOut:
        """Make a job that is due now."""
        return await self._now(await self._requests.submit(self._actor, JobRequest(form=form)))

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

    async def pages(self, job_id: str, query: PageQuery) -> AsyncIterator[PageOut]:
        """Yield page records in the order they were stored."""
        async for stored in self._results.pages(self._actor, job_id, query):
            yield StoredPageOut.stored(job_id, stored)

    def records(self, job_id: str, query: PageQuery, plan: Plan) -> AsyncIterator[Record]:
        """Yield page records in the order they were stored, as *plan* has them."""
        return exporting.records(self._results, self._actor, job_id, query, plan)

    async def export(self, job_id: str, query: PageQuery, form: Format) -> AsyncIterator[bytes]:
        """Yield the pages as one file, in pieces that end anywhere."""
        job = (await self._jobs.get(self._actor, job_id)).job
        async for portion in exporting.exported(self._results, self._actor, job, query, form):
            yield portion

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

    async def _out(self, standings: Sequence[Standing]) -> list[JobOut]:
        waits, now = await self._why.waits(standings), self._clock.now()
        return [
            JobOut.of(one, progress_of_standing(one), now, waits.get(one.job.id, ()))
            for one in standings
        ]
