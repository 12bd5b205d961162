"""Statistics for the dashboard."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.overview.attention import Disk


class Snapshot(Struct, frozen=True, kw_only=True):
    """The current load, of one user's jobs or of all."""

    slots: int = 0  # of all workers that take jobs, for any owner
    slots_used: int = 0
    oldest_wait: timedelta | None = None  # of the job that has been due longest; None: none waits
    pages_per_s: float = 0.0
    disk: Disk | None = None  # None: not shown, or there is none


class FailingHost(Struct, frozen=True, kw_only=True):
    """How often URLs of one host failed for good; of very many failures, the latest count."""

    host: str  # with its port if that is not the scheme's default
    errors: int  # of all kinds
    kinds: Mapping[str, int]  # most frequent first
    last_at: datetime


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
