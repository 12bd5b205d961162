"""Statistics for the dashboard."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta

from msgspec import Struct

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.limits import Usage


class StatsStep(Struct, frozen=True, kw_only=True):
    """The jobs that ended in one time step."""

    at: datetime  # start of the step
    ended: Mapping[State, int]  # jobs, by their current state


class DayFigures(Struct, frozen=True, kw_only=True):
    """What was fetched on one UTC day."""

    day: date
    usage: Usage  # pages, bytes and errors


class FailingHost(Struct, frozen=True, kw_only=True):
    """How often URLs of one host failed for good."""

    host: str  # with its port if that is not the scheme's default
    kinds: Mapping[ErrorKind, int]  # most frequent first
    last_at: datetime

    @property
    def errors(self) -> int:
        """Return the number of failures of all kinds."""
        return sum(self.kinds.values())


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
            kinds=dict(sorted(own.items(), key=lambda pair: (-pair[1], pair[0]))),
            last_at=last[host],
        )
        for host, own in kinds.items()
    ]
    return sorted(hosts, key=lambda one: (-one.errors, one.host))


class Figures(Struct, frozen=True, kw_only=True):
    """Current counts, and what was done from *since* until *until*."""

    since: datetime
    until: datetime
    step: timedelta
    states: Mapping[State, int]  # jobs now, zeros included
    workers: int  # alive now
    ended: Mapping[State, int]  # jobs that ended in that time
    today: Usage  # pages, bytes and errors
    steps: tuple[StatsStep, ...]
    days: tuple[DayFigures, ...]
    failing: tuple[FailingHost, ...]  # those with the most failures first
