"""Reference page about the metrics of servers and worker processes."""

import asyncio
from collections.abc import Callable, Iterator, Mapping

from msgspec.structs import replace
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from crawlyard.core.jobs.job_log import WAIT_BOUNDS_S
from crawlyard.core.workers.measures import Measures, Timing
from crawlyard.messaging.bus import BusReach
from crawlyard.messaging.memory_bus import MemoryBus
from crawlyard.services.instance.metrics import (
    MetricValues,
    ProcessValues,
    figures,
    format_metrics,
)
from crawlyard.store.db.in_memory import open_in_memory
from tests.builders_serve import a_report
from tests.clock import FakeClock

Table = Callable[[list[str], list[list[str]]], str]

_INTRO = (
    "`GET /metrics` of a server (`crawlyard serve`) or a worker process (`crawlyard work "
    "--metrics-port`) returns these metrics; it needs the token of an admin. Times are in seconds. "
    "Labels stay the same after a restart, and contain no user, URL, host or process: Prometheus "
    "adds `instance`. Histograms have `_bucket`, `_sum` and `_count`."
)
_SERVER = (
    "Computed from the database, so all servers return the same values. `crawlyard_redis_up` "
    "exists only with Redis, `crawlyard_database_lock_waits` only with Postgres."
)
_WORKER = (
    "Measured by a process since its start. A server returns them too if a worker runs in its "
    "process; otherwise it returns only its version and its waits for connections. "
    "`crawlyard_database_connection_wait_seconds` exists only with Postgres. A worker includes the "
    "pages and requests of the child processes of isolated jobs."
)


def families(text: str) -> Mapping[str, Metric]:
    """Return the metrics in a text by the names that queries use, without ``_bucket``."""
    parsed = text_string_to_metric_families(text)
    return {f"{f.name}_total" if f.type == "counter" else f.name: f for f in parsed}


def all_values() -> MetricValues:
    """Return a value for every metric and label."""
    measures = Measures(workers={"w"})
    measures.requests.count_response(200, 0.1)
    measures.requests.failures["timeout"] += 1
    worker = a_report(id="w", errors={"timeout": 1}, waits=(0,) * (len(WAIT_BOUNDS_S) + 1))
    clock = FakeClock()
    metrics = asyncio.run(figures(open_in_memory(), MemoryBus(clock), clock, measures))
    process = ProcessValues(workers=[worker], measures=measures, connection_waits=Timing())
    return replace(metrics, lock_waits=0, reach=BusReach.YARD, process=process)


def blocks(table: Table) -> Iterator[str]:
    """Yield the blocks of the page."""
    values = all_values()
    of_worker = families(format_metrics(values.process))
    of_server = {n: f for n, f in families(format_metrics(values)).items() if n not in of_worker}
    yield _INTRO
    yield from ("## Instance", _SERVER, table(_HEAD, _rows(of_server)))
    yield from ("## Worker process", _WORKER, table(_HEAD, _rows(of_worker)))


_HEAD = ["Metric", "Type", "Labels", "Description"]


def _rows(metrics: Mapping[str, Metric]) -> list[list[str]]:
    return [
        [f"`{name}`", family.type, ", ".join(_labels(family)), family.documentation]
        for name, family in metrics.items()
    ]


def _labels(family: Metric) -> list[str]:
    names = {name: None for sample in family.samples for name in sample.labels}
    return [f"`{name}`" for name in names if name != "le"]
