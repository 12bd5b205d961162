"""Metrics for Prometheus: of the instance, read from the store, and of one worker process.

Labels stay the same over restarts, and name no user, URL or site.

Source: Prometheus, "Metric and label naming" and "Exposition formats".
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import accumulate

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
from crawlyard.clock import Clock
from crawlyard.core.crawl.rendering import Browser
from crawlyard.core.jobs.job_log import WAIT_BOUNDS_S
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.spec import Priority
from crawlyard.core.webhooks.delivery_limits import Traffic
from crawlyard.core.workers.measures import Measures, Renderings, Timing
from crawlyard.core.workers.status import WorkerReport, WorkerState
from crawlyard.messaging.bus import Bus, BusReach
from crawlyard.services.workers.reporting import ALIVE
from crawlyard.store.store import Store

MEDIA_TYPE = CONTENT_TYPE_LATEST

_FIRST_DAY = date(2000, 1, 1)


class ProcessValues(Struct, frozen=True, kw_only=True):
    """Totals of the workers of one process at one moment."""

    workers: Sequence[WorkerReport]
    measures: Measures
    connection_waits: Timing | None  # for the database; None: it needs no pool


class MetricValues(Struct, frozen=True, kw_only=True):
    """Metrics of the whole instance at one moment."""

    jobs: Mapping[tuple[State, Priority], int]
    longest_wait: timedelta  # of the job that has been due longest
    free_shards: int
    wanted_slots: int  # in workers without tags
    used: Usage  # by all jobs that ever ran
    schedules_late: timedelta  # by how much the next tick is overdue
    undelivered: timedelta  # wait of the oldest due delivery
    workers: Sequence[WorkerReport]  # those alive
    held_hosts: int
    store_latency_s: float  # of one small read
    lock_waits: int | None  # None: the database has no sessions that wait for each other
    reach: BusReach  # of the bus of this process
    process: ProcessValues


async def figures(store: Store, bus: Bus, clock: Clock, measures: Measures) -> MetricValues:
    """Return the current metrics of the whole instance, and of the workers of this process."""
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
        free_shards=await store.spread.free(),
        wanted_slots=await store.queue.wanted_slots(now),
        used=_total(await store.users.days(None, _FIRST_DAY)),
        schedules_late=none if next_at is None else max(none, wall - next_at),
        undelivered=none if due_at is None else max(none, now - due_at),
        workers=reports,
        held_hosts=len({h.host for r in reports for h in r.hosts if h.is_held(now)}),
        store_latency_s=latency_s,
        lock_waits=await store.upkeep.lock_waits(),
        reach=bus.reach,
        process=_process(store, reports, measures),
    )


async def process_figures(store: Store, measures: Measures) -> ProcessValues:
    """Return the current metrics of the workers of this process alone."""
    return _process(store, await store.workers.find(), measures)


def _process(store: Store, reports: Iterable[WorkerReport], measures: Measures) -> ProcessValues:
    mine = [report for report in reports if report.id in measures.workers]
    return ProcessValues(workers=mine, measures=measures, connection_waits=store.pool_waits)


def _total(days: Mapping[date, Usage]) -> Usage:
    total = Usage()
    for usage in days.values():
        total = total.plus(usage)
    return total


# --- as text


def format_metrics(figures: MetricValues | ProcessValues) -> str:
    """Format *figures* in the exposition format of Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(figures))
    return generate_latest(registry).decode()


class _Collector(Collector):
    def __init__(self, figures: MetricValues | ProcessValues) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        figures = self._figures
        if isinstance(figures, MetricValues):
            yield from _of_jobs(figures)
            yield from _of_work(figures)
            yield from _of_fleet(figures)
            figures = figures.process
        yield _build()
        if figures.measures.workers:
            yield from _of_workers(figures.workers)
            yield from _of_measures(figures.measures)
        if figures.connection_waits is not None:
            yield _histogram(
                "crawlyard_database_connection_wait_seconds",
                "Time transactions waited for a connection of this process's pool.",
                figures.connection_waits,
            )


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
        "Waiting time of the job that has been due longest.",
        figures.longest_wait.total_seconds(),
    )
    yield _gauge(
        "crawlyard_schedule_lateness_seconds",
        "Delay of the most overdue schedule.",
        figures.schedules_late.total_seconds(),
    )
    yield _gauge(
        "crawlyard_webhook_delay_seconds",
        "Waiting time of the delivery that has been due longest.",
        figures.undelivered.total_seconds(),
    )


def _of_work(figures: MetricValues) -> Iterator[Metric]:
    used = figures.used
    yield _counter("crawlyard_pages", "Pages stored by all jobs ever.", used.pages)
    yield _counter("crawlyard_bytes", "Bytes of bodies fetched by all jobs ever.", used.bytes)
    yield _counter("crawlyard_url_errors", "URLs that failed in all jobs ever.", used.errors)
    yield _gauge(
        "crawlyard_hosts_held", "Hosts paused because they refused requests.", figures.held_hosts
    )
    yield _gauge(
        "crawlyard_store_latency_seconds",
        "Duration of a small read from the database.",
        figures.store_latency_s,
    )
    if figures.reach is not BusReach.PROCESS:
        well = figures.reach is BusReach.YARD
        yield _gauge("crawlyard_redis_up", "1 if Redis responds, else 0.", float(well))


def _build() -> Metric:
    info = GaugeMetricFamily("crawlyard_build_info", "Version of Crawlyard.", labels=("version",))
    info.add_metric((VERSION,), 1)
    return info


