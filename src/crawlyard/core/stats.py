"""Statistics for the dashboard."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Literal

from msgspec import Struct

from crawlyard.core.answer import Wire
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.job_log import Point
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
    stopped: int  # of those that completed: a limit ended them before all was fetched
    stopped_by_user: int  # of those that were cancelled: by a user, with pages that are kept


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


class JobRunOut(Wire, frozen=True, kw_only=True):
    """When one job ran."""

    job_id: str
    name: str
    schedule_id: str | None
    state: str
    stopped: bool  # a limit ended it before all was fetched
    pages: int
    started_at: datetime  # the first time
    ended_at: datetime | None  # null: it has not


class RunsOut(Wire, frozen=True, kw_only=True):
    """Jobs that ran in a range of time, those that began last first."""

    object: Literal["runs"] = "runs"
    since: datetime
    until: datetime
    items: tuple[JobRunOut, ...]
    whole: bool  # nothing was left out


class PaceStepOut(Wire, frozen=True, kw_only=True):
    """What all jobs did in one stretch of time."""

    at: datetime  # its beginning
    pages: int
    errors: int
    latency_ms: float | None  # the mean of all responses; null: there was none


class PaceOut(Wire, frozen=True, kw_only=True):
    """What all jobs did in a range of time, by steps."""

    object: Literal["pace"] = "pace"
    since: datetime
    until: datetime
    step_s: float
    steps: tuple[PaceStepOut, ...]  # the earliest first
    whole: bool  # false: only the jobs that ended last are in it


def pace_of(
    points: Iterable[Point], since: datetime, step: timedelta, count: int
) -> list[PaceStepOut]:
    """Return *count* steps from *since* on, each with the points that begin in it."""
    pages, errors, waited = [0] * count, [0] * count, [0.0] * count
    for point in points:
        n = (point.at - since) // step
        if 0 <= n < count:
            pages[n] += point.pages
            errors[n] += point.errors
            waited[n] += point.latency_ms * point.pages
    return [
        PaceStepOut(
            at=since + n * step,
            pages=pages[n],
            errors=errors[n],
            latency_ms=round(waited[n] / pages[n], 1) if pages[n] else None,
        )
        for n in range(count)
    ]


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
