"""Retries: targets that got no usable response, and hosts that refuse requests."""

import random
from datetime import timedelta

from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.crawl.page import ErrorKind, Outcome, Target, TargetState
from crawlyard.core.jobs.retry import RetryPolicy
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.quantity import count_noun
from crawlyard.engine.extract import record
from crawlyard.engine.hosts.rate_limiter import RateLimiter
from crawlyard.engine.http.fetch import FetchFailed, Response, is_refusal, retry_after_s
from crawlyard.engine.visit.state import Visit

_TRANSIENT = frozenset({500, 502, 503, 504})


class Retries:
    """Decides which targets of one job are requested again, and when."""

    def __init__(self, clock: Clock, rate_limiter: RateLimiter) -> None:
        self._clock = clock
        self._rate_limiter = rate_limiter

    def adopt(self, spec: JobSpec) -> None:
        """Apply the number of retries of *spec*."""
        # the first wait is short, as most transient failures last less than a second
        self._policy = RetryPolicy(
            attempts=spec.url_retries + 1,
            first_s=1,
            cap_s=timedelta(minutes=5).total_seconds(),
            jitter=0.3,
        )

    def check_host(self, visit: Visit, response: Response) -> Outcome | None:
        """Retry a target if its host refuses or fails, else record a success; a step."""
        target = visit.target
        if is_refusal(response):
            return self._after_refusal(target, response)
        if response.status in _TRANSIENT and (outcome := self.retry(target)) is not None:
            return outcome
        self._rate_limiter.record_success(target.host)
        return None

    def after_failure(self, target: Target, failure: FetchFailed) -> Outcome:
        """Return the outcome of a target without a response."""
        if failure.transient and (outcome := self.retry(target)) is not None:
            return outcome
        tries = f" ({count_noun(target.tries + 1, 'try', 'tries')})" if target.tries else ""
        return record.failure_outcome(
            target, failure.kind, failure.detail + tries, self._clock.now()
        )

    def retry(self, target: Target) -> Outcome | None:
        """Schedule another try of *target*, ``None`` if none is left."""
        wait = self._policy.wait(target.tries + 1, random.random())
        return None if wait is None else self.retry_after(target, wait)

    def retry_after(self, target: Target, wait: timedelta) -> Outcome:
        """Schedule another try of *target* after *wait*."""
        due_at = self._clock.now() + wait
        return Outcome(replace(target, tries=target.tries + 1, due_at=due_at), TargetState.WAITING)

    def hold(self, host: str, response: Response) -> float:
        """Hold a host that refused a request; return the seconds."""
        wait_s = retry_after_s(response.header("retry-after"), self._clock.now())
        return self._rate_limiter.record_refusal(host, wait_s)

    def _after_refusal(self, target: Target, response: Response) -> Outcome:
        wait_s = self.hold(target.host, response)
        if target.tries < self._policy.attempts - 1:
            return self.retry_after(target, timedelta(seconds=wait_s))
        tries = count_noun(target.tries + 1, "try", "tries")
        detail = f"answered {response.status} to the last ({tries})"
        now = self._clock.now()
        return record.failure_outcome(
            target, ErrorKind.RATE_LIMITED, detail, now, status=response.status
        )
