"""How things stand in a yard that is asked over HTTP, and why."""

from collections.abc import AsyncIterator, Collection
from contextlib import aclosing
from datetime import datetime, timedelta

from crawlyard.cli.jobs.client import filter_of
from crawlyard.client import AsyncClient
from crawlyard.client.filters import PageFilters
from crawlyard.client.transport import read
from crawlyard.core.answers.fleet.archive import FoundPageOut
from crawlyard.core.answers.fleet.attention import AttentionOut
from crawlyard.core.answers.fleet.health import ReadyOut
from crawlyard.core.answers.fleet.operations import OperationOut
from crawlyard.core.answers.fleet.stats import StatsOut
from crawlyard.core.answers.fleet.watch import LineOut
from crawlyard.core.answers.jobs.exclusions import ExclusionOut
from crawlyard.core.answers.jobs.fate import FateOut
from crawlyard.core.answers.jobs.job_looks import ConfigOut, CountsOut, ShardOut
from crawlyard.core.answers.jobs.jobs import JobOut
from crawlyard.core.answers.jobs.pages import WaitingOut
from crawlyard.core.jobs.filter import FilterKey
from crawlyard.core.jobs.job_log import Level
from crawlyard.core.jobs.lifecycle import State
from crawlyard.store.queries import ArchiveQuery, JobQuery


class HttpWatch:
    """Asks a server; each method is a request or as many as its list has pages."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._jobs = client.jobs

    async def counts(self, query: JobQuery) -> CountsOut:
        """Return how many jobs of *query* there are, by state and by priority."""
        return await self._jobs.counts(q=filter_of(query))

    async def config(self, job_id: str) -> ConfigOut:
        """Return the settings in force, and where each comes from."""
        return await self._jobs.config(job_id)

    async def frontier(self, job_id: str) -> AsyncIterator[WaitingOut]:
        """Yield the URLs that wait, in the order they were found."""
        async with aclosing(self._jobs.frontier(job_id)) as found:
            async for waiting in found:
                yield waiting

    async def shards(self, job_id: str) -> list[ShardOut]:
        """Return the parts that a job is spread over, by number."""
        return [one async for one in self._jobs.shards(job_id)]

    async def log(self, job_id: str, least: Level) -> AsyncIterator[LineOut]:
        """Yield the lines of a job's log so far, oldest first."""
        async with aclosing(self._jobs.log(job_id, level=str(least))) as found:
            async for line in found:
                yield line

    async def follow_log(self, job_id: str, least: Level) -> AsyncIterator[LineOut]:
        """Yield the lines of a job's log, then each new one, up to its last."""
        async with aclosing(self._jobs.follow_log(job_id, level=str(least))) as found:
            async for line in found:
                yield line

    async def why(self, job_id: str, url: str) -> FateOut:
        """Return what became of a URL, or what would."""
        return await self._jobs.why(job_id, url)

    async def exclude(self, job_id: str, pattern: str, *, dry_run: bool) -> ExclusionOut:
        """Let no URL be fetched that *pattern* matches."""
        return await self._jobs.exclude(job_id, pattern, dry_run=dry_run)

    async def wait(self, job_id: str, states: Collection[State], longest: timedelta) -> JobOut:
        """Return a job once it is in one of *states* or has ended, or after *longest*."""
        return await self._jobs.wait(
            job_id, timeout_s=longest.total_seconds(), states=sorted(states)
        )

    async def operations(self, limit: int) -> list[OperationOut]:
        """Return operations, newest first, at most *limit*."""
        return [one async for one in self._client.operations.list(limit=limit)]

    async def operation(self, operation_id: str) -> OperationOut:
        """Return an operation."""
        return await self._client.operations.get(operation_id)

    async def cancel(self, operation_id: str) -> OperationOut:
        """End an operation; what it has done stays done."""
        return await self._client.operations.cancel(operation_id)

    async def stats(self, since: datetime | None) -> StatsOut:
        """Return how much there is, and how much was done since then, or in the last day."""
        return await self._client.stats.get(since=since)

    async def found(
        self, query: ArchiveQuery, text: str, limit: int
    ) -> AsyncIterator[FoundPageOut]:
        """Yield pages with the words of *text*, newest first, at most *limit*; 0: all."""
        listed = self._client.pages.list(text, limit=limit or None, **_filters(query))
        async with aclosing(listed) as found:
            async for page in found:
                yield page

    async def attention(self) -> AttentionOut:
        """Return what needs a person."""
        return await self._client.attention.get()

    async def health(self) -> ReadyOut:
        """Check that the server answers and can work."""
        answer = await self._client.request("GET", "/readyz")
        return read(ReadyOut, answer)


def _filters(query: ArchiveQuery) -> PageFilters:
    """Return *query* as the client takes it."""
    pages = query.pages
    named = {one.key: one.words for one in query.jobs.where}
    return {
        "job": sorted(query.job_ids),
        "template": named.get(FilterKey.TEMPLATE),
        "status": [f"{code}xx" if code < 10 else str(code) for code in sorted(pages.statuses)],
        "kind": sorted(pages.kinds),
        "failed": pages.failed,
        "needs_scripts": pages.needs_scripts,
        "content_type": sorted(pages.content_types),
        "host": sorted(pages.hosts),
        "since": query.since,
        "until": query.until,
    }
