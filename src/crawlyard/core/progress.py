"""How far a job has come, how fast it goes, and how long it will still take."""

import itertools
import math
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum, auto

from msgspec import Struct

from crawlyard.core.lifecycle import State
from crawlyard.core.limits import LIMIT_NAMES, Limits, Usage


class Pulse(Struct, frozen=True, kw_only=True):
    """The recent pace of a crawl, all rates per second of running time."""

    rate: float = 0.0  # targets done
    spread: float = 0.0  # standard deviation of that rate from sample to sample
    pages_rate: float = 0.0
    bytes_rate: float = 0.0
    errors_rate: float = 0.0
    growth: float = 0.0  # URLs discovered for each one done: below 1, the frontier shrinks
    fresh: float = 0.0  # the same of the last few samples: soon after links stop growing, it is 0
    samples: int = 0
    milestone: int = 0  # the last of `MILESTONES` that was told


def pulse_of(history: Sequence[Usage]) -> Pulse:
    """Return the pace over *history*: usages of one job, oldest first, some time apart."""
    if len(history) < 2:
        return Pulse()
    first, last = history[0], history[-1]
    seconds = (last.duration - first.duration).total_seconds()
    done = last.done - first.done
    if seconds <= 0:
        return Pulse()
    rates = [
        (b.done - a.done) / span
        for a, b in itertools.pairwise(history)
        if (span := (b.duration - a.duration).total_seconds()) > 0
    ]
    mean = done / seconds
    spread = math.sqrt(sum((r - mean) ** 2 for r in rates) / len(rates)) if rates else 0.0
    return Pulse(
        rate=max(0.0, mean),
        spread=spread,
        pages_rate=max(0.0, (last.pages - first.pages) / seconds),
        bytes_rate=max(0.0, (last.bytes - first.bytes) / seconds),
        errors_rate=max(0.0, (last.errors - first.errors) / seconds),
        growth=_growth(first, last),
        fresh=_growth(history[max(0, len(history) - 1 - _FEW_SAMPLES)], last),
        samples=len(rates),
    )


def _growth(first: Usage, last: Usage) -> float:
    """Return how many URLs were discovered for each that was done."""
    done = last.done - first.done
    return max(0.0, (last.discovered - first.discovered) / done) if done > 0 else 0.0


class Confidence(StrEnum):
    """How far an estimate can be trusted."""

    LOW = auto()  # the frontier still grows faster than it is worked off, or too little was seen
    MEDIUM = auto()
    HIGH = auto()


class TimeLeft(Struct, frozen=True, kw_only=True):
    """Running time until the job ends by itself; never negative."""

    p50: timedelta  # as likely sooner as later
    p90: timedelta  # nine times of ten sooner; not below p50
    confidence: Confidence
    limit: str | None = None  # the limit that will end it; None: the frontier runs out first


class Progress(Struct, frozen=True, kw_only=True):
    """How far a job has come."""

    done: int
    discovered: int
    failed: int
    pages: int
    bytes: int
    elapsed: timedelta  # running time
    rate: float  # targets done per second, lately
    current_url: str
    time_left: TimeLeft | None  # None: unknown, or not running
    unknown: str = ""  # why there is no estimate


def progress_of(
    limits: Limits, usage: Usage, pulse: Pulse, state: State, current_url: str = ""
) -> Progress:
    """Return the progress of a job from what it has used and its recent pace."""
    left, unknown = _time_left(limits, usage, pulse, state)
    return Progress(
        done=usage.done,
        discovered=usage.discovered,
        failed=usage.errors,
        pages=usage.pages,
        bytes=usage.bytes,
        elapsed=usage.duration,
        rate=pulse.rate if state is State.RUNNING else 0.0,
        current_url=current_url if state is State.RUNNING else "",
        time_left=left,
        unknown=unknown,
    )


MILESTONES = (25, 50, 75)
"""Per cent of a job's way to its end."""


def milestones(limits: Limits, usage: Usage, pulse: Pulse, told: int) -> tuple[int, ...]:
    """Return the milestones that have been passed since *told*, the last one that was.

    A job ends at a limit or when its frontier runs out: it is as far as the further of the
    two. None is passed by a job that is at its end.
    """
    share = max(_share_of_limits(limits, usage), _share_of_frontier(usage, pulse))
    if share >= 1:
        return ()
    return tuple(m for m in MILESTONES if told < m <= 100 * share)


def _share_of_limits(limits: Limits, usage: Usage) -> float:
    """Return how much of the limit that is nearest to its end is used up."""
    shares = [
        getattr(usage, name) / ceiling
        for name in LIMIT_NAMES
        if (ceiling := getattr(limits, name)) and name != "errors"  # no job is meant to end so
    ]
    return max(shares, default=0.0)


