"""Snapshot of the current load, in single figures."""

from datetime import timedelta

from msgspec import Struct

from crawlyard.core.overview.attention import Disk


class Snapshot(Struct, frozen=True, kw_only=True):
    """The current load, of one user's jobs or of all."""

    slots: int = 0  # of all workers that take jobs, for any owner
    slots_used: int = 0
    oldest_wait: timedelta | None = None  # of the job that has been due longest; None: none waits
    pages_per_s: float = 0.0
    disk: Disk | None = None  # None: not shown, or there is none
