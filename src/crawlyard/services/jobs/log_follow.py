"""Log following: yields each line of a job's log once, until the job's last line."""

import logging
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from msgspec import Struct

from crawlyard.clock import Clock
from crawlyard.core.access.user import Actor
from crawlyard.core.jobs.job_log import Level, LogEnd, LogLine
from crawlyard.errors import StoreUnavailable
from crawlyard.services.jobs.manager import JobManager
from crawlyard.store.fleet.workers import JournalStore

LOOK_EVERY = timedelta(milliseconds=200)
"""How often to check for new lines."""

PORTION = 100
"""Lines per read."""

_RETRY_EVERY = timedelta(seconds=1)  # while the store is unavailable

_log = logging.getLogger(__name__)


class Stretch(Struct, frozen=True, kw_only=True):
    """The next lines of a log after some place."""

    lines: Sequence[LogLine]  # oldest first
    place: int  # where to continue
    lost: bool  # some lines after the old place are no longer kept


async def stretch(
    journal: JournalStore, job_id: str, least: Level, place: int, end: LogEnd
) -> Stretch:
    """Return at most `PORTION` lines with an *n* above *place*; *end* must be read before.

    From place 0, nothing counts as lost, however long the log was.
    """
    begin = max(place, end.forgotten)
    lines = await journal.lines(job_id, least, begin, PORTION)
    last = lines[-1].n if lines else begin
    # lines left out for their level need not be read again
    through = len(lines) < PORTION
    return Stretch(
        lines=lines, place=max(last, end.n) if through else last, lost=0 < place < end.forgotten
    )


class Tailing:
    """Follows the logs of jobs that the actor may see."""

    def __init__(self, journal: JournalStore, jobs: JobManager, clock: Clock) -> None:
        self._journal = journal
        self._jobs = jobs
        self._clock = clock

    async def follow(
        self, actor: Actor, job_id: str, *, least: Level = Level.INFO, after: int = 0
    ) -> AsyncIterator[LogLine]:
        """Yield the lines of a job's log with an *n* above *after*, then each new line.

        No line is left out or repeated; lines of other processes are seen within `LOOK_EVERY`.
        Ends after the last line of a job that has ended, or once the job is deleted. Retries
        while the store is unavailable. A caller so slow that the next lines are no longer kept
        continues with the oldest line that is.

        Raises:
            NotFound: there is no such job, or it belongs to another user.
        """
        job_id = (await self._jobs.get(actor, job_id)).job.id
        while True:
            try:
                end = (await self._journal.ends([job_id])).get(job_id)
                if end is None:
                    return
                more = after < end.n
                found = await stretch(self._journal, job_id, least, after, end) if more else None
            except StoreUnavailable as error:
                _log.warning("the store is away, trying again: %s", error)
                await self._clock.sleep(_RETRY_EVERY)
                continue
            if found is not None:
                for line in found.lines:
                    yield line
                after = found.place
            elif end.over(self._clock.now()):
                return
            else:
                await self._clock.sleep(LOOK_EVERY)
