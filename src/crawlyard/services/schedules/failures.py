"""Failure limit: pauses schedules whose jobs fail too often in a row."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress

from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.event import EventName
from crawlyard.core.quantity import counted
from crawlyard.core.schedules.schedule import CrawlSchedule
from crawlyard.errors import Conflict
from crawlyard.services.schedules.events import BY, told
from crawlyard.store.store import Store


class Failures:
    """Pauses a schedule once its last `pause_after` jobs have all failed."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def passed(self, schedules: Sequence[CrawlSchedule]) -> list[CrawlSchedule]:
        """Pause those of *schedules* that fail too often; return the others."""
        failing = await self._failing(schedules)
        for schedule in schedules:
            if schedule.id in failing:
                # it changed concurrently: it is no longer due, or is checked again
                with suppress(Conflict):
                    await self._pause(schedule)
        return [schedule for schedule in schedules if schedule.id not in failing]

    async def pause_if_failing(self, schedule: CrawlSchedule) -> bool:
        """Pause a schedule if its last jobs all failed; return whether it was paused.

        Raises:
            Conflict: it changed concurrently.
        """
        failing = await self._failing([schedule])
        if failing:
            await self._pause(schedule)
        return bool(failing)

    async def _failing(self, schedules: Sequence[CrawlSchedule]) -> set[str]:
        """Return the ids of the schedules to pause; one query per distinct `pause_after`."""
        asked: defaultdict[int, list[str]] = defaultdict(list)
        for schedule in schedules:
            if schedule.pause_after is not None and schedule.paused_at is None:
                asked[schedule.pause_after].append(schedule.id)
        failing: set[str] = set()
        for most, ids in asked.items():
            found = await self._store.ticks.failures(ids, most)
            failing |= {schedule_id for schedule_id, failures in found.items() if failures >= most}
        return failing

    async def _pause(self, schedule: CrawlSchedule) -> None:
        now = self._clock.now()
        why = counted(schedule.pause_after or 0, "run has failed", "runs in a row have failed")
        paused = replace(
            schedule,
            paused_at=self._clock.wall(),
            paused_by=BY,
            pause_reason=why,
            version=schedule.version + 1,
            beat=schedule.beat + 1,
            updated_at=now,
        )
        event = told(paused, EventName.SCHEDULE_PAUSED, now, BY, reason=why)
        await self._store.schedules.save(paused, event)
