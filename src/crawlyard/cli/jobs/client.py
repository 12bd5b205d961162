"""What the command line asks of a yard, wherever that is."""

from collections.abc import AsyncIterator, Collection, Mapping
from typing import Protocol

from crawlyard.core.answers.fleet.upkeep import FreedOut
from crawlyard.core.answers.jobs.jobs import ErrorGroupOut, EventOut, JobOut, PageOut, SkippedOut
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.spec_json import Form
from crawlyard.export.base import Format, Record
from crawlyard.export.plan import Plan
from crawlyard.store.queries import JobQuery, PageQuery


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

    async def submit(self, form: Form) -> JobOut:
        """Make a job that is due now. Raises `Invalid` if what *form* says cannot be crawled."""
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

    async def delete(self, job_id: str) -> FreedOut | None:
        """Delete an ended or paused job with its pages; return the room that this freed.

        ``None``: it is freed later.
        """
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

    def pages(self, job_id: str, query: PageQuery) -> AsyncIterator[PageOut]:
        """Yield page records in the order they were stored, without bodies."""
        ...

    def records(self, job_id: str, query: PageQuery, plan: Plan) -> AsyncIterator[Record]:
        """Yield page records in the order they were stored, as *plan* has them."""
        ...

    def export(self, job_id: str, query: PageQuery, form: Format) -> AsyncIterator[bytes]:
        """Yield the pages as one file, in pieces that end anywhere.

        Raises:
            Invalid: it cannot be written where the yard is.
        """
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
