"""Rules of leases, checkpoints and the shards of a spread job, as pure functions."""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta
from enum import Enum, auto

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.events.event import Event, EventName
from crawlyard.core.jobs.checkpoint import Batch, Claim, Lease, Order
from crawlyard.core.jobs.job import LOSSES_KEPT, Job, Shard
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.jobs.limits import Limits, Usage, breach
from crawlyard.core.jobs.pulse import Pulse
from crawlyard.core.jobs.spread import (
    REST,
    Budget,
    Share,
    grant_budget,
    once,
    starts_of,
    subtract_usage,
    to_give_back,
    usable,
)

_NO_PACE = Pulse()

_ADD_UP_AT_ONCE = 4
"""Number of workers that add up the totals of their job at each checkpoint: they share one row."""


class Worth(Enum):
    """Decision about a batch that arrives under a lease."""

    WRITE = auto()
    ANSWER = auto()  # already written, but the holder didn't get the answer
    REFUSE = auto()  # a later attempt has the job, or the job is gone


def is_current(lease: Lease, attempt: int, worker: str | None) -> bool:
    """Return whether a shard at *attempt*, leased to *worker*, is still that of *lease*.

    A failover to an asynchronous standby may lose a claim. The next claim has its number again,
    perhaps of another worker.
    """
    return attempt == lease.attempt and worker in {None, lease.worker}


def assess(lease: Lease, shard: Shard | None) -> Worth:
    """Decide about a batch that arrives under *lease*.

    *shard* is ``None`` if the job is gone. Only the next claim fences off old holders: a lease
    that expired or was released stays valid until then, so that no work in flight is thrown
    away. A lower *seq* than that of the lease means that a failover has lost checkpoints.
    """
    if shard is None or shard.seq < lease.seq:
        return Worth.REFUSE
    if not is_current(lease, shard.attempt, shard.worker):
        return Worth.REFUSE
    return Worth.ANSWER if shard.seq > lease.seq else Worth.WRITE


def order_of(
    lease: Lease,
    attempt: int,
    worker: str | None,
    state: State,
    version: int,
    *,
    yields: bool = False,
) -> Order:
    """Return the order to the holder of *lease*, given the stored state of the job.

    *yields*: the shard was given up for an urgent job. If no worker holds a job that isn't
    running, it was taken back from a worker that stalled for longer than its lease. Other
    workers may claim it now, so the old holder must not finish its requests first.
    """
    free = not lease.shard and worker is None
    if not is_current(lease, attempt, worker) or (free and state is not State.RUNNING):
        return Order.LOST
    if yields or state is not State.RUNNING:
        return Order.STOP
    return Order.GO_ON if version == lease.version else Order.CHANGED


def is_leased(shard: Shard, now: datetime) -> bool:
    """Return whether a lease on the shard is in force at *now*."""
    return shard.worker is not None and shard.lease_until is not None and shard.lease_until > now


def lease_to(shard: Shard, worker: str, until: datetime) -> Shard:
    """Return the shard leased to *worker* until *until*, under its next attempt."""
    return replace(shard, worker=worker, attempt=shard.attempt + 1, lease_until=until)


def release(shard: Shard) -> Shard:
    """Return the shard without a lease; its last holder may still write."""
    return replace(shard, worker=None, lease_until=None)


def fence(shard: Shard) -> Shard:
    """Return the shard without a lease, under a new attempt that fences off its last holder."""
    return replace(release(shard), attempt=shard.attempt + 1)


def apply_batch(
    shard: Shard, lease: Lease, batch: Batch, state: State, now: datetime, until: datetime
) -> Shard:
    """Return the shard after *batch*.

    The last batch releases the lease, except that of a running job: `settle` releases it
    together with the job's next state. Otherwise a worker that dies between the two would
    leave a job that runs forever, with no lease to expire. A job that was taken back
    stays free: its old holder must not keep others from claiming it. A heartbeat carries
    neither pulse nor current URL, so the previous ones are kept.
    """
    through = state is not State.RUNNING and (batch.last or shard.worker is None)
    return Shard(
        worker=None if through else lease.worker,
        attempt=shard.attempt,
        lease_until=None if through else until,
        seq=lease.seq + 1,
        usage=shard.usage.plus(batch.usage),
        pulse=shard.pulse if batch.pulse == _NO_PACE else batch.pulse,
        current_url=batch.current_url or shard.current_url,
        updated_at=now,
    )


