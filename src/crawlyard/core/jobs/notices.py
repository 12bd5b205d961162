"""Wakeup notices: messages that processes on Postgres send each other."""

from collections import Counter
from collections.abc import Collection
from itertools import islice

from msgspec import DecodeError, Struct, json

from crawlyard.core.jobs.queue import Wakeup

CHANNEL = "crawlyard_due"
"""The notification channel, in the database of the instance."""

_MOST = 100
"""Maximum notices sent at once. Polling finds the rest."""

_MOST_BYTES = 7_000  # of a notice: Postgres accepts 8,000


class WakeupNotice(Struct, frozen=True, kw_only=True, array_like=True):
    """Wakeups of one kind, due in the same second."""

    at: float  # due time of the first, in seconds since 1970
    needs: str = ""  # see `Wakeup`
    urgent: bool = False
    shard: bool = False
    count: int = 1


def encode_notices(dues: Collection[Wakeup]) -> list[str]:
    """Return the notices for *dues*, soonest first.

    Tags that are too long for a notice are left out: it then wakes workers that may not match.
    """
    firsts: dict[tuple[int, str, bool, bool], float] = {}
    counts: Counter[tuple[int, str, bool, bool]] = Counter()
    for due in sorted(dues):
        at = due.at.timestamp()
        needs = due.needs if len(json.encode(due.needs)) <= _MOST_BYTES else ""
        kind = (int(at), needs, due.urgent, due.shard)
        firsts.setdefault(kind, at)
        counts[kind] += 1
    notices = (
        WakeupNotice(at=at, needs=needs, urgent=urgent, shard=shard, count=counts[kind])
        for kind, at in firsts.items()
        for _, needs, urgent, shard in (kind,)
    )
    return [json.encode(notice).decode() for notice in islice(notices, _MOST)]


def read(text: str) -> WakeupNotice | None:
    """Return the notice in *text*, or ``None`` if it is not one that this version can read."""
    try:
        return json.decode(text, type=WakeupNotice)
    except DecodeError:
        return None