def _share_of_frontier(usage: Usage, pulse: Pulse) -> float:
    """Return how much is done of all that will be found, 0 while links grow.

    Nobody can tell at the beginning: one of one URL is done.
    """
    if pulse.samples < _FEW_SAMPLES or pulse.fresh >= _GROWING:
        return 0.0
    todo = usage.waiting / (1 - pulse.fresh)
    return usage.done / max(1.0, usage.done + todo)


# With few samples, or a frontier that grows about as fast as it is worked off, an
# estimate is a guess; these are judged by eye on crawls of documentation sites.
_FEW_SAMPLES = 4
_GROWING = 0.9
_STEADY = 0.3
_MOST_GROWTH = 0.95  # what a frontier that just about shrinks is taken for
_STILL = 1e-9  # URLs a second: one in thirty years
_LONGEST_S = 10 * 365 * 86_400.0
_P90 = 1.28  # standard deviations of a normal distribution below which nine of ten lie


def _time_left(
    limits: Limits, usage: Usage, pulse: Pulse, state: State
) -> tuple[TimeLeft | None, str]:
    if state is not State.RUNNING:
        return None, f"the job is {state}"
    if pulse.rate < _STILL:
        left = _by_the_clock(limits, usage)
        return left, "" if left else "no URL was finished lately"
    limit, limit_s = _nearest_limit(limits, usage, pulse)
    # Each URL done brings `growth` new ones, these bring growth² …: a geometric series.
    shrinks = pulse.growth < 1
    todo = usage.waiting / (1 - min(pulse.growth, _MOST_GROWTH)) if shrinks else math.inf
    frontier_s = todo / pulse.rate
    if math.isinf(frontier_s) and math.isinf(limit_s):
        return None, "the frontier still grows, and no limit is in sight"
    seconds = min(frontier_s, limit_s, _LONGEST_S)
    # The mean of n samples varies by spread/√n; the slowest believable rate gives p90.
    wobble = _P90 * pulse.spread / math.sqrt(max(1, pulse.samples))
    slow = max(pulse.rate - wobble, pulse.rate / 10)
    late = seconds * pulse.rate / slow
    if shrinks and frontier_s <= limit_s:
        # growth is as uncertain as what has been seen of it: let it be half as much again
        late = max(late, usage.waiting / (1 - min(pulse.growth * 1.5, _MOST_GROWTH)) / slow)
    late = min(max(late, seconds), _LONGEST_S)
    if limit == "duration" and limit_s <= frontier_s:
        late = seconds  # the clock knows no spread
    by_limit = limit_s <= frontier_s
    left = TimeLeft(
        p50=timedelta(seconds=seconds),
        p90=timedelta(seconds=late),
        confidence=_confidence(pulse, by_limit=by_limit),
        limit=limit if by_limit else None,
    )
    return left, ""


def _by_the_clock(limits: Limits, usage: Usage) -> TimeLeft | None:
    """Return when the duration limit ends a job that stands still, ``None`` without one."""
    if limits.duration is None:
        return None
    left = max(timedelta(0), limits.duration - usage.duration)
    return TimeLeft(p50=left, p90=left, confidence=Confidence.LOW, limit="duration")


def _confidence(pulse: Pulse, *, by_limit: bool) -> Confidence:
    if pulse.samples < _FEW_SAMPLES or (pulse.growth >= _GROWING and not by_limit):
        return Confidence.LOW
    if pulse.growth > _STEADY and not by_limit:
        return Confidence.MEDIUM
    return Confidence.HIGH if pulse.spread <= pulse.rate else Confidence.MEDIUM


def _nearest_limit(limits: Limits, usage: Usage, pulse: Pulse) -> tuple[str | None, float]:
    """Return which limit comes first at this pace and in how many seconds; infinity for none."""
    rates = {
        "pages": pulse.pages_rate,
        "bytes": pulse.bytes_rate,
        "duration": 1.0,
        "errors": pulse.errors_rate,
    }
    nearest: tuple[str | None, float] = (None, math.inf)
    for name in LIMIT_NAMES:
        ceiling = getattr(limits, name)
        if ceiling is None or rates[name] <= 0:
            continue
        rest = ceiling - getattr(usage, name)
        amount = rest.total_seconds() if isinstance(rest, timedelta) else float(rest)
        seconds = max(0.0, amount) / rates[name]
        if seconds < nearest[1]:
            nearest = (name, seconds)
    return nearest
