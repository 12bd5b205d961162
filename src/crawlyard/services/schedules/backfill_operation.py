"""Backfills that are too long for one response, run as operations."""

from datetime import datetime

from crawlyard.clock import Clock
from crawlyard.core.access.user import Actor
from crawlyard.core.operation import Operation, OperationKind
from crawlyard.core.time_range import check_instant
from crawlyard.errors import Forbidden, Invalid, check_version
from crawlyard.services.jobs.operations import Operations
from crawlyard.services.schedules.scheduler import Scheduler

AT_ONCE = 200
"""The most instants that are backfilled within a request; more start an operation."""

MOST_INSTANTS = 10_000
"""The most instants of one operation."""


class BackfillOperations:
    """Starts operations that backfill the missed instants of schedules."""

    def __init__(self, scheduler: Scheduler, operations: Operations, clock: Clock) -> None:
        self._scheduler = scheduler
        self._operations = operations
        self._clock = clock

    async def start(
        self,
        actor: Actor,
        schedule_id: str,
        since: datetime,
        until: datetime,
        *,
        version: int | None = None,
    ) -> Operation | None:
        """Start an operation for a range with many instants.

        Return ``None`` if the range has at most `AT_ONCE` instants or is not valid: call
        `Scheduler.backfill`, which does the work or reports the error. If *version* is
        given, the operation fails once the schedule is no longer at it.

        Raises:
            NotFound, Forbidden, Stale: as the names say.
            Invalid: the range has more than `MOST_INSTANTS` instants, or is outside of the
                supported years.
        """
        schedule = await self._scheduler.get(actor, schedule_id)
        if not actor.may_change(schedule.owner):
            raise Forbidden(f"{actor.id} may look at schedule {schedule.name}, not change it")
        check_version(f"schedule {schedule.name}", schedule.version, version)
        check_instant("since", since)
        check_instant("until", until)
        if not since < until <= self._clock.wall():
            return None  # `Scheduler.backfill` reports what is wrong
        most = MOST_INSTANTS + 1
        due = await self._scheduler.due_between(actor, schedule_id, since, until, most)
        if len(due) <= AT_ONCE:
            return None
        if len(due) > MOST_INSTANTS:
            raise Invalid("since", f"expected at most {MOST_INSTANTS:,} instants; narrow it")
        request: dict[str, object] = {
            "schedule_id": schedule_id,
            "since": since.isoformat(),
            "until": until.isoformat(),
        }
        if version is not None:
            request["version"] = version
        return await self._operations.start(actor, OperationKind.BACKFILL, request, len(due))
