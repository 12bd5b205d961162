"""What is asked of a store about what is there to be looked at."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from crawlyard.core.event import Event
from crawlyard.core.page import KnownURL, TargetState
from crawlyard.core.watch import Course, Level, LogEnd, LogLine, Wish, WorkerReport


class WorkerStore(Protocol):
    """What workers say of themselves, and what operators want of them."""

    async def beat(self, report: WorkerReport) -> Wish:
        """Keep the report of a worker in place of its last one; return what is wanted of it.

        What *report* itself says of that is not kept.
        """
        ...

    async def wish(self, worker_id: str) -> Wish:
        """Return what is wanted of a worker; of one that has no report, nothing."""
        ...

    async def ask(self, worker_id: str, wish: Wish, was: Wish, event: Event) -> None:
        """Want *wish* of a worker of whom *was* has been wanted, and add the event.

        Raises:
            Conflict: something else is wanted of it by now, or it has no report any more.
        """
        ...

    async def find(self) -> list[WorkerReport]:
        """Return all reports, the worker that began first in front."""
        ...

    async def forget(self, worker_id: str) -> bool:
        """Delete a report; tell whether there was one."""
        ...

    async def sweep(self, before: datetime) -> int:
        """Delete the reports of workers that have said nothing since *before*; return how many."""
        ...


class JournalStore(Protocol):
    """The log and the course of each job, by its id; `FrontierStore.record` writes them."""

    async def lines(
        self, job_id: str, least: Level, after: int, limit: int, text: str = ""
    ) -> list[LogLine]:
        """Return lines with an *n* above *after*, oldest first, at most *limit*."""
        ...

    async def last(self, job_id: str) -> int:
        """Return the *n* of the newest line, 0 when there is none."""
        ...

    async def ends(self, job_ids: Collection[str]) -> Mapping[str, LogEnd]:
        """Return where the logs of jobs end, by their ids, without those that are not there.

        Number and state of each are of one moment.
        """
        ...

    async def course(self, job_id: str) -> Course:
        """Return how a job went, empty if it has not begun."""
        ...

    async def known(self, job_id: str, fp: int) -> KnownURL | None:
        """Return what became of the URL of this hash, ``None`` if the job never found it.

        By its `engine.urls.fingerprint`, not by its text, for which there is no index.
        """
        ...

    async def upcoming(
        self, job_id: str, after: int, limit: int, states: Sequence[TargetState]
    ) -> list[KnownURL]:
        """Return URLs in *states* with a key above *after*, in their order, at most *limit*."""
        ...

    async def waits(self, now: datetime) -> timedelta:
        """Return how long the job that is due longest has waited, nothing if none is."""
        ...
