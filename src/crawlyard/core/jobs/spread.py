"""One job over several workers: how its hosts are cut into shards, and what each may use."""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import StrEnum

from msgspec import Struct, field

from crawlyard.core.jobs.limits import Decision, Limits, Usage, Used
from crawlyard.errors import Invalid

BUCKETS = 64
"""Hosts fall into so many; a shard has some of these. More shards would have none."""

MOST_SHARDS = BUCKETS

REST = timedelta(seconds=2)
"""A worker that has a shard of a job takes a second one when that was free for so long."""

LINGER = timedelta(seconds=2)
"""A shard that has run dry waits so long for links from others before it is given back."""

COUNTED = ("pages", "bytes", "errors")
"""The limits that are handed out in portions; running time is the job's, not a shard's."""

_PORTION: Mapping[str, int] = {"pages": 1_000, "bytes": 256 * 1024 * 1024, "errors": 1_000}

_HOSTS_A_SHARD = 8
_MOST_UNASKED = 8
_WORTH_S = 60.0


class Spread(StrEnum):
    """As a number of shards: the word for what the yard finds right."""

    AUTO = "auto"


Asked = int | Spread
"""How many shards a spec asks for: 0 and 1 are one worker."""

Budget = Mapping[str, int]
"""What a shard may still use, by the names of `COUNTED`; one that is missing has no limit."""


def check_spread(asked: Asked) -> None:
    """Check the number of shards that a spec asks for.

    Raises:
        Invalid: it is out of its range.
    """
    if not isinstance(asked, Spread) and not 0 <= asked <= MOST_SHARDS:
        raise Invalid("spread", f'expected 0 to {MOST_SHARDS}, or "auto", got {asked}')


def bucket_of(host: str) -> int:
    """Return the bucket of *host*, the same for ever and everywhere."""
    return hashlib.blake2b(host.encode("utf-8", "replace"), digest_size=1).digest()[0] % BUCKETS


def buckets_of(shard: int, of: int) -> tuple[int, ...]:
    """Return the buckets of *shard*, one of the numbers from 1 to *of*."""
    return tuple(range(shard - 1, BUCKETS, of))


def shard_of(host: str, of: int) -> int:
    """Return the shard that *host* belongs to, from 1 to *of*."""
    return bucket_of(host) % of + 1


class Extent(Struct, frozen=True, kw_only=True):
    """How large a job is, as far as anybody knows before it begins or goes on."""

    hosts: int  # that have something waiting
    waiting: int  # URLs
    rate: float = 0.0  # URLs done a second when it last ran; 0: unknown


def shards_for(asked: Asked, extent: Extent) -> int:
    """Return into how many shards a job is to be cut; 0: into none, one worker has it all.

    *asked* is a number, or `Spread.AUTO`: one shard for each eight hosts and at most
    eight, unless one worker would be through within a minute.
    """
    if isinstance(asked, Spread):
        if extent.rate > 0 and extent.waiting / extent.rate < _WORTH_S:
            return 0
        asked = min(_MOST_UNASKED, extent.hosts // _HOSTS_A_SHARD)
    return asked if asked > 1 else 0


# -- limits ------------------------------------------------------------------------------


def spent(budget: Budget, usage: Usage) -> Budget:
    """Return what is left of *budget* after *usage*."""
    return {name: max(0, left - getattr(usage, name)) for name, left in budget.items()}


def granted(limits: Limits, used: Usage, mine: Budget, others: Iterable[Budget], of: int) -> Budget:
    """Return what a shard may use from now on of its job's *limits*, *mine* being what it has.

    *used* is what the whole job has used, *others* is what its other shards may still
    use. One of *of* shards is given at most half of its share of what is left: portions
    get smaller near the end, and all of them together never pass the limit.
    """
    held = tuple(others)
    budget: dict[str, int] = {}
    for name in COUNTED:
        ceiling = getattr(limits, name)
        if ceiling is None:
            continue
        taken = sum(other.get(name, 0) for other in held)
        room = max(0, ceiling - getattr(used, name) - taken)
        portion = max(1, min(_PORTION[name], room // (2 * of)))
        budget[name] = min(room, max(mine.get(name, 0), portion))
    return budget


def usable(budget: Budget) -> bool:
    """Tell whether a shard with *budget* may begin a request."""
    return all(left > 0 for left in budget.values())


def once(duration_s: float, apart_s: float | None) -> float:
    """Return how much of a shard's *duration_s* is running time of its job.

    *apart_s* is how long ago the last checkpoint of any shard was, ``None`` for never: time
    before it has been counted.
    """
    return duration_s if apart_s is None else max(0.0, min(duration_s, apart_s))


class Share(Struct, frozen=True, kw_only=True):
    """What the holder of a shard is told of the job beside its order."""

    budget: Budget = field(default_factory=dict)  # all that it has recorded is counted
    left_s: float | None = None  # of the job's running time; None: no limit
    over: str | None = None  # the limit of the job that is used up
    waiting: bool | None = None  # something does in the job; None: nobody has looked
    stay: bool = True  # others work, and no shard waits to be taken: links may come from them


class Allowance(Struct, frozen=True):
    """A `Share` as ceilings for a crawl that has counted *told* up to then."""

    told: Usage
    share: Share

    def decide(self, usage: Used, in_flight: int = 0) -> Decision:
        """Return whether a fetch may begin, *in_flight* others being under way.

        A used-up budget ends no crawl: the next checkpoint may bring more.
        """
        for name, left in self.share.budget.items():
            flying = in_flight if name == "pages" else 0
            if getattr(usage, name) + flying >= getattr(self.told, name) + left:
                return Decision(allowed=False, limit=name, detail="the shard's part is used up")
        left_s = self.share.left_s
        if left_s is not None and usage.duration_s >= self.told.duration_s + left_s:
            return Decision(allowed=False, limit="duration", detail="the time is over")
        return Decision(allowed=self.share.over is None, limit=self.share.over)
