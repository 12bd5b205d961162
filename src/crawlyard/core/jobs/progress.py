"""Progress of a job: work done, pace, and time left."""

import math
from collections.abc import Iterator
from enum import StrEnum, auto
from typing import Annotated, NamedTuple

from msgspec import Struct

from crawlyard.core.fields import HIDDEN, round_to
from crawlyard.core.jobs.job import Standing
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.limits import LIMIT_NAMES, LIMITS, Limits, Usage
from crawlyard.core.jobs.pulse import ProxyUse, Pulse
from crawlyard.core.quantity import count_noun


class Confidence(StrEnum):
    """Confidence in an estimate, by the width of its range."""

    LOW = auto()
    MEDIUM = auto()
    HIGH = auto()


class Eta(Struct, frozen=True, kw_only=True):
    """Seconds of running time until the job ends on its own; never negative."""

    p10_s: Annotated[float, round_to(3)]  # one of ten such jobs ends sooner
    p50_s: Annotated[float, round_to(3)]  # as likely sooner as later
    p90_s: Annotated[float, round_to(3)]  # nine of ten end sooner
    confidence: Confidence
    limit: str | None = None  # the limit that will end it; None: the frontier runs out first


class Range(NamedTuple):
    """A low, a middle and a high estimate of one quantity: the 10th, 50th and 90th percentile."""

    low: float
    mid: float
    high: float

    def times(self, other: "Range") -> "Range":
        """Return the product of two independent quantities."""
        mid = self.mid * other.mid
        if mid <= 0:
            return Range(0.0, 0.0, max(self.high * other.mid, self.mid * other.high))
        down = math.hypot(_log(self.mid, self.low), _log(other.mid, other.low))
        up = math.hypot(_log(self.high, self.mid), _log(other.high, other.mid))
        return Range(mid * math.exp(-down), mid, mid * math.exp(up))

    def scale(self, factor: float) -> "Range":
        """Return the range with all three multiplied by *factor*."""
        return Range(self.low * factor, self.mid * factor, self.high * factor)

    def plus(self, low: float, mid: float, high: float) -> "Range":
        """Return the range with an amount added to each of the three values."""
        return Range(self.low + low, self.mid + mid, self.high + high)

    def at_least(self, low: float, mid: float, high: float) -> "Range":
        """Return the range with a lower bound on each of the three values."""
        return Range(max(self.low, low), max(self.mid, mid), max(self.high, high))


def _log(above: float, below: float) -> float:
    """Return the logarithm of a ratio of at least 1; 20 (practically infinite) if *below* is 0."""
    if below >= above:
        return 0.0
    return math.log(above / below) if below > 0 else 20.0


_Z = 1.28  # standard deviations from the median to the 10th and 90th percentile of a normal

_AGE = 9.0
"""If only the age of something is known, its remaining lifetime is between a ninth of the age and
nine times the age, eight times out of ten. Source: J. R. Gott, Nature 363 (1993), 315.
"""

_NONE_SEEN = 2.3
"""After n trials without a hit, a rate above 2.3/n is ruled out at 90%: 0.9 = 1 - exp(-2.3)."""

_BURSTY = 2.0  # links are found in bursts: their count varies twice as much as independent events

_SOONER = 0.7  # discovery rarely fades out: near its end it stops, sooner than its decay suggests

_DOUBT = 5.0  # a trend of this many standard errors is as likely to continue as to be a disturbance

_DRIFT = 0.055  # relative change of the pace over as much work as was observed; grows as √work

_LANE = 0.88, 1.15  # the same for a single host, over the rest of its URLs

_TAIL_S = 0.6  # the last requests, and the last checkpoint

_INSTANT_S = 1e-3  # too short to measure a pace

_STILL = 1e-9  # URLs per second: one in thirty years

_LONGEST_S = 10 * 365 * 86_400.0


