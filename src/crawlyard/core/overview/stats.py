"""Figures for a dashboard."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta

from msgspec import Struct

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.limits import Usage


class StatsStep(Struct, frozen=True, kw_only=True):
    """What ended in one stretch of time."""

    at: datetime  # its beginning
    ended: Mapping[State, int]  # jobs, by the state that they have now


class DayFigures(Struct, frozen=True, kw_only=True):
    """What was fetched on one day, of UTC."""

    day: date
    usage: Usage  # pages, bytes and errors


class FailingHost(Struct, frozen=True, kw_only=True):
    """How often URLs of one host failed for good."""

    host: str  # with a port that is not its scheme's own
    kinds: Mapping[ErrorKind, int]  # the most frequent first
    last_at: datetime

    @property
    def errors(self) -> int:
        """Return how often, whatever the kind."""
        return sum(self.kinds.values())


def failing_hosts(found: Iterable[tuple[str, ErrorKind, int, datetime]]) -> list[FailingHost]:
    """Return the hosts of what failed, those that did most often first.

    *found*: of each host and kind how often, and when last.
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
    """What there is now, and what was done from *since* until *until*."""

    since: datetime
    until: datetime
    step: timedelta
    states: Mapping[State, int]  # jobs now, zeros included
    workers: int  # alive now
    ended: Mapping[State, int]  # jobs that ended meanwhile
    today: Usage  # pages, bytes and errors
    steps: tuple[StatsStep, ...]
    days: tuple[DayFigures, ...]
    failing: tuple[FailingHost, ...]  # those that failed most often, in front
