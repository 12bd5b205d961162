"""The page of the reference that lists all metrics, of servers and of worker processes."""

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

_ASKED = (
    "`GET /metrics` of a server (`crawlyard serve`) and of a worker process "
    "(`crawlyard work --metrics-port`), each with a token of an admin. Times are in seconds. "
    "Labels are the same after a restart, and name no user, URL, host or process: Prometheus adds "
    "`instance`. Histograms have `_bucket`, `_sum` and `_count`."
)
_SERVER = (
    "From the database, so that all servers show the same. `crawlyard_redis_up` is there with "
    "Redis, `crawlyard_database_lock_waits` with Postgres."
)
_WORKER = (
    "What a process has measured since its start. A server shows these too, if a worker runs in "
    "its process; without one, it shows the version and its waits for connections. "
    "`crawlyard_database_connection_wait_seconds` is there with Postgres. What child "
    "processes of isolated jobs fetch and store is counted by their worker."
)


def families(text: str) -> Mapping[str, Metric]:
    """Return the metrics in a text by the names that queries use, without ``_bucket``."""
    parsed = text_string_to_metric_families(text)
    return {f"{f.name}_total" if f.type == "counter" else f.name: f for f in parsed}


def all_values() -> MetricValues:
    """Return a value of every metric that there is, with each of its labels."""
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
    yield _ASKED
    yield from ("## Of the instance", _SERVER, table(_HEAD, _rows(of_server)))
    yield from ("## Of a worker process", _WORKER, table(_HEAD, _rows(of_worker)))


_HEAD = ["metric", "type", "labels", "what it is"]


def _rows(metrics: Mapping[str, Metric]) -> list[list[str]]:
    return [
        [f"`{name}`", family.type, ", ".join(_labels(family)), family.documentation]
        for name, family in metrics.items()
    ]


def _labels(family: Metric) -> list[str]:
    names = {name: None for sample in family.samples for name in sample.labels}
    return [f"`{name}`" for name in names if name != "le"]
