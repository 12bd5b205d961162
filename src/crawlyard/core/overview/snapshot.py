"""How things stand at one moment, in single figures."""

from datetime import timedelta

from msgspec import Struct

from crawlyard.core.overview.attention import Disk


class Snapshot(Struct, frozen=True, kw_only=True):
    """What goes on now: of one user's jobs, or of all."""

    slots: int = 0  # of all workers that take jobs, whoever's
    slots_used: int = 0
    oldest_wait: timedelta | None = None  # of the job that is due longest; None: none waits
    pages_per_s: float = 0.0
    disk: Disk | None = None  # None: not told, or there is none
