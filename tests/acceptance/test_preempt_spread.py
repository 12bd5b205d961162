"""An urgent job while two processes crawl a low one: one worker yields, the other continues."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from crawlyard import LOCAL, Priority, Scope, State, StateReason
from crawlyard.services.jobs.lookup import find_job
from crawlyard.store.queries import EventQuery
from tests.acceptance.test_faults import a_worker
from tests.acceptance.test_spread import ALONE, DATABASES, until_all_work, until_ended, where
from tests.engine.rig import a_spec, opened, outcome
from tests.jobs import submit
from tests.many_hosts import ManyHosts
from tests.site import Serve, site_server

__all__ = ["site_server", "where"]

HOSTS, PAGES = 40, 12
AT_ONCE, LATENCY_S = 4, 0.1


@pytest.mark.slow
@pytest.mark.parametrize("where", DATABASES, indirect=True)
async def test_one_of_two_workers_takes_the_urgent_job_and_no_page_is_requested_twice(
    where: str, tmp_path: Path, site_server: Serve
) -> None:
    site, other = ManyHosts(HOSTS, PAGES), ManyHosts(1, 3)
    server = await site_server(site, host="0.0.0.0", latency_s=LATENCY_S)
    quick = await site_server(other, host="0.0.0.0", latency_s=LATENCY_S)
    async with opened(tmp_path, database_url=where) as yard, AsyncExitStack() as stack:
        spec = a_spec(
            site.start(server.port),
            scope=Scope.ANY,
            spread=4,
            ignore_robots=True,
            concurrency=AT_ONCE,
            priority=Priority.LOW,
        )
        low = await submit(yard, spec)
        environment = {"CRAWLYARD_DATABASE_URL": where} if where else {}
        for _ in range(2):
            await stack.enter_async_context(a_worker(tmp_path / "data", *ALONE, **environment))
        await until_all_work(yard, low.id, 2)

        urgent = await submit(
            yard, a_spec(other.start(quick.port), ignore_robots=True, priority=Priority.URGENT)
        )
        await until_ended(yard, urgent.id)
        meanwhile = (await find_job(yard.store, LOCAL, low.id)).job
        await until_ended(yard, low.id)

        result, first = await outcome(yard, low.id), await outcome(yard, urgent.id)
        events = await yard.store.events.events(EventQuery(subject=low.id))

    assert (first.job.state, len(first.pages)) == (State.COMPLETED, 3)
    assert meanwhile.state is State.RUNNING
    assert [e.name for e in events if e.name != "job.progressed"] == [
        "job.created",
        "job.started",
        "job.completed",
    ]
    assert result.job.state_reason is StateReason.EXHAUSTED
    assert result.ok == site.urls(server.port)
    assert max(result.stored.values()) == 1
    assert site.twice() == set()
