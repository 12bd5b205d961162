"""Bulk actions on many jobs."""

from collections.abc import Mapping
from enum import StrEnum, auto
from typing import Any

from msgspec import Struct, convert, to_builtins

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.filter import Condition
from crawlyard.core.jobs.job import DELETABLE, Job
from crawlyard.core.jobs.lifecycle import DONE_IN, LIFECYCLE, STATE_WORDS, Move, State
from crawlyard.core.jobs.spec import JobSpec, Priority
from crawlyard.core.operations.operation import Operation
from crawlyard.errors import IllegalMove, Invalid

MOST_IDS = 10_000
"""Maximum jobs named by id."""


class JobAction(StrEnum):
    """Actions that apply to many jobs at once."""

    PAUSE = auto()
    RESUME = auto()
    CANCEL = auto()
    RETRY = auto()
    DELETE = auto()
    SET_PRIORITY = auto()
    ADD_TAGS = auto()
    REMOVE_TAGS = auto()


class RetryScope(StrEnum):
    """Parts of a job to retry."""

    ALL = auto()  # a new job with the same spec
    FAILED = auto()  # the same job, its failed URLs
    NOW = auto()  # a pending job stops waiting


class BulkAction(Struct, frozen=True, kw_only=True):
    """An action and its parameters, without the jobs.

    Raises:
        Invalid: a parameter that the action takes is missing, or it takes none.
    """

    action: JobAction
    reason: str = ""
    priority: Priority | None = None  # of SET_PRIORITY
    tags: tuple[str, ...] = ()  # of ADD_TAGS and REMOVE_TAGS
    scope: RetryScope = RetryScope.ALL  # of RETRY
    kinds: frozenset[ErrorKind] = frozenset()  # of RETRY, where the scope is FAILED

    def __post_init__(self) -> None:
        needs_tags = self.action is JobAction.SET_PRIORITY
        if needs_tags is (self.priority is None):
            needs = "expected one for set_priority" if needs_tags else "only set_priority takes one"
            raise Invalid("priority", needs)
        needs_tags = self.action in _TAGGING
        if needs_tags is not bool(self.tags):
            takers = " and ".join(_TAGGING)
            needs = f"expected one for {self.action}" if needs_tags else f"only {takers} take them"
            raise Invalid("tags", needs)

    def changes_of(self, spec: JobSpec) -> Mapping[str, object]:
        """Return what an action that edits jobs changes in *spec*."""
        match self.action:
            case JobAction.SET_PRIORITY:
                return {"priority": self.priority}
            case JobAction.ADD_TAGS:
                return {"tags": tuple(dict.fromkeys((*spec.tags, *self.tags)))}
            case _:
                return {"tags": tuple(tag for tag in spec.tags if tag not in self.tags)}

    @property
    def doubles(self) -> bool:
        """True if repeating it would create something twice."""
        return self.action is JobAction.RETRY and self.scope is RetryScope.ALL


EDITS = frozenset({JobAction.SET_PRIORITY, JobAction.ADD_TAGS, JobAction.REMOVE_TAGS})
"""Actions that change the spec of a job."""

_TAGGING = (JobAction.ADD_TAGS, JobAction.REMOVE_TAGS)


class Chosen(Struct, frozen=True, kw_only=True):
    """A selection of jobs: those with these ids, or those that match all conditions."""

    ids: tuple[str, ...] | None = None
    where: tuple[Condition, ...] = ()


class Result(Struct, frozen=True, kw_only=True):
    """Outcome of a bulk action for one job."""

    id: str
    code: str | None = None  # of a problem; None on success
    detail: str = ""
    state: str | None = None  # of the job now; None if deleted, or not visible to the actor
    new_id: str | None = None  # of the job created by a retry

    @property
    def ok(self) -> bool:
        """True if there was no problem."""
        return self.code is None


class BulkDone(Struct, frozen=True, kw_only=True):
    """The result of a bulk action, or of its dry run."""

    dry_run: bool
    count: int  # of the selected jobs
    results: tuple[Result, ...]  # of a dry run, the first few
    operation: Operation | None = None  # does the rest in the background, if there are too many

    @property
    def succeeded(self) -> int:
        """Number of results without a problem."""
        return sum(result.ok for result in self.results)

    @property
    def failed(self) -> int:
        """Number of results with a problem."""
        return len(self.results) - self.succeeded


def request_of(action: BulkAction, **jobs: object) -> Mapping[str, object]:
    """Return the request of the operation that does this to *jobs*."""
    request: dict[str, Any] = to_builtins(action) | to_builtins(jobs)
    return request


def action_in(request: Mapping[str, object]) -> BulkAction:
    """Return the action that `request_of` encoded in *request*."""
    return convert(request, BulkAction)


def conditions_in(request: Mapping[str, object]) -> tuple[Condition, ...]:
    """Return the conditions that select the jobs of a bulk request; none if it names ids."""
    return convert(request["where"], tuple[Condition, ...])


MOVES: Mapping[JobAction, Move] = {
    JobAction.PAUSE: Move.PAUSE,
    JobAction.RESUME: Move.RESUME,
    JobAction.CANCEL: Move.CANCEL,
}
"""Actions that are a move."""


def check_possible(action: BulkAction, job: Job) -> None:
    """Check that the state of *job* allows an action; it may still fail for other reasons.

    Raises:
        IllegalMove: the state does not allow it.
    """
    move = MOVES.get(action.action)
    if move is not None and job.state in DONE_IN[move]:
        return
    word = action.action.value.replace("_", " ")
    if not _may_apply(action, job.state):
        message = f"cannot {word} a job that is {STATE_WORDS[job.state]}"
        raise IllegalMove(message, allowed=tuple(LIFECYCLE[job.state]))


def _may_apply(request: BulkAction, state: State) -> bool:
    match request.action:
        case JobAction.DELETE:
            return state in DELETABLE
        case action if action in EDITS:
            return state is not State.CANCELLED
        case JobAction.RETRY if request.scope is RetryScope.NOW:
            return Move.RETRY_NOW in LIFECYCLE[state]
        case JobAction.RETRY:
            return state.ended
        case _:
            return MOVES[request.action] in LIFECYCLE[state]