def eta_of(limits: Limits, usage: Usage, pulse: Pulse) -> Eta | None:
    """Return how long a running job will take; ``None`` while its pace is unknown."""
    ends: dict[str | None, Range] = dict(_limits(limits, usage, pulse))
    if usage.done and (usage.duration_s or pulse.rate):
        ends[None] = _frontier(usage, pulse)
    if not ends:
        return None
    limit = min(ends, key=lambda name: ends[name].mid)
    # the first event ends the job; products of extremes are clamped
    low, mid, high = (
        min(max(0.0, min(each)), _LONGEST_S) for each in zip(*ends.values(), strict=True)
    )
    low, high = min(low, mid), max(mid, high)
    return Eta(p10_s=low, p50_s=mid, p90_s=high, confidence=_confidence(low, high), limit=limit)


def _confidence(low: float, high: float) -> Confidence:
    if high <= 1.6 * low + 2 * _TAIL_S:
        return Confidence.HIGH
    return Confidence.MEDIUM if high <= 4 * low + 2 * _TAIL_S else Confidence.LOW


def _frontier(usage: Usage, pulse: Pulse) -> Range:
    """Return the seconds until everything that will be discovered is done."""
    work = work_left(usage, pulse)
    span = work.times(_pace(usage, pulse, work.mid))
    workload = pulse.workload
    # if hosts finish at different times, the last one counts, not the overall pace
    if last_host_s := _last_host_s(usage, pulse):
        sooner, later = _LANE
        last_host = Range(sooner * last_host_s, last_host_s, later * last_host_s)
        last_host = last_host.times(work.scale(1 / usage.waiting))
        # a host that waits for others to free slots gets faster once they are done
        span = (
            last_host if workload.lane_full else span._replace(high=max(span.high, last_host.high))
        )
    if workload.least_s > span.mid / 2:  # if delays set the pace, a slowdown is not a trend
        span = span._replace(low=min(span.low, math.sqrt(span.low * workload.least_s)))
    span = _with_holds(_with_retries(span, usage, pulse), usage, pulse, work.mid)
    least_s = workload.least_s
    return span.at_least(least_s, least_s, 1.05 * least_s).plus(-_TAIL_S / 2, 0.0, _TAIL_S)


def _last_host_s(usage: Usage, pulse: Pulse) -> float:
    """Return the seconds of the slowest host, if it will be the last one; or 0.

    It is so if it takes longer than all waiting URLs would at the overall pace.
    """
    workload, active_s = pulse.workload, sum(pulse.active_s)
    if workload.lane_rate <= 0 or not active_s or not usage.waiting:
        return 0.0
    lane_s = workload.lane_waiting / workload.lane_rate
    overall_s = usage.waiting * active_s / max(1, sum(pulse.done))
    return lane_s if lane_s > 1.2 * overall_s else 0.0


def work_left(usage: Usage, pulse: Pulse) -> Range:
    """Return how many URLs are left: those that wait and those still to be discovered."""
    waiting = float(usage.waiting)
    fertile = max(0.0, waiting - pulse.workload.barren)
    if not fertile:
        return Range(waiting, waiting, waiting)
    new = _to_find(usage, pulse, fertile)
    return Range(waiting + new.low, waiting + new.mid, waiting + new.high)


def _to_find(usage: Usage, pulse: Pulse, fertile: float) -> Range:
    """Return how many URLs are still to be discovered."""
    (old, new), (found_old, found_new) = pulse.done, pulse.found
    age = float(usage.done)  # in URLs, for the estimate from age alone
    if not old or not new:  # only its start is known
        return Range(0.0, min(fertile, age), _AGE * max(fertile, age))
    quiet = _NONE_SEEN * (pulse.lull + 1.0) / (pulse.quiet + pulse.lull + 1.0)
    now, before = (found_new + 0.5) / (new + 0.5), (found_old + 0.5) / (old + 0.5)
    sigma = _BURSTY * math.sqrt(1 / (found_new + 1) + 1 / (found_old + 1))
    ratio = now / before
    step = (old + new) / 2
    low, mid, high = (
        _decaying(min(now, most), ratio * math.exp(z * sigma), step, new, fertile, age * cap)
        for z, most, cap in ((-_Z, quiet / 4, 1 / _AGE), (0.0, quiet / 2, 1.0), (_Z, quiet, _AGE))
    )
    return Range(_SOONER * min(low, mid), mid, max(mid, high))


