"""Wait reasons: everything a job is waiting for."""

from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum, auto

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.core.access.user import DAILY
from crawlyard.core.hosts.hosts import HostReport, HostState
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.jobs.queue import can_run
from crawlyard.core.jobs.spec import Priority
from crawlyard.core.quantity import count_noun
from crawlyard.core.workers.status import WorkerReport


class WaitReason(StrEnum):
    """Wait reasons of a job before its next page; this list is closed."""

    DUE_TIME = auto()  # pending: its start time has not come
    QUOTA = auto()  # pending: its owner's quota is used up
    LEASE = auto()  # pending: its last worker still stores what was in flight
    NO_WORKER = auto()  # pending: no live worker takes jobs
    WORKER_TAGS = auto()  # pending: no worker has its required tags
    SLOT = auto()  # pending: all slots of matching workers are taken or reserved
    QUEUE = auto()  # pending: other due jobs are ahead; `position`
    HOST = auto()  # running: all its hosts are on hold, or paused


_NONE_ALIVE = "no worker is alive; start one"
_ALL_DRAINING = "all live workers are draining or stopping"


class Wait(Struct, frozen=True, kw_only=True):
    """One thing a job is waiting for."""

    reason: WaitReason
    detail: str
    until: datetime | None = None  # expected end, if known
    quota: str | None = None  # of QUOTA: running, pages_per_day or bytes_per_day
    position: int | None = None  # of QUEUE, from 1; None: beyond the places counted
    hosts: tuple[str, ...] = ()  # of HOST


class Surroundings(Struct, frozen=True, kw_only=True):
    """The workers and queue places that a waiting job depends on."""

    workers: tuple[WorkerReport, ...]  # the live ones
    counted: int  # number of queue places that were counted

    @property
    def slots(self) -> int:
        """Number of jobs that may run at once."""
        return sum(worker.slots for worker in self.workers if worker.claims)

    def free(self, level: Priority) -> int:
        """Return how many more jobs of *level* may start now."""
        working = [worker for worker in self.workers if worker.claims]
        reserved = [0 if level is Priority.URGENT else worker.reserved for worker in working]
        pairs = zip(working, reserved, strict=True)
        return sum(max(0, worker.slots - len(worker.running) - n) for worker, n in pairs)

    def for_tags(self, needs: Collection[str]) -> "Surroundings":
        """Return the surroundings reduced to the workers with these tags."""
        able = tuple(w for w in self.workers if can_run(frozenset(w.tags), needs))
        return replace(self, workers=able)


def pending_waits(
    job: Job,
    now: datetime,
    quota: str | None,
    place: int | None,
    *,
    is_held: bool,
    among: Surroundings,
) -> tuple[Wait, ...]:
    """Return what a pending job waits for; what ends first comes first.

    *quota* is the part of its owner's quota that is used up. *place* is how many jobs are ahead of
    it (``None``: more than were counted). *is_held* means that its last worker has not released it
    yet.
    """
    waits: list[Wait] = []
    if job.due_at > now:
        is_retry = job.state_reason is StateReason.WAITING_RETRY
        detail = f"{'next attempt' if is_retry else 'starts'} in {_duration(job.due_at - now)}"
        waits.append(Wait(reason=WaitReason.DUE_TIME, detail=detail, until=job.due_at))
    if quota is not None:
        waits.append(_of_quota(job.owner, quota, now))
    if is_held:
        detail = "its last worker is still storing what was in flight"
        waits.append(Wait(reason=WaitReason.LEASE, detail=detail))
    if not among.slots:
        detail = _NONE_ALIVE if not among.workers else _ALL_DRAINING
        waits.append(Wait(reason=WaitReason.NO_WORKER, detail=detail))
    able = among.for_tags(job.spec.worker_tags)
    if among.slots and not able.slots:
        waits.append(_of_tags(job.spec.worker_tags))
    if job.due_at > now or quota is not None:
        return tuple(waits)
    among = able
    if among.slots and not among.free(job.level):
        slots = count_noun(among.slots, "slot")
        detail = f"every slot is taken ({slots} of {count_noun(len(among.workers), 'worker')})"
        if reserved := among.free(Priority.URGENT):
            free = count_noun(reserved, "free slot is", "free slots are")
            detail = f"the {free} reserved for urgent jobs"
        waits.append(Wait(reason=WaitReason.SLOT, detail=detail))
    waits.append(_of_queue(place, among.counted))
    return tuple(waits)


