"""Creation times in job ids: a UUIDv7 begins with the milliseconds since 1970.

Source: RFC 9562, section 5.7.
"""

import re
from datetime import UTC, datetime, timedelta

SLACK = timedelta(minutes=1)
"""Most by which the time in an id may differ from `created_at`."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_SLACK_MS = SLACK // _MILLISECOND
_MOST = 2**48 - 1
_SHAPE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_dated(job_id: str, made_at: datetime) -> bool:
    """Return whether the time in an id matches *made_at*, up to `SLACK`."""
    if _SHAPE.fullmatch(job_id) is None:
        return False
    apart = int(job_id[:8] + job_id[9:13], 16) - (made_at - _EPOCH) // _MILLISECOND
    return abs(apart) <= _SLACK_MS


def least_id(made_from: datetime) -> str:
    """Return a lower bound of the ids of dated jobs made at *made_from* or later."""
    return f"{_begin(made_from, -SLACK)}-0000-0000-000000000000"


def most_id(made_until: datetime) -> str:
    """Return an upper bound of the ids of dated jobs made until *made_until*."""
    return f"{_begin(made_until, SLACK)}-ffff-ffff-ffffffffffff"


def _begin(at: datetime, slack: timedelta) -> str:
    # not `at + slack`: the sum may be out of the range of datetime
    number = (at - _EPOCH) // _MILLISECOND + slack // _MILLISECOND
    text = f"{min(max(number, 0), _MOST):012x}"
    return f"{text[:8]}-{text[8:]}"