def _decaying(
    rate: float, ratio: float, step: float, new: int, fertile: float, most: float
) -> float:
    """Return how many URLs are found until the yield, *ratio* times smaller each *step*, is 0.

    A yield that does not decay is a geometric series: each URL done brings *rate* new ones,
    which bring rate², and so on.
    """
    series = fertile * rate / (1 - rate) if rate < 0.95 else math.inf
    if ratio >= 0.98:
        return min(series, most)
    length = step / -math.log(max(ratio, 1e-6))
    decayed = rate * math.exp(-new / 2 / length) * length
    return min(decayed, series, 3 * most)


def _pace(usage: Usage, pulse: Pulse, work: float) -> Range:
    """Return the average seconds per URL while *work* URLs are done."""
    overall = max(1e-9, usage.duration_s - pulse.workload.held_s) / usage.done
    (old, new), (old_s, new_s) = pulse.done, pulse.active_s
    if not old or not new or min(old_s, new_s) < _INSTANT_S:
        recent = 1 / pulse.rate if pulse.rate > _STILL else overall
        return Range(
            min(recent, overall) / 3, math.sqrt(recent * overall), max(recent, overall) * 3
        )
    mean = (old_s + new_s) / (old + new)
    late = new_s / new
    between = (new / new_s - old / old_s) / 2  # the part of the spread caused by the trend itself
    noise = math.sqrt(max(0.0, pulse.spread * pulse.spread - between * between))
    error = min(noise * mean / math.sqrt(max(1, pulse.samples)), 2.0)
    trend = min(max(-1.0, math.log(late / (old_s / old))), 1.0)
    # a trend that stands out from the noise continues; otherwise the pace returns to the mean
    share = trend * trend / (trend * trend + (_DOUBT * error) ** 2 + 1e-12)
    # from the middle of the newer half until now, and on to the middle of the work left
    ahead = 0.5 + min(work / new / 2, 1.0)
    on, back = late * math.exp(trend * share * ahead), late * (mean / late) ** (1 - share)
    drift = min(_DRIFT * math.sqrt(1 + work / (old + new)), 0.5)
    wide = math.exp(_Z * math.hypot(error / 2, drift))
    mid = on**share * back ** (1 - share)
    return Range(min(on, back) / wide, mid, max(on, back) * wide)


def _with_retries(span: Range, usage: Usage, pulse: Pulse) -> Range:
    """Add the cost of further tries, for URLs that have failed and for those that will."""
    workload = pulse.workload
    if not workload.failed or not pulse.busy:
        return span
    cost_s = workload.failed_s / workload.failed
    share = workload.failed / (usage.done + workload.failed)
    tries = workload.retries + share * max(0, usage.waiting - workload.retries)
    again = (workload.failed_again + 1) / (workload.retried + 2)
    wide = _Z * math.sqrt(again * (1 - again) / (workload.retried + 3))
    extra_s = tries * cost_s / pulse.busy
    last_s = cost_s if tries >= 0.5 else 0.0
    return span.plus(
        0.8 * extra_s * max(0.0, again - wide),
        extra_s * again,
        1.2 * extra_s * min(1.0, again + wide) + last_s,
    )


def _with_holds(span: Range, usage: Usage, pulse: Pulse, work: float) -> Range:
    """Add the time in which all hosts are on hold: now, and at the same rate as so far."""
    workload = pulse.workload
    if workload.holds:
        more = work * workload.holds / max(1, usage.done)
        length_s = workload.held_s / workload.holds
        wide = _Z * math.sqrt(more + more * more / workload.holds)
        span = span.plus(*(length_s * n for n in (max(0.0, more - wide), more, more + wide)))
    return span.plus(*(workload.hold_s,) * 3)


