"""Following a job: waiting for its state to change, and each line of its log once."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from datetime import timedelta
from functools import partial
from typing import TypeVar

from msgspec import Struct

from crawlyard.clock import Clock
from crawlyard.core.access.job_parts import JobPart
from crawlyard.core.access.user import Actor
from crawlyard.core.jobs.job import Standing
from crawlyard.core.jobs.job_log import Level, LogEnd, LogLine
from crawlyard.core.jobs.lifecycle import State
from crawlyard.errors import StoreUnavailable
from crawlyard.services.events.events import LOOK_EVERY as EVENTS_EVERY
from crawlyard.services.jobs.lookup import find_job
from crawlyard.store.crawl.journal import JournalStore
from crawlyard.store.store import Store

LOOK_EVERY = timedelta(milliseconds=200)
"""Interval between checks for new lines."""

PORTION = 100
"""Lines per read."""

_RETRY_EVERY = timedelta(seconds=1)  # while the store is unavailable

_log = logging.getLogger(__name__)

T = TypeVar("T")


class LogPortion(Struct, frozen=True, kw_only=True):
    """The next lines of a log after a cursor, the *n* of a line."""

    lines: Sequence[LogLine]  # oldest first
    next_cursor: int  # *cursor* of the next read
    lost: bool  # some lines after the cursor are no longer kept


async def read_log_lines(
    journal: JournalStore, job_id: str, min_level: Level, cursor: int, end: LogEnd
) -> LogPortion:
    """Return at most `PORTION` lines with an *n* above *cursor*; *end* must be read first.

    From cursor 0, nothing counts as lost, however long the log was.
    """
    begin = max(cursor, end.forgotten)
    lines = await journal.lines(job_id, min_level, begin, PORTION)
    last = lines[-1].n if lines else begin
    # lines left out for their level need not be read again
    is_last = len(lines) < PORTION
    return LogPortion(
        lines=lines,
        next_cursor=max(last, end.n) if is_last else last,
        lost=0 < cursor < end.forgotten,
    )


async def follow_log(
    store: Store,
    clock: Clock,
    actor: Actor,
    job_id: str,
    *,
    least: Level = Level.INFO,
    after: int = 0,
) -> AsyncIterator[LogLine]:
    """Yield the lines of a job's log with an *n* above *after*, then each new line.

    No line is left out or repeated; lines of other processes are seen within `LOOK_EVERY`.
    Ends after the last line of a job that has ended, or once the job is deleted. Retries
    while the store is unavailable. A caller so slow that the next lines are no longer kept
    continues with the oldest line that is.

    Raises:
        NotFound: there is no such job, or the actor may not see its pages.
    """
    job_id = (await find_job(store, actor, job_id, JobPart.PAGES)).job.id
    while True:
        try:
            end = (await store.journal.ends([job_id])).get(job_id)
            if end is None:
                return
            more = after < end.n
            portion = (
                await read_log_lines(store.journal, job_id, least, after, end) if more else None
            )
        except StoreUnavailable as error:
            _log.warning("the store is unavailable, retrying: %s", error)
            await clock.sleep(_RETRY_EVERY)
            continue
        if portion is not None:
            for line in portion.lines:
                yield line
            after = portion.next_cursor
        elif end.over(clock.now()):
            return
        else:
            await clock.sleep(LOOK_EVERY)


LONGEST = timedelta(seconds=60)


async def wait_for(
    store: Store,
    clock: Clock,
    actor: Actor,
    job_id: str,
    states: Collection[State],
    at_most: timedelta,
    is_abandoned: Callable[[], Awaitable[bool]] | None = None,
) -> Standing:
    """Return a job once it has ended or is in one of *states* (empty: any but the current).

    Otherwise as `wait_until`.

    Raises:
        NotFound: no job has that id, the actor may not see it, or it was deleted.
    """
    targets = set(states)

    def is_over(standing: Standing) -> bool:
        state = standing.job.state
        if not targets:
            targets.update(set(State) - {state})
        return state.ended or state in targets

    read = partial(find_job, store, actor, job_id, JobPart.STATE)
    return await wait_until(store, clock, read, is_over, at_most, is_abandoned)


async def wait_until(
    store: Store,
    clock: Clock,
    read: Callable[[], Awaitable[T]],
    is_over: Callable[[T], bool],
    at_most: timedelta,
    is_abandoned: Callable[[], Awaitable[bool]] | None = None,
) -> T:
    """Return what *read* returns once it *is_over*.

    Polls the event log: changes by other processes are seen within `EVENTS_EVERY`. Returns it as
    it is after *at_most* (no more than `LONGEST`), or once *is_abandoned* returns true.
    """
    end = clock.monotonic() + min(at_most, LONGEST).total_seconds()
    last_seq = await store.events.last()
    while not is_over(result := await read()):
        while True:
            rest = timedelta(seconds=end - clock.monotonic())
            if rest <= timedelta(0) or (is_abandoned is not None and await is_abandoned()):
                return result
            await clock.sleep(min(rest, EVENTS_EVERY))
            last = await store.events.last()
            if last != last_seq:
                last_seq = last
                break
    return result
