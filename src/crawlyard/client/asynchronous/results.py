"""What jobs have brought: pages, errors, and the URLs that were skipped or still wait."""

from collections.abc import AsyncGenerator, Iterable

from crawlyard.client.asynchronous.calls import Calls
from crawlyard.client.asynchronous.reading import lines
from crawlyard.client.records import record
from crawlyard.client.transport import part
from crawlyard.core.answers.jobs.jobs import PageOut, SkippedOut
from crawlyard.core.answers.jobs.pages import ErrorsOut, SkippedGroupOut, StoredPageOut, WaitingOut

Words = str | Iterable[str] | None
"""One value, or several of which any will do."""


class Results:
    """Reads what jobs have brought, also while they run. Memory is bounded by one page."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def pages(
        self,
        job_id: str,
        *,
        status: Words = None,
        kind: Words = None,
        failed: bool | None = None,
        needs_scripts: bool | None = None,
        content_type: Words = None,
        depth: int | None = None,
        host: Words = None,
        q: str = "",
        limit: int | None = None,
    ) -> AsyncGenerator[StoredPageOut]:
        """Yield page records in the order they came, without text and html.

        *status* is one of HTTP or a class (``4xx``), *kind* of an error; *q* is a part of
        URL or title.
        """
        asked = {
            "status": status,
            "kind": kind,
            "failed": failed,
            "needs_scripts": needs_scripts,
            "content_type": content_type,
            "depth": depth,
            "host": host,
            "q": q or None,
        }
        return self._calls.every(StoredPageOut, f"{_job(job_id)}/pages", asked, limit)

    async def page(self, job_id: str, page_id: int) -> StoredPageOut:
        """Return one page record, with the headers that it was answered with."""
        return await self._calls.one(StoredPageOut, "GET", f"{_job(job_id)}/pages/{page_id}")

    async def part(self, job_id: str, page_id: int, name: str) -> str:
        """Return what is kept of a page: its ``text``, ``html`` or ``headers``."""
        path = f"{_job(job_id)}/pages/{page_id}"
        return (await self._calls.send("GET", path, params={"part": name})).text

    async def errors(self, job_id: str) -> ErrorsOut:
        """Return the failed URLs by kinds, the most frequent first."""
        return await self._calls.one(ErrorsOut, "GET", f"{_job(job_id)}/errors")

    def skipped(
        self, job_id: str, *, rule: Words = None, limit: int | None = None
    ) -> AsyncGenerator[SkippedOut]:
        """Yield the URLs that a rule kept out, in the order they were found."""
        return self._calls.every(SkippedOut, f"{_job(job_id)}/skipped", {"rule": rule}, limit)

    def skipped_by(self, job_id: str) -> AsyncGenerator[SkippedGroupOut]:
        """Yield how many URLs rules of each kind kept out, the most frequent first."""
        return self._calls.whole(SkippedGroupOut, f"{_job(job_id)}/skipped/rules")

    def frontier(self, job_id: str, *, limit: int | None = None) -> AsyncGenerator[WaitingOut]:
        """Yield the URLs that wait to be fetched, in the order they were found."""
        return self._calls.every(WaitingOut, f"{_job(job_id)}/frontier", limit=limit)

    async def export(
        self,
        job_id: str,
        *,
        format: str = "jsonl",  # noqa: A002 - the name of the parameter
        failed: bool | None = None,
        kind: Words = None,
        q: str = "",
    ) -> AsyncGenerator[bytes]:
        """Yield the pages of a job as one file, in pieces that end anywhere.

        *format* is jsonl, csv, parquet or warc.

        Raises:
            Invalid: the server cannot write it, or the job does not keep what it needs.
            Unavailable: it broke off; what was yielded is not all.
        """
        asked = {"format": format, "failed": failed, "kind": kind, "q": q or None}
        async with self._calls.stream(f"{_job(job_id)}/export", params=asked) as answer:
            async for chunk in answer.aiter_bytes():
                yield chunk

    async def records(
        self, job_id: str, *, failed: bool | None = None, kind: Words = None, q: str = ""
    ) -> AsyncGenerator[PageOut]:
        """Yield page records with all that is kept of them, text and html too.

        Raises:
            Unavailable: it broke off; what was yielded is not all.
        """
        asked = {"format": "jsonl", "failed": failed, "kind": kind, "q": q or None}
        async with self._calls.stream(f"{_job(job_id)}/export", params=asked) as answer:
            async for line in lines(answer):
                yield record(line, answer)


def _job(job_id: str) -> str:
    return f"jobs/{part(job_id)}"
