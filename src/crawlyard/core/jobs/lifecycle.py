"""Job lifecycle: states, moves and reasons in one table; limits of a pause."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum, auto

from crawlyard.errors import IllegalMove


class State(StrEnum):
    """States of a job; `LIFECYCLE` has the moves between them."""

    PENDING = auto()  # waits for a worker, or for its start time
    RUNNING = auto()  # leased to a worker, or to several if it is spread
    PAUSED = auto()  # paused by a user or by Crawlyard; its queue is kept
    COMPLETED = auto()  # nothing left to fetch, or a limit was reached
    FAILED = auto()  # gave up; the reason says why
    CANCELLED = auto()  # stopped before it finished, by a user or by Crawlyard

    @property
    def ended(self) -> bool:
        """True if the job stays in this state until a user acts."""
        return self in ENDED


ENDED = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})


class Move(StrEnum):
    """Moves between states."""

    CLAIM = auto()  # a worker takes the job
    COMPLETE = auto()  # its worker has finished the crawl
    FAIL = auto()  # its worker gives up
    REQUEUE = auto()  # queued again: failed attempt, lost or stopped worker, or preempted slot
    PAUSE = auto()  # paused: by a user, or because the disk is full or a grant is missing
    RESUME = auto()  # a user queues it to continue
    CANCEL = auto()  # ended by a user, by its schedule, or after a long pause
    RETRY_FAILED = auto()  # its failed URLs are queued again, in the same job
    RETRY_NOW = auto()  # its wait for the start time or the next attempt ends now


LIFECYCLE: Mapping[State, Mapping[Move, State]] = {
    State.PENDING: {
        Move.CLAIM: State.RUNNING,
        Move.PAUSE: State.PAUSED,
        Move.CANCEL: State.CANCELLED,
        Move.RETRY_NOW: State.PENDING,
    },
    State.RUNNING: {
        Move.COMPLETE: State.COMPLETED,
        Move.FAIL: State.FAILED,
        Move.REQUEUE: State.PENDING,
        Move.PAUSE: State.PAUSED,
        Move.CANCEL: State.CANCELLED,
    },
    State.PAUSED: {Move.RESUME: State.PENDING, Move.CANCEL: State.CANCELLED},
    # an ended job can continue while its frontier is not empty, or to retry its failed URLs
    State.COMPLETED: {Move.RESUME: State.PENDING, Move.RETRY_FAILED: State.PENDING},
    State.FAILED: {Move.RESUME: State.PENDING, Move.RETRY_FAILED: State.PENDING},
    State.CANCELLED: {Move.RESUME: State.PENDING, Move.RETRY_FAILED: State.PENDING},
}

DONE_IN: Mapping[Move, frozenset[State]] = {
    Move.PAUSE: frozenset({State.PAUSED}),
    Move.RESUME: frozenset({State.PENDING, State.RUNNING}),
    Move.CANCEL: frozenset({State.CANCELLED}),
    Move.RETRY_NOW: frozenset({State.PENDING}),
}
"""States in which an operator's move changes nothing and succeeds, so that it can be repeated if
its response was lost. Not for a job that waits for its start."""


class StateReason(StrEnum):
    """Reasons for a job's state; a job never waits or stops without a reason."""

    WAITING_SLOT = auto()  # pending: waits for a free slot of a worker
    SCHEDULED = auto()  # pending: waits for its start time
    WAITING_RETRY = auto()  # pending: waits for the next attempt
    WAITING_QUOTA = auto()  # pending: its owner's quota allows no more running jobs
    PREEMPTED = auto()  # pending: a more urgent job took its slot
    WORKER_STOPPED = auto()  # pending: its worker was shut down and released it
    WORKER_LOST = auto()  # pending: its worker died; failed: its workers died repeatedly
    CRAWLING = auto()  # running
    BY_USER = auto()  # paused, cancelled: a user requested it
    BY_SCHEDULE = auto()  # cancelled: the next run of its schedule replaces it
    PAUSED_TOO_LONG = auto()  # cancelled: it was paused for longer than the settings allow
    DISK_FULL = auto()  # paused: no space is left to store pages
    LOGGED_OUT = auto()  # paused: its session is logged out, or does not exist
    NOT_GRANTED = auto()  # paused: the settings no longer grant what it needs
    EXHAUSTED = auto()  # completed: every URL in scope was tried
    LIMIT_PAGES = auto()  # completed: the page limit was reached
    LIMIT_BYTES = auto()  # completed: the data limit was reached
    LIMIT_DURATION = auto()  # completed: the time limit was reached
    LIMIT_ERRORS = auto()  # completed: the error limit was reached
    LIMIT_RENDER = auto()  # completed: the rendering limit was reached
    START_FAILED = auto()  # failed: no start URL could be fetched
    NO_RENDERER = auto()  # failed: its worker has no browser for the pages to render
    INTERNAL_ERROR = auto()  # failed: a bug in Crawlyard; the detail has the error


STATE_WORDS: Mapping[State, str] = {
    State.PENDING: "waiting",
    State.RUNNING: "running",
    State.PAUSED: "paused",
    State.COMPLETED: "completed",
    State.FAILED: "failed",
    State.CANCELLED: "cancelled",
}
"""Words for the states, as in `core.words`."""


def after(state: State, move: Move) -> State:
    """Return the state that *move* leads to.

    Raises:
        IllegalMove: *state* does not allow *move*.
    """
    try:
        return LIFECYCLE[state][move]
    except KeyError:
        verb = move.value.replace("_", " ")
        message = f"cannot {verb} a job that is {STATE_WORDS[state]}"
        raise IllegalMove(message, allowed=tuple(LIFECYCLE[state])) from None


_DAY = timedelta(days=1)


class PausingStep(StrEnum):
    """Steps for a paused job."""

    WARN = auto()  # announce the cancellation
    CANCEL = auto()


def notice(ttl: timedelta) -> timedelta:
    """Return how long before the end the last warning is sent: a seventh of *ttl*, up to a day."""
    return min(_DAY, ttl / 7)


def due_step(
    since: datetime, warned: Sequence[datetime], ttl: timedelta, now: datetime
) -> PausingStep | None:
    """Return what to do at *now* about a job paused since *since* for at most *ttl*.

    The owner is warned at half of the time, and again `notice` before the end. *warned* lists the
    times of the warnings so far. Even if warnings were missed, no job is cancelled less than
    `notice` after its last warning.
    """
    last_call = since + ttl - notice(ttl)
    called = next((at for at in warned if at >= last_call), None)
    if called is not None:
        return PausingStep.CANCEL if now >= called + notice(ttl) else None
    if now >= last_call or (not warned and now >= since + ttl / 2):
        return PausingStep.WARN
    return None


def ends_at(since: datetime, ttl: timedelta, now: datetime) -> datetime:
    """Return the earliest time at which a job that gets a warning at *now* is cancelled."""
    return max(since + ttl, now + notice(ttl))
