"""Metrics for Prometheus, read from the store on each request.

Source: Prometheus, "Metric and label naming" and "Exposition formats".
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta

from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from crawlyard.about import VERSION
from crawlyard.bus.base import Bus, BusReach
from crawlyard.clock import Clock
from crawlyard.core.jobs.job_log import WAIT_BOUNDS_S
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.spec import Priority
from crawlyard.core.overview.worker_status import WorkerReport
from crawlyard.core.webhooks.delivery_limits import Traffic
from crawlyard.services.worker.reporting import ALIVE
from crawlyard.store.store import Store

MEDIA_TYPE = CONTENT_TYPE_LATEST

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


async def figures(store: Store, bus: Bus, clock: Clock) -> MetricValues:
    """Return the current metrics of the whole instance."""
    now, wall = clock.now(), clock.wall()
    began = clock.monotonic()
    next_at = await store.ticks.next_at()
    latency_s = clock.monotonic() - began
    due_at = await store.deliveries.next_at(now, Traffic())
    reports = [r for r in await store.workers.find() if now - r.beat_at <= ALIVE]
    none = timedelta(0)
    return MetricValues(
        jobs=await store.jobs.counts(),
        longest_wait=await store.queue.longest_wait(now),
        used=_total(await store.users.days(None, _FIRST_DAY)),
        schedules_late=none if next_at is None else max(none, wall - next_at),
        undelivered=none if due_at is None else max(none, now - due_at),
        workers=reports,
        held_hosts=len({h.host for r in reports for h in r.hosts if h.is_held(now)}),
        store_latency_s=latency_s,
        reach=bus.reach,
    )


def _total(days: Mapping[date, Usage]) -> Usage:
    total = Usage()
    for usage in days.values():
        total = total.plus(usage)
    return total


# --- as text


def exposed(figures: MetricValues) -> str:
    """Return *figures* as text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(figures))
    return generate_latest(registry).decode()


class _Collector(Collector):
    def __init__(self, figures: MetricValues) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        yield from _of_jobs(self._figures)
        yield from _of_work(self._figures)
        yield from _of_workers(self._figures.workers)


def _of_jobs(figures: MetricValues) -> Iterator[Metric]:
    jobs = GaugeMetricFamily(
        "crawlyard_jobs", "Jobs by state and priority.", labels=("state", "priority")
    )
    for state in State:
        for priority in Priority:
            jobs.add_metric((state, str(priority)), figures.jobs.get((state, priority), 0))
    yield jobs
    yield _gauge(
        "crawlyard_job_wait_seconds",
        "How long the job that is due longest has waited.",
        figures.longest_wait.total_seconds(),
    )
    yield _gauge(
        "crawlyard_schedule_lateness_seconds",
        "By how much the next tick of a schedule is overdue.",
        figures.schedules_late.total_seconds(),
    )
    yield _gauge(
        "crawlyard_webhook_delay_seconds",
        "How long the delivery that is due longest has waited.",
        figures.undelivered.total_seconds(),
    )


def _of_work(figures: MetricValues) -> Iterator[Metric]:
    used = figures.used
    yield _counter("crawlyard_pages", "Pages stored, by all jobs ever.", used.pages)
    yield _counter("crawlyard_bytes", "Bytes of bodies fetched, by all jobs ever.", used.bytes)
    yield _counter("crawlyard_url_errors", "URLs that failed, of all jobs ever.", used.errors)
    yield _gauge(
        "crawlyard_hosts_held", "Hosts that asked for a rest, and get it.", figures.held_hosts
    )
    yield _gauge(
        "crawlyard_store_latency_seconds",
        "How long a small read of the store took just now.",
        figures.store_latency_s,
    )
    if figures.reach is not BusReach.PROCESS:
        well = figures.reach is BusReach.YARD
        yield _gauge("crawlyard_redis_up", "Whether Redis answers this server.", float(well))
    info = GaugeMetricFamily("crawlyard_build_info", "The version.", labels=("version",))
    info.add_metric((VERSION,), 1)
    yield info


def _of_workers(workers: Iterable[WorkerReport]) -> Iterator[Metric]:
    labels = ("worker",)
    slots = GaugeMetricFamily("crawlyard_worker_slots", "Jobs it runs at once.", labels=labels)
    running = GaugeMetricFamily("crawlyard_worker_jobs", "Jobs it runs now.", labels=labels)
    memory = GaugeMetricFamily(
        "crawlyard_worker_memory_bytes", "Resident memory of its process.", labels=labels
    )
    pages = CounterMetricFamily(
        "crawlyard_worker_pages", "Pages it stored since it began.", labels=labels
    )
    errors = CounterMetricFamily(
        "crawlyard_worker_url_errors",
        "URLs that failed since it began.",
        labels=("worker", "kind"),
    )
    waits = HistogramMetricFamily(
        "crawlyard_dispatch_delay_seconds",
        "From the instant at which a job was due to its claim.",
        labels=labels,
    )
    for worker in workers:
        own = (worker.id,)
        slots.add_metric(own, worker.slots)
        running.add_metric(own, len(worker.running))
        memory.add_metric(own, worker.memory_bytes)
        pages.add_metric(own, worker.pages)
        for kind, count in sorted(worker.errors.items()):
            errors.add_metric((worker.id, kind), count)
        waits.add_metric(own, _buckets(worker.waits), worker.waited_s)
    yield from (slots, running, memory, pages, errors, waits)


def _buckets(counts: Iterable[int]) -> list[tuple[str, float]]:
    """Return what a histogram counts: of each bound, all that is not above it."""
    bounds = [*(f"{bound:g}" for bound in WAIT_BOUNDS_S), "+Inf"]
    total, buckets = 0, []
    for bound, count in zip(bounds, counts, strict=False):
        total += count
        buckets.append((bound, float(total)))
    return buckets


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)
