"""How things stand in a yard that is open in this process, and why."""

from collections.abc import AsyncIterator, Collection
from datetime import datetime, timedelta

from msgspec.structs import replace

from crawlyard.core.access.user import PERMITS_OF, Actor
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
from crawlyard.core.crawl.page_search import words_of
from crawlyard.core.jobs.job_log import Level
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.progress import progress_of_standing
from crawlyard.services.fleet.overview import Overview
from crawlyard.services.fleet.statistics import Statistics
from crawlyard.services.fleet.status import Watching
from crawlyard.services.jobs.effective_config import Configs
from crawlyard.services.jobs.exclusions import Exclusions
from crawlyard.services.jobs.log_follow import Tailing
from crawlyard.services.jobs.page_search import Archive
from crawlyard.services.jobs.wait import Waiting
from crawlyard.services.jobs.why import Why
from crawlyard.services.worker.disk import DataDisk
from crawlyard.store.queries import ArchiveQuery, JobQuery
from crawlyard.web.readiness import ready
from crawlyard.yard import Yard

_PORTION = 500
_ALL = 2**31


class LocalWatch:
    """Calls the services of a yard that is open in this process."""

    def __init__(self, yard: Yard, actor: Actor) -> None:
        self._yard = yard
        self._actor = actor
        self._watching = Watching(yard.store, yard.jobs, yard.clock)
        room = DataDisk(yard.settings).room
        self._overview = Overview(yard.store, yard.clock, self._watching, room)

    async def counts(self, query: JobQuery) -> CountsOut:
        """Return how many jobs of *query* there are, by state and by priority."""
        most = query.counted_to
        return CountsOut.of(await self._yard.jobs.counts(self._actor, query, most), most)

    async def config(self, job_id: str) -> ConfigOut:
        """Return the settings in force, and where each comes from."""
        yard = self._yard
        configs = Configs(yard.jobs, yard.templates, yard.site_settings, yard.store.events)
        return ConfigOut.of(await configs.of(self._actor, job_id))

    async def frontier(self, job_id: str) -> AsyncIterator[WaitingOut]:
        """Yield the URLs that wait, in the order they were found."""
        after = 0
        while found := await self._yard.results.upcoming(self._actor, job_id, after, _PORTION):
            for known in found:
                yield WaitingOut.of(known)
            after = found[-1].key

    async def shards(self, job_id: str) -> list[ShardOut]:
        """Return the parts that a job is spread over, by number."""
        found = await self._yard.results.shards(self._actor, job_id)
        return [ShardOut.of(number, shard) for number, shard in found.items()]

    async def log(self, job_id: str, least: Level) -> AsyncIterator[LineOut]:
        """Yield the lines of a job's log so far, oldest first."""
        after = 0
        while found := await self._watching.lines(
            self._actor, job_id, least=least, after=after, limit=_PORTION
        ):
            for line in found:
                yield LineOut.of(line)
            after = found[-1].n

    async def follow_log(self, job_id: str, least: Level) -> AsyncIterator[LineOut]:
        """Yield the lines of a job's log, then each new one, up to its last."""
        yard = self._yard
        tailing = Tailing(yard.store.journal, yard.jobs, yard.clock)
        async for line in tailing.follow(self._actor, job_id, least=least):
            yield LineOut.of(line)

    async def why(self, job_id: str, url: str) -> FateOut:
        """Return what became of a URL, or what would."""
        why = Why(self._yard.store, self._yard.jobs, self._yard.clock)
        return FateOut.of(await why.url(self._actor, job_id, url))

    async def exclude(self, job_id: str, pattern: str, *, dry_run: bool) -> ExclusionOut:
        """Let no URL be fetched that *pattern* matches."""
        exclusions = Exclusions(self._yard.store, self._yard.jobs)
        added = await exclusions.add(self._actor, job_id, pattern, dry_run=dry_run)
        return ExclusionOut.of(added, dry_run=dry_run)

    async def wait(self, job_id: str, states: Collection[State], longest: timedelta) -> JobOut:
        """Return a job once it is in one of *states* or has ended, or after *longest*."""
        yard = self._yard
        waiting = Waiting(yard.jobs, yard.store.events, yard.clock)
        standing = await waiting.until(self._actor, job_id, frozenset(states), longest, _listens)
        return JobOut.of(standing, progress_of_standing(standing), yard.clock.now())

    async def operations(self, limit: int) -> list[OperationOut]:
        """Return operations, newest first, at most *limit*."""
        found = await self._yard.operations.list(self._actor, before=None, limit=limit)
        return [OperationOut.of(operation) for operation in found]

    async def operation(self, operation_id: str) -> OperationOut:
        """Return an operation."""
        return OperationOut.of(await self._yard.operations.get(self._actor, operation_id))

    async def cancel(self, operation_id: str) -> OperationOut:
        """End an operation; what it has done stays done."""
        return OperationOut.of(await self._yard.operations.cancel(self._actor, operation_id))

    async def stats(self, since: datetime | None) -> StatsOut:
        """Return how much there is, and how much was done since then, or in the last day."""
        figures = await Statistics(self._yard.store, self._yard.clock).figures(
            self._actor, since=since
        )
        permits = PERMITS_OF[self._actor.role]
        return StatsOut.of(figures, await self._overview.moment(self._actor, permits))

    async def found(
        self, query: ArchiveQuery, text: str, limit: int
    ) -> AsyncIterator[FoundPageOut]:
        """Yield pages with the words of *text*, newest first, at most *limit*; 0: all."""
        archive = Archive(self._yard.store, self._yard.clock)
        words, left = words_of(text), limit or _ALL
        while left:
            found = await archive.search(self._actor, query, min(left, _PORTION), words)
            for page in found.pages:
                yield FoundPageOut.found(page)
            if found.further is None:
                return
            left -= len(found.pages)
            query = replace(query, before=found.further)

    async def attention(self) -> AttentionOut:
        """Return what needs a person."""
        permits = PERMITS_OF[self._actor.role]
        return AttentionOut.of(await self._overview.attention(self._actor, permits))

    async def health(self) -> ReadyOut:
        """Check that the store answers, and has the tables that it must have."""
        await self._yard.store.check()
        return ready(await self._yard.bus.check())


async def _listens() -> bool:
    return False  # who waits here is not gone
