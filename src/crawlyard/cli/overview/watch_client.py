"""What the command line asks of a yard about how things stand, and why."""

from collections.abc import AsyncIterator, Collection
from datetime import datetime, timedelta
from typing import Protocol

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
from crawlyard.core.jobs.job_log import Level
from crawlyard.core.jobs.lifecycle import State
from crawlyard.store.queries import ArchiveQuery, JobQuery


class JobLooker(Protocol):
    """Looks at jobs closely. What does not exist for the user is `NotFound`."""

    async def counts(self, query: JobQuery) -> CountsOut:
        """Return how many jobs of *query* there are, by state and by priority."""
        ...

    async def config(self, job_id: str) -> ConfigOut:
        """Return the settings in force, and where each comes from."""
        ...

    def frontier(self, job_id: str) -> AsyncIterator[WaitingOut]:
        """Yield the URLs that wait, in the order they were found."""
        ...

    def log(self, job_id: str, least: Level) -> AsyncIterator[LineOut]:
        """Yield the lines of a job's log so far, oldest first."""
        ...

    def follow_log(self, job_id: str, least: Level) -> AsyncIterator[LineOut]:
        """Yield the lines of a job's log, then each new one, up to its last."""
        ...

    async def why(self, job_id: str, url: str) -> FateOut:
        """Return what became of a URL, or what would."""
        ...

    async def exclude(self, job_id: str, pattern: str, *, dry_run: bool) -> ExclusionOut:
        """Let no URL be fetched that *pattern* matches."""
        ...

    async def wait(self, job_id: str, states: Collection[State], longest: timedelta) -> JobOut:
        """Return a job once it is in one of *states* or has ended, or after *longest*."""
        ...


class ShardLooker(Protocol):
    """Looks at the parts of a job that is spread."""

    async def shards(self, job_id: str) -> list[ShardOut]:
        """Return the parts that a job is spread over, by number."""
        ...


class YardWatcher(Protocol):
    """Looks at operations, figures and health."""

    async def operations(self, limit: int) -> list[OperationOut]:
        """Return operations, newest first, at most *limit*."""
        ...

    async def operation(self, operation_id: str) -> OperationOut:
        """Return an operation."""
        ...

    async def cancel(self, operation_id: str) -> OperationOut:
        """End an operation; what it has done stays done."""
        ...

    async def stats(self, since: datetime | None) -> StatsOut:
        """Return how much there is, and how much was done since then, or in the last day."""
        ...

    async def health(self) -> ReadyOut:
        """Check that the yard can work. Raises `Unavailable` if it cannot."""
        ...


class YardOverseer(Protocol):
    """Looks over all that there is."""

    def found(self, query: ArchiveQuery, text: str, limit: int) -> AsyncIterator[FoundPageOut]:
        """Yield pages with the words of *text*, newest first, at most *limit*; 0: all."""
        ...

    async def attention(self) -> AttentionOut:
        """Return what needs a person."""
        ...


class WatchClient(JobLooker, ShardLooker, YardWatcher, YardOverseer, Protocol):
    """All of them; each method is one call of the services, or one endpoint of the API."""
