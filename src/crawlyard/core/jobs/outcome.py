"""Outcomes of jobs, in a sentence: a job that a limit stopped early is not called completed."""

from collections.abc import Mapping

from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.jobs.limits import Usage

LIMIT_REASONS: Mapping[StateReason, str] = {
    StateReason.LIMIT_PAGES: "page",
    StateReason.LIMIT_BYTES: "data",
    StateReason.LIMIT_DURATION: "time",
    StateReason.LIMIT_ERRORS: "error",
    StateReason.LIMIT_RENDER: "rendering",
}
"""Reasons of jobs that a limit ended, with the name of the limit."""

STOPPED = "stopped"
"""Word for a job that ended with URLs left, in lists and filters: `is_stopped`."""


def is_cut_short(job: Job, usage: Usage) -> bool:
    """Return whether a limit ended the job while URLs were waiting."""
    return cut_short(job.state, job.state_reason, usage.waiting)


def cut_short(state: State, reason: str, waiting: int) -> bool:
    """Return the same for a job in this *state* for this *reason*, with so many URLs *waiting*."""
    return state is State.COMPLETED and reason in LIMIT_REASONS and waiting > 0


def is_stopped(state: State, reason: str, usage: Usage) -> bool:
    """Return whether a limit ended the job while URLs were waiting, or a user after it had begun.

    The pages of such a job are kept, and it can be resumed.
    """
    by_user = state is State.CANCELLED and reason == StateReason.BY_USER
    return (by_user and usage.done > 0) or cut_short(state, reason, usage.waiting)


def outcome_of(job: Job, usage: Usage) -> str:
    """Return how the job ended; "" until then.

    *found* counts all discovered URLs, also redirects and skipped ones.
    """
    return outcome_at(job.state, job.state_reason, usage)


def outcome_at(state: State, reason: StateReason, usage: Usage) -> str:
    """Return how a job ended that is in that *state* for that *reason*; "" while it has not."""
    if not state.ended:
        return ""
    if is_stopped(state, reason, usage):
        limit = f" at its {LIMIT_REASONS[reason]} limit" if reason in LIMIT_REASONS else ""
        return f"Stopped{limit}: {usage.done:,} of {usage.discovered:,} found"
    return state.value.capitalize()
