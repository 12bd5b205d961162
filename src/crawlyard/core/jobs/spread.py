"""Spread jobs: how the hosts of one job are split into shards, and what each shard may use."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import lru_cache
from typing import TypeAlias

from msgspec import Struct, field

from crawlyard.core.jobs.limits import Counters, Decision, Limits, Usage
from crawlyard.core.jobs.spec import MOST_SHARDS, Spread, SpreadOver
from crawlyard.core.parse import hosts_in

BUCKETS = MOST_SHARDS
"""The number of hash buckets for hosts. Each shard has some of them; more shards would get none."""

REST = timedelta(seconds=2)
"""How long a free shard is left to workers that have no other shard of its job, and a shard that
was given back for a certain worker to that worker."""

LINGER = timedelta(seconds=2)
"""How long a shard without URLs waits for links from other shards before it is released."""

COUNTED = ("pages", "bytes", "errors", "render_s")
"""The limits that are handed out in portions; running time belongs to the job, not to a shard."""

_PORTION: Mapping[str, float] = {
    "pages": 1_000,
    "bytes": 256 * 1024 * 1024,
    "errors": 1_000,
    "render_s": 60.0,
}

_HOSTS_A_SHARD = 8
_MOST_UNASKED = 8
_WORTH_S = 60.0


Budget = Mapping[str, float]
"""What a shard may still use, by the names in `COUNTED`; a missing name means no limit."""


Starts: TypeAlias = tuple[str, ...]
"""The hosts of a job that have buckets in turn, its first start hosts; all others have a hash."""


def starts_of(urls: Iterable[str]) -> Starts:
    """Return the first hosts of start URLs, one for each bucket: a hash of few hosts is uneven."""
    hosts: dict[str, None] = {}
    for url in urls:
        if len(hosts) == BUCKETS:
            break
        hosts |= dict.fromkeys(hosts_in((url,))[-1:])  # with its port, if it has one
    return tuple(hosts)


@lru_cache(maxsize=256)
def _places(starts: Starts) -> Mapping[str, int]:
    return {host: place for place, host in enumerate(starts)}


def bucket_of(host: str, starts: Starts = ()) -> int:
    """Return the bucket of *host*, which never changes within a job."""
    if starts and (place := _places(starts).get(host)) is not None:
        return place
    return hashlib.blake2b(host.encode("utf-8", "replace"), digest_size=1).digest()[0] % BUCKETS


def buckets_of(shard: int, of: int) -> tuple[int, ...]:
    """Return the buckets of *shard*, a number from 1 to *of*."""
    return tuple(range(shard - 1, BUCKETS, of))


def shard_of(host: str, of: int, starts: Starts = ()) -> int:
    """Return the shard of *host*, from 1 to *of*."""
    return bucket_of(host, starts) % of + 1


def to_give_back(holders: Mapping[int, str], coming: Iterable[str], asker: str) -> int | None:
    """Return the shard of a job that its holder gives back for *asker*, a worker with a free slot.

    *holders* has the holders of the shards in which something waits, *coming* the workers for which
    others are being given back. Of the holder with the most shards, it is the last one, if *asker*
    has at least two fewer. So all have the same number in the end, or one more; as each move
    makes the difference smaller, none is undone by the next.
    """
    counts = Counter([*holders.values(), *coming])
    holder = max(holders.values(), key=lambda worker: (counts[worker], worker), default=asker)
    if counts[holder] < counts[asker] + 2:
        return None
    return max(number for number, worker in holders.items() if worker == holder)


class Extent(Struct, frozen=True, kw_only=True):
    """Size of a job, as far as known before it starts or continues."""

    hosts: int  # with waiting URLs
    waiting: int  # URLs
    rate: float = 0.0  # URLs done per second when it last ran; 0: unknown


def shards_for(spread: SpreadOver, extent: Extent) -> int:
    """Return how many shards to split a job into; 0 means none: one worker runs all of it.

    *spread* is a number, or `Spread.AUTO`: one shard per eight hosts, at most eight, unless one
    worker would finish within a minute.
    """
    if isinstance(spread, Spread):
        if extent.rate > 0 and extent.waiting / extent.rate < _WORTH_S:
            return 0
        spread = min(_MOST_UNASKED, extent.hosts // _HOSTS_A_SHARD)
    return spread if spread > 1 else 0


# -- limits ------------------------------------------------------------------------------


def subtract_usage(budget: Budget, usage: Usage) -> Budget:
    """Return what is left of *budget* after *usage*."""
    return {name: max(0, amount - getattr(usage, name)) for name, amount in budget.items()}


def grant_budget(
    limits: Limits, used: Usage, mine: Budget, other_budgets: Iterable[Budget], of: int
) -> Budget:
    """Return the new budget of a shard from its job's *limits*; *mine* is its current one.

    *used* is the usage of the whole job; *other_budgets* are those of its other shards. With *of*
    shards, each gets at most half of its share of what is left. Portions get smaller near the end,
    and all portions together never exceed the limit.
    """
    budgets = tuple(other_budgets)
    budget: dict[str, float] = {}
    for name in COUNTED:
        ceiling = getattr(limits, name)
        if ceiling is None:
            continue
        reserved = sum(other.get(name, 0) for other in budgets)
        room = max(0, ceiling - getattr(used, name) - reserved)
        portion = max(1, min(_PORTION[name], room // (2 * of)))
        budget[name] = min(room, max(mine.get(name, 0), portion))
    return budget


def usable(budget: Budget) -> bool:
    """Return whether a shard with *budget* may start a request."""
    return all(amount > 0 for amount in budget.values())


def once(duration_s: float, apart_s: float | None) -> float:
    """Return how much of a shard's *duration_s* counts as running time of its job.

    *apart_s* is the time since the last checkpoint of any shard, ``None`` if there was none; time
    before it has been counted already.
    """
    return duration_s if apart_s is None else max(0.0, min(duration_s, apart_s))


class Share(Struct, frozen=True, kw_only=True):
    """Facts about the job that the holder of a shard gets in addition to its order."""

    budget: Budget = field(default_factory=dict)  # everything it has recorded is already counted
    left_s: float | None = None  # running time left for the job; None: no limit
    over: str | None = None  # the job's limit that is used up
    waiting: bool | None = None  # the job has waiting URLs; None: not checked
    stay: bool = True  # others are working, and no shard is free: links may come from them


class Allowance(Struct, frozen=True):
    """A `Share` as limits for a crawl whose counters were at *told* when it was granted."""

    told: Usage
    share: Share

    def decide(self, usage: Counters, in_flight: int = 0) -> Decision:
        """Return whether a fetch may start while *in_flight* others are under way.

        A used-up budget does not end the crawl: the next checkpoint may extend it.
        """
        for name, amount in self.share.budget.items():
            flying = in_flight if name == "pages" else 0
            if getattr(usage, name) + flying >= getattr(self.told, name) + amount:
                return Decision(allowed=False, limit=name, detail="the shard's part is used up")
        left_s = self.share.left_s
        if left_s is not None and usage.duration_s >= self.told.duration_s + left_s:
            return Decision(allowed=False, limit="duration", detail="the time is over")
        return Decision(allowed=self.share.over is None, limit=self.share.over)
