"""Quotas as they are asked for: the same as `Quota`, with bounds, and unknown fields refused."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from crawlyard.core.access.user import Quota
from crawlyard.core.faults import faults_of
from crawlyard.core.jobs.limits import Limits
from crawlyard.errors import Invalid

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

    @property
    def limits(self) -> Limits:
        """Return what is asked for."""
        return Limits(
            pages=self.pages, bytes=self.bytes, duration_s=self.duration_s, errors=self.errors
        )


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
        return Quota(
            running=self.running,
            pending=self.pending,
            pages_per_day=self.pages_per_day,
            bytes_per_day=self.bytes_per_day,
            ceilings=self.ceilings.limits,
        )


def quota_asked(value: Mapping[str, object]) -> QuotaAsk:
    """Return *value* as a quota that is asked for.

    Raises:
        Invalid: it is not a quota; the first field that is wrong is named.
    """
    try:
        return msgspec.convert(dict(value), QuotaAsk)
    except msgspec.ValidationError as error:
        path, _, said = next(faults_of(value, QuotaAsk, error))
        raise Invalid(f"quota.{path}" if path else "quota", said) from None
