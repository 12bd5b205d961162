"""Statistics for the dashboard."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Literal

from msgspec import Struct

from crawlyard.core.answers.base import Wire
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.limits import Usage


class FailingHost(Struct, frozen=True, kw_only=True):
    """How often URLs of one host failed for good; of very many failures, the latest count."""

    host: str  # with its port if that is not the scheme's default
    errors: int  # of all kinds
    kinds: Mapping[str, int]  # most frequent first
    last_at: datetime


class StepOut(Wire, frozen=True, kw_only=True):
    """Jobs that ended in one stretch of time, by their state."""

    at: datetime  # its beginning
    ended: Mapping[str, int]


class DayOut(Wire, frozen=True, kw_only=True):
    """What was fetched on one day, of UTC."""

    day: date
    pages: int
    bytes: int
    errors: int

    @classmethod
    def of(cls, day: date, usage: Usage) -> "DayOut":
        """Return what *usage* says of *day*."""
        return cls(day=day, pages=usage.pages, bytes=usage.bytes, errors=usage.errors)


class CardsOut(Wire, frozen=True, kw_only=True):
    """Single figures: how things stand now, what ended in the range, what was fetched."""

    jobs: Mapping[str, int]  # by state
    workers: int
    ended: Mapping[str, int]  # by state
    pages_today: int
    bytes_today: int
    errors_today: int
    pages: int  # of all `days`
    bytes: int
    errors: int
    slots: int  # of all workers that take jobs
    slots_used: int
    oldest_wait_s: float | None  # of the job that is due longest; null: none waits
    pages_per_s: float  # now
    disk_free_bytes: int | None  # of the data directory; null: for admins alone
    disk_total_bytes: int | None


class StatsOut(Wire, frozen=True, kw_only=True):
    """Figures for a dashboard."""

    object: Literal["stats"] = "stats"
    since: datetime
    until: datetime
    step_s: float
    cards: CardsOut
    finished: tuple[StepOut, ...]  # the earliest first
    days: tuple[DayOut, ...]  # the same
    failing_hosts: tuple[FailingHost, ...]  # at most ten: those that failed most often first


def failing_hosts(found: Iterable[tuple[str, ErrorKind, int, datetime]]) -> list[FailingHost]:
    """Return the hosts with failed URLs, those with the most failures first.

    *found* has, for each host and kind, the number of failures and the time of the last one.
    """
    kinds: dict[str, Counter[ErrorKind]] = {}
    last: dict[str, datetime] = {}
    for host, kind, count, at in found:
        kinds.setdefault(host, Counter())[kind] += count
        last[host] = max(at, last.get(host, at))
    hosts = [
        FailingHost(
            host=host,
            errors=own.total(),
            kinds={str(kind): n for kind, n in sorted(own.items(), key=lambda p: (-p[1], p[0]))},
            last_at=last[host],
        )
        for host, own in kinds.items()
    ]
    return sorted(hosts, key=lambda one: (-one.errors, one.host))
