"""What the command line asks of a yard about schedules, wherever that is."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Protocol

from crawlyard.core.answers.schedules.schedules import (
    AheadOut,
    BackfillOut,
    CalendarOut,
    ScheduleOut,
    TickOut,
)
from crawlyard.core.jobs.spec_json import Form
from crawlyard.core.schedules.records import ScheduleDraft
from crawlyard.store.queries import ScheduleQuery


class ScheduleReader(Protocol):
    """Finds schedules. What does not exist for the user is `NotFound`.

    A *ref* is an id, the name of one of the user's own, or OWNER/NAME.
    """

    async def get(self, ref: str) -> ScheduleOut:
        """Return one schedule."""
        ...

    async def find(self, query: ScheduleQuery, limit: int) -> list[ScheduleOut]:
        """Return the schedules that *query* asks for, by (name, id), at most *limit*."""
        ...

    async def next_runs(self, ref: str, count: int) -> AheadOut:
        """Return the instants from now on at which it will be due, at most *count*."""
        ...

    async def runs(self, ref: str, before: datetime | None, limit: int) -> list[TickOut]:
        """Return what became of the instants before one, the latest first, at most *limit*."""
        ...

    async def calendar(self, since: datetime | None, until: datetime | None) -> CalendarOut:
        """Return when all schedules are due from *since* up to and without *until*.

        By default from now on, and for a week.
        """
        ...


class ScheduleChanger(Protocol):
    """Makes and changes schedules, and returns them as they then are.

    Each may raise `NotFound`, `Forbidden`, `Invalid`, and `Conflict` where a name is
    taken or somebody else was faster.
    """

    async def create(self, draft: ScheduleDraft) -> ScheduleOut:
        """Remember a new schedule."""
        ...

    async def update(
        self,
        ref: str,
        changes: Mapping[str, object],
        params: Mapping[str, object],
        overrides: Form,
        unset: Collection[str] = (),
    ) -> ScheduleOut:
        """Change fields of a schedule; *params* and *overrides* are set beside what it has.

        *unset*: paths of what is to be taken away.
        """
        ...

    async def toggle(self, ref: str, *, enabled: bool, reason: str = "") -> ScheduleOut:
        """Pause or resume it."""
        ...

    async def run_now(self, ref: str) -> str:
        """Submit a job of it at once; return its id. `IllegalMove`: another has not ended."""
        ...

    async def backfill(
        self, ref: str, since: datetime, until: datetime | None, *, dry_run: bool
    ) -> BackfillOut:
        """Make up for the instants of a range that did not run, or say which they are.

        Without *until*: up to now.
        """
        ...

    async def delete(self, ref: str) -> None:
        """Delete it with its ledger; its jobs stay."""
        ...


class ScheduleClient(ScheduleReader, ScheduleChanger, Protocol):
    """All of them; each method is one call of the services, or one endpoint of the API."""
