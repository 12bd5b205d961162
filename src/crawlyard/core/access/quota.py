"""User quotas: as they are set, and when they keep jobs waiting."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import asdict

from crawlyard.core.access.user import Quota
from crawlyard.core.jobs.limits import Limits, Usage

DAILY: Mapping[str, str] = {"pages_per_day": "pages", "bytes_per_day": "bytes"}
"""The daily parts of a quota, and the usage that each one counts."""


def limited(quota: Quota) -> bool:
    """Return whether *quota* can hold jobs back at all; only then is it checked at a claim."""
    return any(getattr(quota, part) is not None for part in ("running", *DAILY))


def held_back(quota: Quota, running: int, today: Usage) -> str | None:
    """Return which part of *quota* prevents another job from starting; ``None`` if none does.

    The user has *running* jobs already; *today* is their usage on the day `day_of` now.
    """
    if quota.running is not None and running >= quota.running:
        return "running"
    return spent(quota, today)


def spent(quota: Quota, today: Usage) -> str | None:
    """Return which daily part of *quota* is used up, so that running jobs must stop too.

    ``None`` if none is.
    """
    for part, used in DAILY.items():
        most: int | None = getattr(quota, part)
        if most is not None and getattr(today, used) >= most:
            return part
    return None


def day_of(now: datetime) -> date:
    """Return the UTC day of *now*."""
    return now.astimezone(UTC).date()


# --- as they are asked for: with bounds, and unknown fields refused

_Jobs = Annotated[int, Meta(ge=0, le=10**6)]
_Waiting = Annotated[int, Meta(ge=0, le=10**9)]
_PerDay = Annotated[int, Meta(ge=0, le=10**15)]
_BytesPerDay = Annotated[int, Meta(ge=0, le=10**18)]
_Many = Annotated[int, Meta(ge=1, le=10**15)]
_Bytes = Annotated[int, Meta(ge=1, le=10**18)]
_Seconds = Annotated[float, Meta(gt=0, le=10**9)]


class CeilingsAsk(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ceilings of one job; null is none."""

    pages: _Many | None = None
    bytes: _Bytes | None = None
    duration_s: _Seconds | None = None
    errors: _Many | None = None


class QuotaAsk(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a user may have at most; null is as much as they like."""

    running: _Jobs | None = None
    pending: _Waiting | None = None
    pages_per_day: _PerDay | None = None
    bytes_per_day: _BytesPerDay | None = None
    ceilings: CeilingsAsk = CeilingsAsk()

    @property
    def quota(self) -> Quota:
        """Return what is asked for."""
        return Quota(**asdict(self) | {"ceilings": Limits(**asdict(self.ceilings))})