def running_waits(job: Job, now: datetime, workers: Collection[WorkerReport]) -> tuple[Wait, ...]:
    """Return the wait of a running job for its hosts, if all are on hold or paused."""
    every = (host for worker in workers for host in worker.hosts if job.id in host.jobs)
    active = [host for host in every if not host.idle]
    shut = [host for host in active if host.state is HostState.PAUSED]
    on_hold = [host for host in active if host not in shut and host.is_held(now)]
    if (
        not active
        or len(shut) + len(on_hold) < len(active)
        or any(host.in_flight for host in active)
    ):
        return ()
    until = min((host.held_until for host in on_hold if host.held_until is not None), default=None)
    details = [f"an operator has paused {_some(shut)}"] if shut else []
    if until is not None:
        details.append(
            f"{_some(on_hold)} refused requests; next request in {_duration(until - now)}"
        )
    names = tuple(sorted({host.host for host in active}))[:20]
    return (Wait(reason=WaitReason.HOST, detail="; ".join(details), until=until, hosts=names),)


def _some(hosts: Collection[HostReport]) -> str:
    """Return the names of hosts, shortened if there are many."""
    names = sorted({host.host for host in hosts})
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def reason_shown(job: Job, waits: Collection[Wait]) -> StateReason:
    """Return the state reason to show for a job: a quota takes precedence over a slot."""
    parts = [wait.quota for wait in waits if wait.reason is WaitReason.QUOTA]
    due = not any(wait.reason is WaitReason.DUE_TIME for wait in waits)
    return _reason(job, parts[0] if parts else None, due=due)


def reason_at(job: Job, now: datetime, quota: str | None) -> StateReason:
    """Return the same without computing waits; *quota* is the used-up part of the owner's quota."""
    return _reason(job, quota, due=job.due_at <= now)


def _reason(job: Job, quota: str | None, *, due: bool) -> StateReason:
    if job.state is not State.PENDING or not due:
        return job.state_reason
    if quota is not None:
        return StateReason.WAITING_QUOTA
    # the quota was used up while the job ran, and no longer is
    over = job.state_reason is StateReason.WAITING_QUOTA
    return StateReason.WAITING_SLOT if over else job.state_reason


def _of_quota(owner: str, part: str, now: datetime) -> Wait:
    if part == "running":
        detail = f"{owner} runs as many jobs as allowed (quota.running)"
        return Wait(reason=WaitReason.QUOTA, detail=detail, quota=part)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    detail = f"the {DAILY[part]} of {owner} for today are used up (quota.{part})"
    return Wait(reason=WaitReason.QUOTA, detail=detail, quota=part, until=midnight)


def _of_tags(needs: Collection[str]) -> Wait:
    tags = sorted(set(needs))
    word = "tag" if len(tags) == 1 else "tags"
    detail = f"no worker has the {word} {', '.join(tags)}; start one"
    return Wait(reason=WaitReason.WORKER_TAGS, detail=detail)


def _of_queue(place: int | None, most: int) -> Wait:
    if place is None:
        detail = f"more than {most:,} jobs are ahead of it"
        return Wait(reason=WaitReason.QUEUE, detail=detail)
    detail = (
        f"{count_noun(place, 'job is', 'jobs are')} ahead of it" if place else "next in the queue"
    )
    return Wait(reason=WaitReason.QUEUE, detail=detail, position=place + 1)


def _duration(length: timedelta) -> str:
    """Return a duration in its two largest units."""
    seconds = max(1, round(length.total_seconds()))
    parts = []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(f"{number}{unit}")
    return " ".join(parts[:2])
