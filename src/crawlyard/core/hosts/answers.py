"""Answers about hosts and their rules."""

from datetime import datetime
from typing import Literal

from msgspec.structs import replace

from crawlyard.core.answer import Wire, derived
from crawlyard.core.hosts.hosts import HostRule


@derived
class HostRuleOut(HostRule, Wire, frozen=True, kw_only=True):
    """What operators say of a host, for all jobs of all users."""

    updated_by: str


class HostOut(Wire, frozen=True, kw_only=True):
    """What is done to one host by all workers together and for whom, and what is said of it."""

    host: str
    object: Literal["host"] = "host"
    state: str  # of its rule; open without one
    version: int  # of its rule; 0: it has none
    rule: HostRuleOut | None
    in_flight: int
    at_once: int  # 0: nobody asks it now
    delay_s: float
    delay_from: str  # job, robots, rule or others: a job of another worker
    refusals: int  # 429 and 503, in a row
    held_until: datetime | None  # it asked for a rest
    booked_until: datetime | None  # the first instant that is not booked
    waiting: int  # URLs that workers have in memory, at most some 10,000 of a job; of all jobs
    jobs: tuple[str, ...]
    others: int  # jobs of others
    workers: tuple[str, ...]

    def under(self, rule: HostRule | None) -> "HostOut":
        """Return the host with its rule."""
        if rule is None:
            return self
        answer = HostRuleOut.filled(rule)
        return replace(self, state=answer.state, version=answer.version, rule=answer)
