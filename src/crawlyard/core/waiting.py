"""What a job waits for, one reason after the other."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum, auto

from crawlyard.core.job import Job
from crawlyard.core.lifecycle import State, StateReason
from crawlyard.core.watch import WorkerReport


class WaitReason(StrEnum):
    """What stands between a job and its next page: the closed list."""

    DUE_TIME = auto()  # pending: it may not begin before
    QUOTA = auto()  # pending: its owner's quota is used up
    LEASE = auto()  # pending: its last worker still stores what was in flight
    NO_WORKER = auto()  # pending: no worker is alive, or all of them are stopping
    SLOT = auto()  # pending: all slots of the workers are taken
    QUEUE = auto()  # pending: its place among those that are due; `position`
    HOST = auto()  # running: all hosts that it asks hold it off


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """One thing that a job waits for."""

    reason: WaitReason
    detail: str
    until: datetime | None = None  # when it is over, where that is known
    quota: str | None = None  # of QUOTA: running or pages_per_day
    position: int | None = None  # of QUEUE, from 1; None: beyond what was counted
    hosts: tuple[str, ...] = ()  # of HOST


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a job waits among."""

    workers: tuple[WorkerReport, ...]  # those that are alive
    counted: int  # places of the queue that were counted

    @property
    def slots(self) -> int:
        """Return how many jobs may run at once."""
        return sum(worker.slots for worker in self.workers if not worker.stopping)

    @property
    def free(self) -> int:
        """Return how many more may begin now."""
        working = (worker for worker in self.workers if not worker.stopping)
        return sum(max(0, worker.slots - len(worker.running)) for worker in working)


def pending_waits(
    job: Job,
    now: datetime,
    quota: str | None,
    place: int | None,
    *,
    held: bool,
    among: Surroundings,
) -> tuple[Wait, ...]:
    """Return what a pending job waits for, what is over first in front.

    *quota* is the part of its owner's that is used up, *place* how many go before it
    (``None``: more than were counted), *held*: its last worker has not let go of it.
    """
    waits: list[Wait] = []
    if job.due_at > now:
        what = "its next attempt" if job.state_reason is StateReason.WAITING_RETRY else "its start"
        detail = f"{what} is due in {_told(job.due_at - now)}"
        waits.append(Wait(reason=WaitReason.DUE_TIME, detail=detail, until=job.due_at))
    if quota is not None:
        waits.append(_of_quota(job.owner, quota, now))
    if held:
        detail = "its last worker still stores what was in flight"
        waits.append(Wait(reason=WaitReason.LEASE, detail=detail))
    if not among.slots:
        detail = "no worker is alive (crawlyard work runs one)"
        waits.append(Wait(reason=WaitReason.NO_WORKER, detail=detail))
    if job.due_at > now or quota is not None:
        return tuple(waits)
    if among.slots and not among.free:
        detail = f"all {among.slots} slots of {len(among.workers)} workers are taken"
        waits.append(Wait(reason=WaitReason.SLOT, detail=detail))
    waits.append(_of_queue(place, among.counted))
    return tuple(waits)


def running_waits(job: Job, now: datetime, workers: Collection[WorkerReport]) -> tuple[Wait, ...]:
    """Return what a running job waits for: for its hosts, if all of them hold it off."""
    asked = [host for worker in workers for host in worker.hosts if job.id in host.jobs]
    ends = [host.held_until for host in asked if host.held_until and host.held_until > now]
    if not ends or len(ends) < len(asked) or any(host.in_flight for host in asked):
        return ()
    names = tuple(sorted({host.host for host in asked}))
    until = min(ends)
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    detail = f"{shown} refused requests; asked again in {_told(until - now)}"
    return (Wait(reason=WaitReason.HOST, detail=detail, until=until, hosts=names[:20]),)


def reason_shown(job: Job, waits: Collection[Wait]) -> StateReason:
    """Return the state reason of a job as it is shown: a quota goes before a slot."""
    held_back = any(wait.reason is WaitReason.QUOTA for wait in waits)
    due = not any(wait.reason is WaitReason.DUE_TIME for wait in waits)
    if job.state is State.PENDING and held_back and due:
        return StateReason.WAITING_QUOTA
    return job.state_reason


def reason_at(job: Job, now: datetime, quota: str | None) -> StateReason:
    """Return the same without the waits; *quota* is the part of its owner's that is used up."""
    if job.state is State.PENDING and quota is not None and job.due_at <= now:
        return StateReason.WAITING_QUOTA
    return job.state_reason


def _of_quota(owner: str, part: str, now: datetime) -> Wait:
    if part == "running":
        detail = f"as many jobs of {owner} run as may (quota.running)"
        return Wait(reason=WaitReason.QUOTA, detail=detail, quota=part)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    detail = f"the pages of {owner} for today are used up (quota.pages_per_day)"
    return Wait(reason=WaitReason.QUOTA, detail=detail, quota=part, until=midnight)


def _of_queue(place: int | None, counted: int) -> Wait:
    if place is None:
        detail = f"more than {counted:,} jobs go before it"
        return Wait(reason=WaitReason.QUEUE, detail=detail)
    detail = "it is the next" if not place else f"{place:,} jobs go before it"
    return Wait(reason=WaitReason.QUEUE, detail=detail, position=place + 1)


def _told(length: timedelta) -> str:
    """Return a length in its two largest units."""
    seconds = max(1, round(length.total_seconds()))
    parts = []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(f"{number}{unit}")
    return " ".join(parts[:2])
