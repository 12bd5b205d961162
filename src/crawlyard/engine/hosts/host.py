"""State of one host in this process: limits, slots, booked windows and refusals."""

import math
from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct, field

from crawlyard.core.hosts.hosts import DelaySource, HostRule, HostState
from crawlyard.core.hosts.slots import GUARD_S, HostTerms
from crawlyard.core.jobs.checkpoint import Booking

_ACTIVE_S = 2.5  # slots of a host that wasn't wanted for longer are given back
LONGEST_LEAD_S = 1.0  # prepare a request at most this long before its send time
_SAFETY = 1.25  # safety factor on the last preparation time, which varies


class Host(Struct):
    """State of one host in this process."""

    in_flight: int = 0
    free_at: float = 0.0  # send no request before; set by a delay or a hold
    held_until: float = 0.0  # because of its last refusal
    strikes: int = 0  # refusals in a row (429, 503)
    news: int = 0  # rises when a refusal starts a hold, and when a response ends the refusals
    next_at: float = 0.0  # prepare no request before; one delay after the last preparation
    preparing: int = 0  # requests in flight that aren't sent yet
    lead_s: float = 0.0  # estimated preparation time of a request: DNS look-up, connection
    windows: list[tuple[float, float]] = field(default_factory=list)  # when we may send (monotonic)
    booked_from: datetime | None = None  # the start of the last window, by the store's clock
    booked_until: datetime | None = None  # when the host is free for others after it
    alone: bool = True  # no other process wants to send requests
    booking: bool = False  # a booking or a request for terms is under way
    # by job: its delay, whether robots.txt asks for that, and its concurrency
    limits_by_job: dict[str, tuple[float, bool, int]] = field(default_factory=dict)
    jobs_delay_s: float = 0.0  # the longest delay that a job of this process wants
    delay_by_robots: bool = False  # robots.txt asks for that delay
    jobs_at_once: int = 1  # the lowest concurrency that a job of this process wants
    # by jobs, other processes and the operator's rule; read eight times per request
    delay_s: float = 0.0  # between requests
    at_once: int = 1  # the concurrency limit, for all processes together
    waiters: list[Callable[[], None]] = field(default_factory=list)  # called first in, first out
    rule: HostRule | None = None
    others_s: float = 0.0  # the longest delay that jobs of other processes want
    slots: int = 0
    good_until: datetime | None = None  # of slots and rule, by our clock; None: unknown
    may_hold_slots: bool = False  # the store may hold slots for us
    wanted_at: float = -math.inf  # when a crawl last wanted to send it a request
    peak: int = 0  # most requests in flight since the last renewal
    short_of_slots: bool = False  # a request had to wait for a slot since then

    def set_limits(
        self, job: str, delay_s: float, at_once: int, *, by_robots: bool = False
    ) -> None:
        """Set the limits that *job* wants; *by_robots*: robots.txt asks for that delay."""
        self.limits_by_job[job] = (delay_s, by_robots, at_once)
        self._combine_limits()

    def remove_job(self, job: str) -> bool:
        """Remove the limits of *job*; return whether there were any."""
        removed = self.limits_by_job.pop(job, None) is not None
        if removed:
            self._combine_limits()
        return removed

    def apply_terms(self, terms: HostTerms) -> bool:
        """Apply the store's slots, rule and delay; return whether they differ from those before."""
        before = (self.slots, self.rule, self.others_s)
        self.slots, self.rule, self.others_s = terms.slots, terms.rule, terms.others_s
        self._combine_limits()
        return before != (self.slots, self.rule, self.others_s)

    def _combine_limits(self) -> None:
        limits = self.limits_by_job.values()
        # of two jobs with the same delay, the one that chose it counts
        self.jobs_delay_s, _, self.delay_by_robots = max(
            [(delay, not by_robots, by_robots) for delay, by_robots, _ in limits],
            default=(0.0, True, False),
        )
        self.jobs_at_once = self.at_once = min([at_once for *_, at_once in limits], default=1)
        self.delay_s = max(self.jobs_delay_s, self.others_s)
        if self.rule is not None:
            self.delay_s = self.rule.effective_delay_s(self.delay_s)
            self.at_once = self.rule.effective_at_once(self.at_once)

    @property
    def delay_from(self) -> DelaySource:
        """Source of `delay_s`: a job, robots.txt, another process or a rule."""
        without_rule_s = max(self.jobs_delay_s, self.others_s)
        if self.delay_s > without_rule_s:
            return DelaySource.RULE
        if self.others_s > self.jobs_delay_s:
            return DelaySource.OTHERS
        return DelaySource.ROBOTS if self.delay_by_robots else DelaySource.JOB

    @property
    def state(self) -> HostState:
        """The state set by operators; open if no rule exists."""
        return HostState.OPEN if self.rule is None else self.rule.state

    def wake(self) -> None:
        """Call and remove all waiters."""
        waiters, self.waiters = self.waiters, []
        for wake in waiters:
            wake()

    def hold(self, until: float) -> None:
        """Send no request before *until*, and use no window that was booked before."""
        self.held_until = until
        self.free_at = max(self.free_at, until)
        self.windows.clear()

    def window_opens(self, at: float) -> float:
        """Return when a request may be sent, at *at* or later; `inf` if no window is left."""
        for start, end in self.windows:
            if at <= end:
                return max(at, start)
        return math.inf

    def end_window_at(self, end: float) -> float:
        """Move the end of the last window to *end*; return its previous end."""
        if not self.windows:
            return -math.inf
        start, previous = self.windows[-1]
        self.windows[-1] = (start, end)
        return previous

    def offer_window(self, now: datetime, mono: float) -> tuple[datetime | None, datetime | None]:
        """Return when the host is free with our last window, and when without it."""
        if self.booked_until is None or self.booked_from is None:
            return None, None
        free_at = now + timedelta(seconds=self.free_at - mono)
        return self.booked_until, max(free_at, self.booked_from)

    def prepare_in(self, wait: float, now: float) -> float:
        """Return the seconds until a request must be prepared to be sent in *wait* seconds."""
        return max(0.0, wait - self.lead_s if self.delay_s else wait, self.next_at - now)

    def record_preparation(self, took_s: float) -> None:
        """Update the estimated preparation time with the last one."""
        long_s = min(took_s * _SAFETY, LONGEST_LEAD_S)
        self.lead_s = max(long_s, (self.lead_s + long_s) / 2)

    def book(self, booking: Booking, first: datetime, now: datetime, mono: float) -> None:
        """Add a window that begins at *first*; it replaces the last one if it starts earlier."""
        if booking.last is not None and first < booking.last:
            del self.windows[-1:]  # no process booked since, so the rest of it was given back
        start = mono + (first - now).total_seconds()
        self.windows = [window for window in self.windows if window[1] >= mono]
        self.windows.append((start, start + booking.for_s - GUARD_S))
        self.booked_from, self.booked_until = first, booking.until(first)

    @property
    def is_idle(self) -> bool:
        """True if the host is unused here and the store holds no slot for us."""
        return not (self.limits_by_job or self.in_flight or self.may_hold_slots or self.booking)

    @property
    def is_abandoned(self) -> bool:
        """True if no job wants the host but the store may hold slots for us."""
        return self.may_hold_slots and not (self.limits_by_job or self.in_flight or self.booking)

    def is_wanted(self, now: float, recently_s: float) -> bool:
        """Return whether a job has a request in flight or waiting, or wanted one recently."""
        recently = now - self.wanted_at < recently_s
        return bool(self.limits_by_job) and (recently or self.in_flight > 0 or bool(self.waiters))

    def demand(self, now: float) -> int:
        """Return the number of slots that we can use."""
        if not self.is_wanted(now, _ACTIVE_S) or self.held_until > now + _ACTIVE_S:
            return 0
        if not self.in_flight and self.free_at > now + _ACTIVE_S:
            return 0  # terms are requested again after a long delay
        most = self.jobs_at_once
        return most if self.short_of_slots or self.waiters else min(most, self.peak + 1)