def _limits(limits: Limits, usage: Usage, pulse: Pulse) -> Iterator[tuple[str, Range]]:
    """Yield each limit with the seconds until it is reached."""
    rates = {
        "pages": pulse.pages_rate,
        "bytes": pulse.bytes_rate,
        "errors": pulse.errors_rate,
    }
    for name, field in LIMITS.items():
        ceiling = getattr(limits, field)
        if ceiling is None:
            continue
        rest = ceiling - getattr(usage, field)
        if name == "duration":
            left_s = max(0.0, rest)
            yield name, Range(left_s - _TAIL_S / 2, left_s, left_s + _TAIL_S)
        elif rest <= 0:
            yield name, Range(0.0, 0.0, _TAIL_S)
        elif rates.get(name, 0) > 0 and pulse.rate > 0 and usage.done:
            work = rest / rates[name] * pulse.rate
            span = Range(work, work, work).times(_pace(usage, pulse, work))
            yield name, _with_holds(span, usage, pulse, work).plus(-_TAIL_S / 2, 0.0, _TAIL_S)


class Progress(Struct, frozen=True, kw_only=True):
    """Progress of a job, as shown to users."""

    done: int
    discovered: int
    failed: int
    pages: int
    bytes: int
    elapsed_s: Annotated[float, round_to(3)]  # running time
    rate: Annotated[float, round_to(3)]  # targets done per second, recently
    current_url: Annotated[str, HIDDEN]  # shown beside the progress of a job in answers
    eta: Eta | None  # None: unknown so far, or not running
    eta_unknown: str = ""  # why there is no estimate
    remark: str = ""  # why it is slow, or its estimate rough; empty: neither
    proxies: tuple[ProxyUse, ...] = ()  # of the run, as of its last checkpoint


_FAILING = 0.2  # of the requests: if more than this are repeated, they set the pace


def remark_on(usage: Usage, pulse: Pulse, eta: Eta | None) -> str:
    """Return what makes a running job slow or its estimate rough, in a sentence; "" if nothing."""
    workload = pulse.workload
    rest_s = min((proxy.rests_s for proxy in workload.proxies), default=0.0)
    held_s = rest_s or workload.hold_s
    if held_s:
        why = "no proxy can be used" if rest_s else "every host asked for a pause"
        return f"Held back: {why}, for another {count_noun(math.ceil(held_s), 'second')}"
    failing = workload.failed / max(1, usage.done + workload.failed)
    if failing >= _FAILING:
        return f"Slowed: {failing:.0%} of the requests fail and are repeated"
    if eta is not None and usage.waiting and workload.least_s > eta.p50_s / 2:
        return "Slowed by the delay between requests"
    if _last_host_s(usage, pulse) and workload.lane_waiting < usage.waiting:
        share_left = f"{workload.lane_waiting:,} of {usage.waiting:,}"
        return f"Slowed by one host: {share_left} in the queue are there"
    if eta is not None and eta.confidence is not Confidence.HIGH and pulse.found[1]:
        return "Rough estimate: still finding URLs"
    return ""


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
        remark=remark_on(usage, pulse, eta) if runs else "",
        proxies=pulse.workload.proxies,
    )


def progress_of_standing(standing: Standing) -> Progress:
    """Return the progress of a job as last recorded."""
    job, shard = standing.job, standing.shard
    return progress_of(job.limits, shard.usage, shard.pulse, job.state, shard.current_url)


MILESTONES = (25, 50, 75)
"""Percentages of a job's progress that are announced."""


def milestones(limits: Limits, usage: Usage, pulse: Pulse, last_milestone: int) -> tuple[int, ...]:
    """Return the milestones passed since *last_milestone*, the last one that was announced.

    A job ends at a limit or when its frontier runs out; its progress is the larger of the two
    shares. A job at its end passes no milestone.
    """
    share = max(_share_of_limits(limits, usage), _share_of_frontier(usage, pulse))
    if share >= 1:
        return ()
    return tuple(m for m in MILESTONES if last_milestone < m <= 100 * share)


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
