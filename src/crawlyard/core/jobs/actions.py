"""Actions: what can be done to a job in its current state."""

from collections.abc import Mapping, Sequence
from enum import StrEnum, auto

from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import ENDED, LIFECYCLE, Move, State
from crawlyard.core.jobs.limits import Usage, breach


class Action(StrEnum):
    """An action of the API on jobs, by the word that its paths and methods use."""

    PAUSE = auto()
    RESUME = auto()
    CANCEL = auto()
    RETRY = auto()  # as a new job, its failed URLs, or now what waits
    EDIT = auto()
    DELETE = auto()


DELETABLE = ENDED | {State.PAUSED}

_OF_MOVE: Mapping[str, Action] = {
    Move.PAUSE: Action.PAUSE,
    Move.RESUME: Action.RESUME,
    Move.CANCEL: Action.CANCEL,
    Move.RETRY_FAILED: Action.RETRY,
    Move.RETRY_NOW: Action.RETRY,
}


def actions_of(allowed: Sequence[str]) -> list[str]:
    """Return the API actions for these moves, in order; a word that is not a move is kept."""
    named = (_OF_MOVE.get(word, "" if word in set(Move) else word) for word in allowed)
    return list(dict.fromkeys(str(verb) for verb in named if verb))


def has_rest(usage: Usage) -> bool:
    """Return whether anything is left to fetch."""
    # a job that ended before its first request has discovered nothing, and has all left to do
    return not usage.discovered or bool(usage.waiting)


def actions_on(job: Job, usage: Usage) -> tuple[str, ...]:
    """Return the actions possible on a job with this usage, in the order of `Action`."""
    moves = {Action(verb) for verb in actions_of(tuple(LIFECYCLE[job.state]))}
    goes_on = has_rest(usage) and breach(job.limits, usage) is None
    if job.damaged:
        end = Action.CANCEL if job.state is State.RUNNING else Action.DELETE
        return (str(end),)
    if job.state.ended and not goes_on:
        moves.discard(Action.RESUME)
    if job.state is not State.CANCELLED:
        moves.add(Action.EDIT)
    if job.state in DELETABLE:
        moves.add(Action.DELETE)
    return tuple(str(action) for action in Action if action in moves)
