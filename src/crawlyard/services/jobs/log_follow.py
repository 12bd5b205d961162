"""Following what a job says while it runs: each line once, up to its last."""

import logging
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from msgspec import Struct

from crawlyard.clock import Clock
from crawlyard.core.access.user import Actor
from crawlyard.core.watch import Level, LogEnd, LogLine
from crawlyard.errors import StoreUnavailable
from crawlyard.services.jobs.manager import JobManager
from crawlyard.store.fleet.workers import JournalStore

LOOK_EVERY = timedelta(milliseconds=200)
"""Between two looks at whether there are more lines."""

PORTION = 100
"""Lines that are read at once."""

_RETRY_EVERY = timedelta(seconds=1)  # while the store is away

_log = logging.getLogger(__name__)


class Stretch(Struct, frozen=True, kw_only=True):
    """What a log has behind a place, or the first of it."""

    lines: Sequence[LogLine]  # the oldest first
    place: int  # where to go on
    lost: bool  # some that were behind the place are not kept any more


async def stretch(
    journal: JournalStore, job_id: str, least: Level, place: int, end: LogEnd
) -> Stretch:
    """Return at most `PORTION` lines with an *n* above *place*, *end* being read before.

    Whoever begins at 0 has lost nothing, however long the log was.
    """
    begin = max(place, end.forgotten)
    lines = await journal.lines(job_id, least, begin, PORTION)
    last = lines[-1].n if lines else begin
    # what is left out for its level need not be looked at again
    through = len(lines) < PORTION
    return Stretch(
        lines=lines, place=max(last, end.n) if through else last, lost=0 < place < end.forgotten
    )


class Tailing:
    """Lets actors follow the logs of jobs that they may see."""

    def __init__(self, journal: JournalStore, jobs: JobManager, clock: Clock) -> None:
        self._journal = journal
        self._jobs = jobs
        self._clock = clock

    async def follow(
        self, actor: Actor, job_id: str, *, least: Level = Level.INFO, after: int = 0
    ) -> AsyncIterator[LogLine]:
        """Yield the lines of a job's log with an *n* above *after*, then each new one.

        None is left out and none comes twice; those of other processes are seen within
        `LOOK_EVERY`. It ends with the last line of a job that has ended, or once the job
        is deleted. While the store is away, it waits. Whoever takes so long that lines
        are not kept any more goes on with the first that is.

        Raises:
            NotFound: there is no such job, or it is somebody else's.
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
