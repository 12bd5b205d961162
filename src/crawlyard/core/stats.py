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
    """Failed URLs of one host. If there are very many, only the latest are counted."""

    host: str  # with its port if that is not the scheme's default
    errors: int  # total
    kinds: Mapping[str, int]  # most frequent first
    last_at: datetime


class StepOut(Wire, frozen=True, kw_only=True):
    """Jobs that ended in one stretch of time, by state."""

    at: datetime  # start of the stretch
    ended: Mapping[str, int]
    stopped: int  # completed jobs that a limit ended early
    stopped_by_user: int  # jobs that a user cancelled, and whose pages are kept


class DayOut(Wire, frozen=True, kw_only=True):
    """Usage on one UTC day."""

    day: date
    pages: int
    bytes: int
    errors: int

    @classmethod
    def of(cls, day: date, usage: Usage) -> "DayOut":
        """Return the answer for one UTC day."""
        return cls(day=day, pages=usage.pages, bytes=usage.bytes, errors=usage.errors)


class CardsOut(Wire, frozen=True, kw_only=True):
    """Key figures: current state, jobs that ended in the range, usage."""

    jobs: Mapping[str, int]  # by state
    workers: int
    ended: Mapping[str, int]  # by state
    pages_today: int
    bytes_today: int
    errors_today: int
    pages: int  # in all `days`
    bytes: int
    errors: int
    slots: int  # of all workers that claim jobs
    slots_used: int
    oldest_wait_s: float | None  # of the job that has been due longest; null: none waits
    pages_per_s: float  # currently
    disk_free_bytes: int | None  # of the data directory; null if the caller is not an admin
    disk_total_bytes: int | None


class StatsOut(Wire, frozen=True, kw_only=True):
    """Figures for a dashboard."""

    object: Literal["stats"] = "stats"
    since: datetime
    until: datetime
    step_s: float
    cards: CardsOut
    finished: tuple[StepOut, ...]  # the earliest first
    days: tuple[DayOut, ...]  # the earliest first
    failing_hosts: tuple[FailingHost, ...]  # at most ten, with the most failures first


class JobRunOut(Wire, frozen=True, kw_only=True):
    """Start and end of one job."""

    job_id: str
    name: str
    schedule_id: str | None
    state: str
    stopped: bool  # a limit ended it early
    pages: int
    started_at: datetime  # first start
    ended_at: datetime | None  # null: still running


class RunsOut(Wire, frozen=True, kw_only=True):
    """Jobs that ran in a range of time, latest start first."""

    object: Literal["runs"] = "runs"
    since: datetime
    until: datetime
    items: tuple[JobRunOut, ...]
    whole: bool  # nothing was left out


class PaceStepOut(Wire, frozen=True, kw_only=True):
    """Activity of all jobs in one stretch of time."""

    at: datetime  # start of the stretch
    pages: int
    errors: int
    latency_ms: float | None  # the mean of all responses; null: there was none


class PaceOut(Wire, frozen=True, kw_only=True):
    """Activity of all jobs in a range of time, in steps."""

    object: Literal["pace"] = "pace"
    since: datetime
    until: datetime
    step_s: float
    steps: tuple[PaceStepOut, ...]  # the earliest first
    whole: bool  # false: only the jobs that ended last are included


def pace_of(
    points: Iterable[Point], since: datetime, step: timedelta, count: int
) -> list[PaceStepOut]:
    """Return *count* steps from *since* on, each with the points that start in it."""
    pages, errors, latency_sums = [0] * count, [0] * count, [0.0] * count
    for point in points:
        index = (point.at - since) // step
        if 0 <= index < count:
            pages[index] += point.pages
            errors[index] += point.errors
            latency_sums[index] += point.latency_ms * point.pages
    return [
        PaceStepOut(
            at=since + index * step,
            pages=pages[index],
            errors=errors[index],
            latency_ms=round(latency_sums[index] / pages[index], 1) if pages[index] else None,
        )
        for index in range(count)
    ]


def rank_failing_hosts(
    failures: Iterable[tuple[str, ErrorKind, int, datetime]],
) -> list[FailingHost]:
    """Return the hosts with failed URLs, those with the most failures first.

    *failures* has, for each host and kind, the number of failures and the time of the last one.
    """
    counts_by_host: dict[str, Counter[ErrorKind]] = {}
    last_at: dict[str, datetime] = {}
    for host, kind, count, at in failures:
        counts_by_host.setdefault(host, Counter())[kind] += count
        last_at[host] = max(at, last_at.get(host, at))
    hosts = [
        FailingHost(
            host=host,
            errors=counts.total(),
            kinds={
                str(kind): count
                for kind, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
            },
            last_at=last_at[host],
        )
        for host, counts in counts_by_host.items()
    ]
    return sorted(hosts, key=lambda host: (-host.errors, host.host))