# --- the shards of a spread job


BEFORE_CUT = -1
"""Number of the row with the usage of a job before it was cut."""


class Parts(Struct):
    """The shards of a job within one transaction, which writes back those it `touched`.

    The totals of the job, shard 0, are what it had used before it was cut and what its shards have
    used since. A checkpoint writes its own shard; the totals are added up later.
    """

    job_no: int
    total: Shard
    before: Shard | None = None  # `BEFORE_CUT`; None: never cut
    shards: dict[int, Shard] = field(default_factory=dict)  # in use, or left over from a wider cut
    count: int = 0  # of the shards in use
    in_turn: bool = False  # its start hosts have buckets in turn
    touched: set[int] = field(default_factory=set)
    stored: dict[int, Shard] = field(default_factory=dict)  # as read or written last

    def get(self, number: int) -> Shard | None:
        """Return a shard; number 0 is the shard of the job as a whole."""
        if number > 0:
            return self.shards.get(number)
        return self.total if number == 0 else self.before

    def set(self, number: int, shard: Shard) -> None:
        """Replace a shard; number 0 is the shard of the job as a whole."""
        if number > 0:
            self.shards[number] = shard
        elif number == 0:
            self.total = shard
        else:
            self.before = shard
        self.touched.add(number)

    def usage(self) -> Usage:
        """Return the usage of the job as of the last checkpoint of any of its shards.

        Shards work at the same time, which counts as running time once.
        """
        if self.before is None:
            return self.total.usage
        usage = self.before.usage.plus(self._usage_of_shards())
        counted_s = self.total.usage.duration_s
        recorded = [s for s in self.shards.values() if s.updated_at is not None]
        if not recorded:
            return self.total.usage
        since = self.total.updated_at or min(
            s.updated_at - timedelta(seconds=s.usage.duration_s) for s in recorded if s.updated_at
        )
        apart_s = (self._last_recorded_at() - since).total_seconds()
        more_s = once(max(0.0, usage.duration_s - counted_s), apart_s)
        return replace(usage, duration_s=counted_s + more_s)

    def add_up(self) -> None:
        """Bring the totals up to date. The caller has locked the row of shard 0."""
        usage = self.usage()
        if usage != self.total.usage:
            self.set(0, replace(self.total, usage=usage, updated_at=self._last_recorded_at()))
            self.rebase()

    def rebase(self) -> None:
        """Fix the totals at their current values; only later usage of shards is added to them."""
        if not self.shards:
            return
        before = self.total.usage.minus(self._usage_of_shards())
        if self.before is None or self.before.usage != before:
            self.set(BEFORE_CUT, Shard(usage=before))

    def _usage_of_shards(self) -> Usage:
        usage = Usage()
        for shard in self.shards.values():
            usage = usage.plus(shard.usage)
        return usage

    def _last_recorded_at(self) -> datetime:
        return max(s.updated_at for s in (self.total, *self.shards.values()) if s.updated_at)

    def in_use(self) -> Iterator[tuple[int, Shard]]:
        """Yield the shards that the job is cut into, by ascending number."""
        return ((n, self.shards[n]) for n in sorted(self.shards) if n <= self.count)

    def free(self) -> list[int]:
        """Return the numbers of the shards in use that no worker has, ascending."""
        return [n for n, shard in self.in_use() if shard.worker is None]

    def iterate_leased(self) -> Iterator[tuple[int, Shard]]:
        """Yield the shards with a lease, even if it has expired."""
        return ((n, s) for n, s in sorted(self.shards.items()) if s.worker is not None)

    def is_leased(self, now: datetime) -> bool:
        """Return whether a lease on any shard is in force at *now*."""
        return any(is_leased(shard, now) for shard in self.shards.values())

    def grant(self, number: int, limits: Limits, *, first: bool = False) -> None:
        """Grant a shard its next portion of the limits; the totals have been added up.

        The *first* one leaves something to shards that no worker has yet. Later ones are as large
        as the workers that are there allow: where the store is distant, they must last for long.
        """
        portion = self._portion(number, limits, self.count if first else self._leases())
        self.set(number, replace(self.shards[number], budget=portion))

    def is_short(self, number: int, limits: Limits) -> bool:
        """Return whether a shard has less than half of the portion that it would be granted now.

        Also if it has too much, as after an edit of the limits.
        """
        budget = self.shards[number].budget
        portion = self._portion(number, limits, self._leases())
        return budget.keys() != portion.keys() or any(
            not remaining <= portion[name] <= 2 * remaining for name, remaining in budget.items()
        )

    def _leases(self) -> int:
        return sum(1 for _ in self.iterate_leased())

    def _portion(self, number: int, limits: Limits, sharers: int) -> Budget:
        other_budgets = [shard.budget for n, shard in self.shards.items() if n != number]
        mine = self.shards[number].budget
        return grant_budget(limits, self.usage(), mine, other_budgets, max(1, sharers))

    def share(self, number: int, limits: Limits) -> Share:
        """Return the share of the job's limits for the holder of a shard."""
        usage, left_s = self.usage(), limits.duration_s
        left_s = None if left_s is None else left_s - usage.duration_s
        return Share(budget=self.shards[number].budget, left_s=left_s, over=breach(limits, usage))


