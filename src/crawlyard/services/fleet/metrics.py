"""Metrics for a monitoring system, read from the store on each request."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from msgspec import Struct

from crawlyard.bus.base import Bus, BusReach
from crawlyard.clock import Clock
from crawlyard.core.access.user import Actor, Role
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.priority import Priority
from crawlyard.core.overview.worker_status import WorkerReport
from crawlyard.core.webhooks.delivery_limits import Traffic
from crawlyard.errors import Forbidden
from crawlyard.services.worker.reporting import ALIVE
from crawlyard.store.store import Store

_FIRST_DAY = date(2000, 1, 1)


class MetricValues(Struct, frozen=True, kw_only=True):
    """A snapshot of all metrics."""

    jobs: Mapping[tuple[State, Priority], int]
    longest_wait: timedelta  # of the job that has been due longest
    used: Usage  # by all jobs that ever ran
    schedules_late: timedelta  # by how much the next tick is overdue
    undelivered: timedelta  # how long the oldest due delivery has waited
    workers: Sequence[WorkerReport]  # those alive
    held_hosts: int
    store_latency_s: float  # of one small read
    reach: BusReach  # of the bus of this process


class Metrics:
    """Reads the metrics of the whole instance, for admins."""

    def __init__(self, store: Store, bus: Bus, clock: Clock) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock

    async def figures(self, actor: Actor) -> MetricValues:
        """Return the current metrics.

        Raises:
            Forbidden: the actor is not an admin; the metrics cover everyone's jobs.
        """
        if actor.role is not Role.ADMIN:
            raise Forbidden(f"{actor.id} is no admin")
        store, now, wall = self._store, self._clock.now(), self._clock.wall()
        began = self._clock.monotonic()
        next_at = await store.ticks.next_at()
        latency_s = self._clock.monotonic() - began
        due_at = await store.deliveries.next_at(now, Traffic())
        reports = [r for r in await store.workers.find() if now - r.beat_at <= ALIVE]
        none = timedelta(0)
        return MetricValues(
            jobs=await store.jobs.counts(),
            longest_wait=await store.journal.waits(now),
            used=_total(await store.users.days(None, _FIRST_DAY)),
            schedules_late=none if next_at is None else max(none, wall - next_at),
            undelivered=none if due_at is None else max(none, now - due_at),
            workers=reports,
            held_hosts=len(
                {h.host for r in reports for h in r.hosts if h.held_until and h.held_until > now}
            ),
            store_latency_s=latency_s,
            reach=self._bus.reach,
        )


def _total(days: Mapping[date, Usage]) -> Usage:
    total = Usage()
    for usage in days.values():
        total = total.plus(usage)
    return total