def _of_fleet(figures: MetricValues) -> Iterator[Metric]:
    workers = GaugeMetricFamily("crawlyard_workers", "Workers by state.", labels=("state",))
    states = Counter(worker.state(alive=True) for worker in figures.workers)
    for state in WorkerState:
        if state is not WorkerState.GONE:
            workers.add_metric((state,), states[state])
    yield workers
    yield _gauge(
        "crawlyard_slots",
        "Maximum jobs and shards that all workers run at once.",
        sum(worker.slots for worker in figures.workers),
    )
    yield _gauge(
        "crawlyard_slots_used",
        "Jobs and shards that all workers are running.",
        sum(len(worker.running) for worker in figures.workers),
    )
    yield _gauge(
        "crawlyard_slots_wanted",
        "Slots that due jobs and free shards wait for, except those that require a worker tag.",
        figures.wanted_slots,
    )
    yield _gauge(
        "crawlyard_shards_free", "Shards that wait for a worker.", float(figures.free_shards)
    )
    if figures.lock_waits is not None:
        yield _gauge(
            "crawlyard_database_lock_waits",
            "Database sessions that are waiting for a lock.",
            figures.lock_waits,
        )


def _of_workers(workers: Sequence[WorkerReport]) -> Iterator[Metric]:
    """Sum up the reports of the workers of this process."""
    slots = sum(worker.slots for worker in workers)
    yield _gauge("crawlyard_worker_slots", "Maximum jobs that this process runs at once.", slots)
    running = sum(len(worker.running) for worker in workers)
    yield _gauge("crawlyard_worker_jobs", "Jobs that this process is running.", running)
    yield _gauge(
        "crawlyard_worker_memory_bytes",
        "Resident memory of this process and of the child processes of isolated jobs.",
        max((worker.memory_bytes for worker in workers), default=0),
    )
    pages = sum(worker.pages for worker in workers)
    yield _counter("crawlyard_worker_pages", "Pages that this process stored.", pages)
    errors: Counter[str] = Counter()
    waits = Timing(bounds_s=WAIT_BOUNDS_S)
    for worker in workers:
        errors.update(worker.errors)
        waits.counts = [a + b for a, b in zip(waits.counts, worker.waits, strict=True)]
        waits.total_s += worker.waited_s
    yield _labelled_counter(
        "crawlyard_worker_url_errors", "URLs that failed in this process.", "kind", errors
    )
    yield _histogram(
        "crawlyard_dispatch_delay_seconds",
        "Time from when a job was due to its claim.",
        waits,
    )


def _of_measures(measures: Measures) -> Iterator[Metric]:
    yield _histogram(
        "crawlyard_checkpoint_seconds",
        "Duration of transactions that store pages.",
        measures.checkpoints,
    )
    yield _histogram(
        "crawlyard_claim_seconds",
        "Duration of claims that returned a job or a shard.",
        measures.claims,
    )
    requests = measures.requests
    yield _histogram(
        "crawlyard_fetch_seconds",
        "Time from the start of a request to its complete response, without rate-limit delays.",
        requests.took,
    )
    yield _labelled_counter(
        "crawlyard_responses", "Responses by status class.", "class", requests.statuses
    )
    yield _labelled_counter(
        "crawlyard_request_failures",
        "Requests without a usable response.",
        "kind",
        requests.failures,
    )
    yield from _of_renderings(measures.renderings)
    yield _counter(
        "crawlyard_takeovers",
        "Jobs and shards that this process recovered from lost workers.",
        measures.takeovers,
    )


def _of_renderings(renderings: Mapping[Browser, Renderings]) -> Iterator[Metric]:
    label = ("browser",)
    took = HistogramMetricFamily(
        "crawlyard_render_seconds",
        "Duration of page renderings, without waits for a browser.",
        labels=label,
    )
    running = GaugeMetricFamily(
        "crawlyard_browsers_running", "Running browsers of this process.", labels=label
    )
    for browser, measures in renderings.items():
        took.add_metric((browser,), _buckets(measures.took), measures.took.total_s)
        running.add_metric((browser,), measures.running)
    yield took
    yield running
    each = renderings.items()
    yield _labelled_counter(
        "crawlyard_rendered_pages",
        "Pages rendered.",
        "browser",
        {browser: sum(measures.took.counts) for browser, measures in each},
    )
    yield _labelled_counter(
        "crawlyard_render_failures",
        "Pages that could not be rendered.",
        "browser",
        {browser: measures.failures for browser, measures in each},
    )
    yield _labelled_counter(
        "crawlyard_render_subrequests",
        "Requests made by pages during rendering.",
        "browser",
        {browser: measures.subrequests for browser, measures in each},
    )
    yield _labelled_counter(
        "crawlyard_browser_cpu_seconds",
        "Processor time that browsers used for pages.",
        "browser",
        {browser: measures.cpu_s for browser, measures in each},
    )


def _histogram(name: str, text: str, timing: Timing) -> Metric:
    return HistogramMetricFamily(name, text, buckets=_buckets(timing), sum_value=timing.total_s)


def _buckets(timing: Timing) -> list[tuple[str, float]]:
    """Return the cumulative buckets of a histogram."""
    bounds = [*(f"{bound:g}" for bound in timing.bounds_s), "+Inf"]
    return [*zip(bounds, map(float, accumulate(timing.counts)), strict=True)]


def _labelled_counter(name: str, text: str, label: str, counts: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, count in sorted(counts.items()):
        family.add_metric((str(value),), count)
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)