def cut(parts: Parts, count: int, now: datetime) -> None:
    """Cut a job into *count* shards; no worker has a shard of it.

    New shards start from the job's own attempt number, so that their attempts are above any
    that was given before the job had shards.
    """
    parts.count = count
    for number in range(1, count + 1):
        if number not in parts.shards:
            parts.set(number, Shard(attempt=parts.total.attempt, freed_at=now))


def takeable(parts: Parts, worker: str, now: datetime) -> list[int]:
    """Return the numbers of the shards that *worker* may take, ascending.

    For `REST`, a shard that was given back for a worker is left to that one, and any other to
    workers that have no shard of the job.
    """
    has_one = any(shard.worker == worker for _, shard in parts.iterate_leased())

    def may_take(shard: Shard) -> bool:
        others_first = has_one if shard.asked_by is None else shard.asked_by != worker
        return not others_first or shard.freed_at is None or shard.freed_at <= now - REST

    return [n for n, shard in parts.in_use() if shard.worker is None and may_take(shard)]


def lease_shard(parts: Parts, number: int, job: Job, worker: str, until: datetime) -> Claim | None:
    """Lease a free shard; return ``None`` if a limit leaves nothing for it to use."""
    shard = parts.shards[number]
    mine = replace(
        shard,
        worker=worker,
        attempt=shard.attempt + 1,
        lease_until=until,
        freed_at=None,
        asked_by=None,
    )
    parts.set(number, replace(mine, budget={}))
    parts.grant(number, job.limits, first=True)
    share = parts.share(number, job.limits)
    if share.over is not None or not usable(share.budget):
        parts.set(number, shard)
        return None
    lease = Lease(
        job_id=job.id,
        job_no=parts.job_no,
        worker=worker,
        attempt=mine.attempt,
        seq=mine.seq,
        version=job.version,
        shard=number,
        of=parts.count,
        starts=starts_of(job.spec.urls) if parts.in_turn else (),
    )
    # runs alone if a worker died of this shard, even if the other shards are fine
    alone = replace(job, losses=max(job.losses, shard.deaths))
    total = replace(parts.total, worker=worker, lease_until=until)
    return Claim(lease=lease, job=alone, shard=total, share=share)


def to_yield(parts: Parts, worker: str) -> int | None:
    """Return the shard that *worker* gives up when an urgent job takes one of its slots.

    ``None``: *worker* has the only shard in progress, so the job as a whole returns to the queue.
    """
    going = [(n, shard.worker) for n, shard in parts.iterate_leased() if not shard.yields]
    mine = [n for n, holder in going if holder == worker]
    return mine[-1] if mine and len(going) > 1 else None


def to_ask_for(parts: Parts, worker: str, waiting: Collection[int]) -> int | None:
    """Return the shard that its holder should give back for *worker*, if any.

    *waiting* are the shards in which something waits.
    """
    there = [(n, shard) for n, shard in parts.in_use() if n in waiting]
    holders = {n: s.worker for n, s in there if s.worker is not None and not s.yields}
    coming = [s.asked_by for _, s in there if s.asked_by is not None]
    return to_give_back(holders, coming, worker)


