"""How often one asker may ask, and the headers that say what is left.

Source: draft-ietf-httpapi-ratelimit-headers.
"""

from collections.abc import Mapping
from enum import StrEnum, auto

from msgspec import Struct, field

from crawlyard.clock import Clock
from crawlyard.web.problems import Problem

WINDOW_S = 60
_MOST_ASKERS = 10_000  # remembered; the longest idle go first


class Bucket(StrEnum):
    """What is counted together."""

    READ = auto()
    WRITE = auto()
    EXPORT = auto()
    PREVIEW = auto()  # asks hosts
    LOGIN = auto()  # by address: nobody is known yet


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
    """A bucket of tokens for each asker, in this process; off, it lets everything through."""

    clock: Clock
    on: bool = True
    _levels: dict[tuple[str, Bucket], _Level] = field(default_factory=dict)

    def take(self, asker: str, bucket: Bucket) -> dict[str, str]:
        """Count one request, and return the headers that go with its answer.

        Raises:
            Problem: there were too many.
        """
        if not self.on:
            return {}
        most, now = PER_MINUTE[bucket], self.clock.monotonic()
        level = self._levels.pop((asker, bucket), None) or _Level(float(most), now)
        level.tokens = min(most, level.tokens + (now - level.at) * most / WINDOW_S)
        level.at = now
        self._levels[asker, bucket] = level  # last of all: in the order of their use
        while len(self._levels) > _MOST_ASKERS:
            del self._levels[next(iter(self._levels))]
        told = {"RateLimit-Policy": f'"{bucket}";q={most};w={WINDOW_S}'}
        if level.tokens < 1:
            wait_s = max(1, round((1 - level.tokens) * WINDOW_S / most))
            raise Problem(
                "rate_limited",
                f"expected at most {most} requests a minute of this kind ({bucket})",
                more={"violated_policies": (str(bucket),)},
                headers=told
                | {"Retry-After": str(wait_s), "RateLimit": f'"{bucket}";r=0;t={wait_s}'},
            )
        level.tokens -= 1
        full_s = round((most - level.tokens) * WINDOW_S / most)
        return told | {"RateLimit": f'"{bucket}";r={int(level.tokens)};t={full_s}'}
