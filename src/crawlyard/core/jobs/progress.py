"""Progress of a job: what is done, how fast it goes, and the time left."""

from msgspec import Struct

from crawlyard.core.jobs.checkpoint import Standing
from crawlyard.core.jobs.eta import Eta, eta_of, work_left
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.limits import LIMIT_NAMES, Limits, Usage
from crawlyard.core.jobs.pulse import Pulse


class Progress(Struct, frozen=True, kw_only=True):
    """The progress of a job."""

    done: int
    discovered: int
    failed: int
    pages: int
    bytes: int
    elapsed_s: float  # running time
    rate: float  # targets done per second, recently
    current_url: str
    eta: Eta | None  # None: unknown so far, or not running
    eta_unknown: str = ""  # why there is no estimate


def progress_of(
    limits: Limits, usage: Usage, pulse: Pulse, state: State, current_url: str = ""
) -> Progress:
    """Return the progress of a job from its usage and recent pace."""
    runs = state is State.RUNNING
    eta = eta_of(limits, usage, pulse) if runs else None
    unknown = "estimating… (no URL finished yet)" if runs else f"the job is {state}"
    return Progress(
        done=usage.done,
        discovered=usage.discovered,
        failed=usage.errors,
        pages=usage.pages,
        bytes=usage.bytes,
        elapsed_s=usage.duration_s,
        rate=pulse.rate if runs else 0.0,
        current_url=current_url if runs else "",
        eta=eta,
        eta_unknown="" if eta else unknown,
    )


def progress_of_standing(standing: Standing) -> Progress:
    """Return the progress of a job as last recorded."""
    job, shard = standing.job, standing.shard
    return progress_of(job.limits, shard.usage, shard.pulse, job.state, shard.current_url)


MILESTONES = (25, 50, 75)
"""Percent of a job's way to its end."""


def milestones(limits: Limits, usage: Usage, pulse: Pulse, told: int) -> tuple[int, ...]:
    """Return the milestones passed since *told*, the last one that was announced.

    A job ends at a limit or when its frontier runs out; its progress is the larger of the two
    shares. A job at its end passes no milestone.
    """
    share = max(_share_of_limits(limits, usage), _share_of_frontier(usage, pulse))
    if share >= 1:
        return ()
    return tuple(m for m in MILESTONES if told < m <= 100 * share)


def _share_of_limits(limits: Limits, usage: Usage) -> float:
    """Return the used share of the limit that is closest to being reached."""
    shares = [
        getattr(usage, name) / ceiling
        for name in LIMIT_NAMES
        if (ceiling := getattr(limits, name)) and name != "errors"  # no job is meant to end at it
    ]
    return max(shares, default=0.0)


def _share_of_frontier(usage: Usage, pulse: Pulse) -> float:
    """Return the share done of all that may be found, by the high estimate of what is left."""
    return usage.done / max(1.0, usage.done + work_left(usage, pulse).high)
