"""Answers about hosts and their rules."""

from datetime import datetime
from typing import Literal

from msgspec.structs import replace

from crawlyard.core.answer import Wire, derive_answer
from crawlyard.core.hosts.hosts import HostRule


@derive_answer
class HostRuleOut(HostRule, Wire, frozen=True, kw_only=True):
    """Rule that operators set for a host, for all jobs of all users."""

    updated_by: str


class HostOut(Wire, frozen=True, kw_only=True):
    """Load on one host by all workers together, the jobs behind it, and its rule."""

    host: str
    object: Literal["host"] = "host"
    state: str  # of its rule; open without one
    version: int  # of its rule; 0: it has none
    rule: HostRuleOut | None
    in_flight: int
    at_once: int  # 0: no worker sends requests to it now
    delay_s: float
    delay_from: str  # job, robots, rule or others: a job of another worker
    refusals: int  # 429 and 503, in a row
    held_until: datetime | None  # the host requested a pause (Retry-After)
    booked_until: datetime | None  # the first time that is not booked
    waiting: int  # URLs in the memory of workers, at most some 10,000 per job; of all jobs
    jobs: tuple[str, ...]
    others: int  # number of jobs of other users
    workers: tuple[str, ...]

    def under(self, rule: HostRule | None) -> "HostOut":
        """Return the answer with *rule* in force; ``None``: the host has no rule."""
        if rule is None:
            return self
        answer = HostRuleOut.filled(rule)
        return replace(self, state=answer.state, version=answer.version, rule=answer)
