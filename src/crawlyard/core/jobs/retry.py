"""Retry policy: whether and when a failed attempt is repeated."""

from datetime import timedelta
from enum import StrEnum, auto
from typing import Annotated, ClassVar

from crawlyard.core.fields import (
    Count,
    OptionRecord,
    Panel,
    Seconds,
    about,
)
from crawlyard.core.quantity import FOREVER_S
from crawlyard.errors import Invalid


class RetryReason(StrEnum):
    """Reasons of a failed attempt for which a retry may succeed.

    What a retry can't fix is not listed: a spec that cannot be crawled, a blocked address, a
    robots.txt that forbids the crawl. A worker that dies once, or a store that goes away, is not a
    failure of the job: it continues on its own under any policy.
    """

    START_UNREACHABLE = auto()  # no start URL answered: names, connections, time-outs, 5xx, 429
    INTERNAL_ERROR = auto()  # an error of ours
    WORKER_LOST = auto()  # its process died several times in a row without a page


_MAX_FACTOR = 1000  # raised to the 64th power, it still fits a double
MAX_ATTEMPTS = 100
SHORTEST_S = 1.0
"""Minimum of the first wait: with less, a site that is down is requested without a pause."""


class RetryPolicy(OptionRecord, frozen=True, kw_only=True):
    """Exponential backoff with jitter and a cap.

    The n-th wait is ``first_s * factor**(n-1)``, at most *cap_s* (or *first_s*, if that is more),
    reduced by up to *jitter* of itself, so that many failures with one cause are not retried at
    once.

    Raises:
        Invalid: a value has the wrong type or is out of range.
    """

    _group: ClassVar[str] = "retry."

    attempts: Annotated[
        Count,
        about(
            "maximum number of attempts, including the first",
            help="Maximum attempts if no start URL responds; default {default}.",
            panel=Panel.LIMITS,
            least=1,
            most=MAX_ATTEMPTS,
        ),
    ] = 1
    first_s: Annotated[
        Seconds,
        about(
            "wait before the second attempt",
            label="First retry after",
            help="Wait before the second attempt; later waits are longer; default {default}.",
            panel=Panel.LIMITS,
            flag="--retry-wait",
            least=0,
            most=FOREVER_S,
        ),
    ] = 30.0
    factor: Annotated[
        float,
        about(
            "ratio of each wait to the previous one",
            label="Growth of the wait",
            least=1,
            most=_MAX_FACTOR,
        ),
    ] = 2.0
    jitter: Annotated[
        float,
        about(
            "fraction of a wait that is random", label="Random share of the wait", least=0, most=1
        ),
    ] = 0.2
    cap_s: Annotated[
        Seconds, about("the longest wait", label="Longest wait", least=0, most=FOREVER_S)
    ] = 3600.0
    reasons: Annotated[
        frozenset[RetryReason], about("reasons that are retried", label="Retry after")
    ] = frozenset(RetryReason)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attempts > 1 and self.first_s < SHORTEST_S:
            wait = f"{self.first_s:g} s"
            raise Invalid("retry.first_s", f"expected at least 1 s between attempts, got {wait}")

    def wait(self, failures: int, chance: float) -> timedelta | None:
        """Return how long to wait after the *failures*-th failure; ``None`` to give up.

        *chance* is a random number from 0 to 1, drawn by the caller; 0 gives the longest wait.
        """
        if failures >= self.attempts:
            return None
        # after 64 doublings every wait is the cap: no overflow for absurd counts
        grown = self.first_s * self.factor ** min(max(failures, 1) - 1, 64)
        full = min(grown, max(self.cap_s, self.first_s))
        return timedelta(seconds=full * (1 - self.jitter * chance))
