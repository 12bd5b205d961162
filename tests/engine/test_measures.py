"""Metrics of the workers of a process, which name no user, URL or site."""

import asyncio
import re
from datetime import timedelta

from prometheus_client.parser import text_string_to_metric_families

from crawlyard import Yard
from crawlyard.clock import SystemClock
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.workers.measures import Requests
from crawlyard.engine.http.client import HttpFetcher
from crawlyard.engine.http.guard import Guard
from crawlyard.errors import StoreUnavailable
from crawlyard.messaging.local_dispatcher import LocalDispatcher
from crawlyard.services.instance import metrics
from crawlyard.services.workers.liveness import Liveness
from crawlyard.services.workers.reclaim import Reclaimer
from tests.engine.rig import a_spec, crawled
from tests.engine.test_worker import around
from tests.jobs import submit
from tests.site import GraphSite, Serve, until


async def test_a_crawl_is_measured_where_it_takes_time(yard: Yard, site_server: Serve) -> None:
    served = await site_server(GraphSite({"/": ["/a", "/missing"], "/a": []}))
    measured = yard.services.measures

    await crawled(yard, a_spec(f"{served.url}/", "http://127.0.0.1:1/", ignore_robots=True))

    requests = measured.requests
    assert requests.statuses == {"2xx": 2, "4xx": 1}
    assert requests.failures == {"connect": 1}
    assert sum(requests.took.counts) == 3
    assert sum(measured.claims.counts) == 1, "looks that found nothing are none"
    assert sum(measured.checkpoints.counts) >= 1
    assert 0 < measured.checkpoints.total_s < 60


async def test_a_fetch_is_timed_without_its_wait_for_the_turn_of_its_host(
    site_server: Serve,
) -> None:
    served, measured = await site_server(GraphSite({"/": []}), latency_s=0.03), Requests()
    guard, timeout = Guard(allow_private=True), timedelta(seconds=30)
    fetcher = HttpFetcher(guard, timeout, SystemClock(), measured=measured)

    await fetcher.fetch(f"{served.url}/", {}, 1000, lambda: asyncio.sleep(0.5))
    await fetcher.close()

    assert 0.03 <= measured.took.total_s < 0.5


async def test_jobs_reclaimed_from_a_lost_worker_are_counted(yard: Yard) -> None:
    for _ in range(2):
        await submit(yard, a_spec("http://127.0.0.1:1/"))
        await yard.store.leases.claim(Asker("other"), yard.clock.now(), timedelta(0))
    measured = yard.services.measures
    liveness = Liveness("w", LocalDispatcher(), None)
    rescue = Reclaimer("w", yard.store, yard.clock, liveness, measured.took_over)

    await rescue.take_back()

    assert measured.takeovers == 2


async def test_a_worker_looks_for_work_while_it_runs_and_its_store_answers(yard: Yard) -> None:
    async def away() -> None:
        raise StoreUnavailable("away")

    worker = yard.worker()
    assert not worker.looks, "it has not begun"
    running = asyncio.create_task(worker.run())
    await until(lambda: worker.looks)

    leases = yard.store.leases
    around(yard, "leases", "holders", away)
    async with asyncio.timeout(5):  # not only when its last look was long ago
        await until(lambda: not worker.looks)
    vars(yard.store)["leases"] = leases
    await until(lambda: worker.looks)
    worker.stop()

    assert not worker.looks, "it gives its jobs back"
    await running


async def test_labels_tell_nothing_that_changes_with_a_restart_or_is_private(
    yard: Yard, site_server: Serve
) -> None:
    served = await site_server(GraphSite({"/": ["/missing"]}))
    worker = yard.worker()
    spec = a_spec(f"{served.url}/", "http://127.0.0.1:1/", ignore_robots=True)
    await submit(yard, spec)
    await worker.run(drain=True)

    text = await metrics.figures(yard.store, yard.bus, yard.clock, yard.services.measures)

    values = {
        (name, value)
        for family in text_string_to_metric_families(metrics.format_metrics(text))
        for sample in family.samples
        for name, value in sample.labels.items()
    }
    closed = {"state", "priority", "kind", "class", "browser"}
    assert {name for name, _ in values} == closed | {"le", "version"}
    assert all(re.fullmatch(r"[a-z0-9_]+", value) for name, value in values if name in closed)
