"""What is asked of a store about schedules and their ledger."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from crawlyard.core.event import Event
from crawlyard.core.job import Job
from crawlyard.core.schedule import CrawlSchedule, Tick


class ScheduleQuery(Struct, frozen=True, kw_only=True):
    """Which schedules; an empty field asks nothing."""

    owner: str | None = None
    template_id: str | None = None
    paused: bool | None = None
    name: str | None = None  # exactly
    text: str = ""  # a part of the name or description, whatever its case
    after: tuple[str, str] | None = None  # (name, id): behind this one, in the order of `find`


class Firing(Struct, frozen=True, kw_only=True):
    """What is decided about one schedule at one moment: all of it is written, or nothing."""

    after: CrawlSchedule  # as it is from now on: its beat is one more than the stored one's
    ticks: tuple[Tick, ...] = ()  # one of the same instant is replaced; it must have no other job
    jobs: tuple[tuple[Job, Event], ...] = ()  # new ones
    moved: tuple[tuple[Job, Event], ...] = ()  # saved as for `JobStore.save`
    events: tuple[Event, ...] = ()


class ScheduleStore(Protocol):
    """The schedules. Names are unique per owner; a deleted one is gone with its ledger.

    One of which something cannot be read comes without that, paused, and has a `flaw`.
    """

    async def add(self, schedule: CrawlSchedule, event: Event) -> None:
        """Remember a new schedule.

        Raises:
            Conflict: its id is taken, or its owner has one of that name.
            NotFound: its template is gone.
        """
        ...

    async def get(self, schedule_id: str) -> CrawlSchedule:
        """Return a schedule.

        Raises:
            NotFound: there is none of that id.
        """
        ...

    async def save(self, schedule: CrawlSchedule, event: Event) -> None:
        """Replace the schedule of version ``version - 1`` and beat ``beat - 1``.

        Raises:
            Conflict: it has been edited or has fired meanwhile, is gone, or the name is taken.
            NotFound: its template is gone.
        """
        ...

    async def find(self, query: ScheduleQuery, limit: int) -> list[CrawlSchedule]:
        """Return the schedules that *query* asks for, by (name, id), at most *limit*."""
        ...

    async def runs(self, schedule_id: str) -> int:
        """Return how many rows the ledger of a schedule has."""
        ...

    async def delete(self, schedule_id: str, version: int, event: Event) -> None:
        """Delete a schedule and its ledger; its jobs stay.

        Raises:
            Conflict: the stored version is another.
        """
        ...


class TickStore(Protocol):
    """When schedules fire, and the ledger of what became of each instant."""

    async def due(self, now: datetime, limit: int) -> list[CrawlSchedule]:
        """Return schedules whose `fire_at` has come, the earliest first, at most *limit*.

        One of which something cannot be read comes without that, and has a `flaw`.
        """
        ...

    async def waiting(self, limit: int) -> list[CrawlSchedule]:
        """Return schedules with a tick that waits for the run before it, and no active job."""
        ...

    async def next_at(self) -> datetime | None:
        """Return the earliest `fire_at` of all schedules, ``None`` if none will fire."""
        ...

    async def active(self, schedule_ids: Collection[str]) -> Mapping[str, Sequence[Job]]:
        """Return the jobs of these schedules that have not ended, the oldest first.

        Jobs of instants that were backfilled are left out: they stand in nobody's way.
        A schedule without any is left out.
        """
        ...

    async def failures(self, schedule_ids: Collection[str], last: int) -> Mapping[str, int]:
        """Return of each of these schedules how many of its *last* jobs failed.

        Those of ticks since its `fresh_beat` count, the latest instants first. A tick whose
        job was refused counts as one that failed; one whose job has not ended, was
        cancelled, or is deleted, is left out, and so is one that was backfilled: what went
        wrong then says nothing about now. A schedule without a failure may be left out.
        """
        ...

    async def fire(self, firings: Sequence[Firing]) -> list[bool]:
        """Write firings in ONE transaction; tell of each whether it was the first to be written.

        A firing is left out whole whose schedule is gone or not at beat ``after.beat - 1``
        any more, one of whose moved jobs has moved on, or one of whose ticks has a row with
        another job: any number of callers fire each instant once.
        """
        ...

    async def ticks(
        self, schedule_id: str, before: datetime | None = None, limit: int = 100
    ) -> list[Tick]:
        """Return ticks due before *before*, the latest first, at most *limit*."""
        ...

    async def ticks_between(
        self, schedule_id: str, since: datetime, until: datetime
    ) -> Mapping[datetime, Tick]:
        """Return the ticks due from *since* up to and without *until*, by their instants."""
        ...
