"""Rate limits per client, and the headers that report them.

Source: draft-ietf-httpapi-ratelimit-headers.
"""

from collections.abc import Mapping
from enum import StrEnum, auto

from msgspec import Struct, field

from crawlyard.clock import Clock
from crawlyard.web.problems import Problem

WINDOW_S = 60
_MAX_CLIENTS = 10_000  # remembered; the longest idle are dropped first


class Bucket(StrEnum):
    """Requests that share one limit."""

    READ = auto()
    WRITE = auto()
    EXPORT = auto()
    PREVIEW = auto()  # sends requests to hosts
    LOGIN = auto()  # by address: there is no user yet


PER_MINUTE: Mapping[Bucket, int] = {
    Bucket.READ: 600,
    Bucket.WRITE: 120,
    Bucket.EXPORT: 10,
    Bucket.PREVIEW: 20,
    Bucket.LOGIN: 5,
}


class _Level(Struct):
    tokens: float
    at: float


class Rates(Struct):
    """A token bucket for each client, in this process; while *on* is false, none is taken."""

    clock: Clock
    on: bool = True
    _levels: dict[tuple[str, Bucket], _Level] = field(default_factory=dict)

    def take(self, client: str, bucket: Bucket) -> dict[str, str]:
        """Count one request, and return the headers of its response.

        Raises:
            Problem: too many requests.
        """
        most, now = PER_MINUTE[bucket], self.clock.monotonic()
        level = self._levels.pop((client, bucket), None) or _Level(float(most), now)
        level.tokens = min(most, level.tokens + (now - level.at) * most / WINDOW_S)
        level.at = now
        self._levels[client, bucket] = level  # at the end: the dict is in order of use
        while len(self._levels) > _MAX_CLIENTS:
            del self._levels[next(iter(self._levels))]
        headers = {"RateLimit-Policy": f'"{bucket}";q={most};w={WINDOW_S}'}
        if level.tokens < 1:
            wait_s = max(1, round((1 - level.tokens) * WINDOW_S / most))
            raise Problem(
                "rate_limited",
                f"expected at most {most} {bucket} requests per minute",
                more={"violated_policies": (str(bucket),)},
                headers=headers
                | {"Retry-After": str(wait_s), "RateLimit": f'"{bucket}";r=0;t={wait_s}'},
            )
        level.tokens -= 1
        full_s = round((most - level.tokens) * WINDOW_S / most)
        return headers | {"RateLimit": f'"{bucket}";r={int(level.tokens)};t={full_s}'}
