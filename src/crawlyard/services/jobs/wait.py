"""Waiting for a job until it has ended or its state has changed."""

from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta

from crawlyard.clock import Clock
from crawlyard.core.access.user import Actor
from crawlyard.core.jobs.checkpoint import Standing
from crawlyard.core.jobs.lifecycle import State
from crawlyard.services.fleet.events import LOOK_EVERY
from crawlyard.services.jobs.manager import JobManager
from crawlyard.store.fleet.events import EventLog

LONGEST = timedelta(seconds=60)


class Waiting:
    """Waits by polling the event log; changes by other processes are seen within `LOOK_EVERY`."""

    def __init__(self, jobs: JobManager, events: EventLog, clock: Clock) -> None:
        self._jobs = jobs
        self._events = events
        self._clock = clock

    async def until(
        self,
        actor: Actor,
        job_id: str,
        states: Collection[State],
        at_most: timedelta,
        gone: Callable[[], Awaitable[bool]] | None = None,
    ) -> Standing:
        """Return a job once it has ended or is in one of *states* (empty: any but the current).

        Returns the job as it is after *at_most* (no more than `LONGEST`), or once *gone* says
        that no one waits any more.

        Raises:
            NotFound: no job has that id, it belongs to another user, or it was deleted.
        """
        end = self._clock.monotonic() + min(at_most, LONGEST).total_seconds()
        seen = await self._events.last()
        standing = await self._jobs.get(actor, job_id)
        wanted = frozenset(states) or frozenset(State) - {standing.job.state}
        while not (standing.job.state.ended or standing.job.state in wanted):
            left = timedelta(seconds=end - self._clock.monotonic())
            if left <= timedelta(0) or (gone is not None and await gone()):
                break
            await self._clock.sleep(min(left, LOOK_EVERY))
            last = await self._events.last()
            if last != seen:
                seen = last
                standing = await self._jobs.get(actor, job_id)
        return standing