def release_part(shard: Shard, now: datetime | None) -> Shard:
    """Return a shard released by its holder; its unused budget returns to the job.

    *now* ``None`` means that any worker may take it at once, without waiting for `REST`.
    """
    return replace(shard, worker=None, lease_until=None, budget={}, freed_at=now)


def fence_part(shard: Shard, now: datetime) -> Shard:
    """Return a shard taken from its holder, who is fenced off; its budget returns to the job."""
    return replace(fence(shard), budget={}, freed_at=now)


def apply_part_batch(
    parts: Parts, lease: Lease, batch: Batch, new_found: int, skipped: int, now: datetime
) -> None:
    """Apply *batch* to a shard.

    *new_found* and *skipped* count the URLs of the batch that were new to the store: several
    shards may find the same URL.
    """
    mine = parts.shards[lease.shard]
    own = replace(
        batch.usage,
        discovered=batch.usage.discovered - len(batch.found) + new_found,
        skipped=batch.usage.skipped - len(batch.skipped) + skipped,
    )
    parts.set(
        lease.shard,
        replace(
            mine,
            seq=lease.seq + 1,
            usage=mine.usage.plus(own),
            budget=subtract_usage(mine.budget, batch.usage),
            current_url=batch.current_url or mine.current_url,
            updated_at=now,
            deaths=min(mine.deaths, LOSSES_KEPT) if batch.pages else mine.deaths,
        ),
    )


def follow(parts: Parts, batch: Batch, now: datetime) -> None:
    """Add up the totals of a job, and give it the pace and the current URL of *batch*."""
    parts.add_up()
    total = parts.total
    pulse = total.pulse if batch.pulse == _NO_PACE else batch.pulse
    milestone = max(total.pulse.milestone, pulse.milestone)
    parts.set(
        0,
        replace(
            total,
            seq=total.seq + 1,
            pulse=replace(pulse, milestone=milestone),
            current_url=batch.current_url or total.current_url,
            # not before what was added up: that running time would be counted again
            updated_at=max(now, total.updated_at or now),
        ),
    )


def adds_up(parts: Parts, lease: Lease) -> bool:
    """Return whether this checkpoint of a shard adds up the totals of its job, if it can.

    With many workers, each does so at every second checkpoint, every third, and so on.
    """
    return lease.seq % max(1, sum(1 for _ in parts.iterate_leased()) // _ADD_UP_AT_ONCE) == 0


def renew(
    parts: Parts, lease: Lease, batch: Batch, job: State, now: datetime, until: datetime
) -> None:
    """Renew the lease of a shard; the last batch of a job that isn't running releases it."""
    mine = parts.shards[lease.shard]
    if batch.last and job is not State.RUNNING:
        parts.set(lease.shard, release_part(mine, now))
    else:
        parts.set(lease.shard, replace(mine, worker=lease.worker, lease_until=until))


def new_milestones(events: Sequence[Event], milestone: int) -> list[Event]:
    """Return the milestones of *events* above *milestone*: other shards have reported the rest."""
    return [event for event in events if is_milestone(event) and _percent(event) > milestone]


def is_milestone(event: Event) -> bool:
    """Return whether an event says that a job has passed a milestone."""
    return event.name is EventName.PROGRESSED


def _percent(event: Event) -> int:
    percent = event.data.get("percent")
    return percent if isinstance(percent, int) else 0


def after_loss(
    parts: Parts, numbers: Sequence[int], job: Job, decide: Callable[[Job], tuple[Job, Event]]
) -> tuple[Job, Event] | None:
    """Return the running *job* and its event after the holders of its shards *numbers* were lost.

    ``None`` while other shards go on and no shard has lost too many workers. *decide* determines
    the outcome of a loss; each shard counts its own losses.
    """
    worst: tuple[Job, Event] | None = None
    for number in numbers:
        shard = parts.shards[number]
        after, event = decide(replace(job, losses=max(job.losses, shard.deaths)))
        parts.set(number, replace(shard, deaths=after.losses))
        if worst is None or not _goes_on(after):
            worst = after, event
    if worst is None:
        return None
    others_work = any(shard.worker is not None for shard in parts.shards.values())
    return None if others_work and _goes_on(worst[0]) else worst


def _goes_on(job: Job) -> bool:
    """Return whether a job that has lost a worker may run again."""
    return job.state is State.PENDING and job.state_reason is StateReason.WORKER_LOST
