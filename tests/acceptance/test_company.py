"""Jobs that ran in one worker when it was killed: they continue together, within seconds."""

import asyncio
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crawlyard import LOCAL
from crawlyard.demo.server import SiteServer
from tests.acceptance.test_faults import a_worker
from tests.engine.rig import a_spec, opened
from tests.many_hosts import ManyHosts, address
from tests.site import Serve, site_server, until
from tests.times import slowness

__all__ = ["site_server"]

JOBS = 16
OPTIONS = ("--jobs", str(JOBS), "--no-scheduler", "--no-webhooks", "--no-janitor")

FIRST_S = 3.0
"""All jobs have sent a request this soon after their worker was killed, on a machine with time."""

SESSIONS = 4  # of a worker with all its children


def hosts_asked(server: SiteServer, worker: str, since: float = 0.0) -> dict[str, float]:
    """Return when *worker* sent its first request after *since* to each host."""
    first = dict[str, float]()
    for hit in list(server.hits):
        if hit.user_agent == worker and hit.at > since:
            first.setdefault(hit.host, hit.at)
    return first


def count(database: "psycopg.Connection[Any]", query: str) -> int:
    row = database.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


async def until_there(database: "psycopg.Connection[Any]", workers: int) -> None:
    """Return once so many workers have reported."""
    async with asyncio.timeout(120):
        while count(database, "SELECT count(*) FROM workers") < workers:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.postgres
async def test_all_jobs_of_a_killed_worker_continue_within_seconds_with_four_sessions(
    postgres_url: str, tmp_path: Path, site_server: Serve
) -> None:
    server = await site_server(ManyHosts(JOBS, 100_000), host="0.0.0.0", latency_s=0.05)
    async with opened(tmp_path, database_url=postgres_url) as yard:
        for number in range(JOBS):
            spec = a_spec(f"http://{address(number)}:{server.port}/0", per_host=1)
            await yard.jobs.submit(LOCAL, spec)
    database = psycopg.connect(postgres_url, autocommit=True)
    environment = {"CRAWLYARD_DATABASE_URL": postgres_url}
    one, two = (environment | {"CRAWLYARD_USER_AGENT": name} for name in ("one", "two"))

    with database:
        async with a_worker(tmp_path / "data", *OPTIONS, **one) as first:
            await until(lambda: len(hosts_asked(server, "one")) == JOBS)
            async with a_worker(tmp_path / "data", *OPTIONS, **two):
                await until_there(database, 2)
                slow = slowness()
                killed_at = time.monotonic()
                first.kill()
                await first.wait()
                await until(lambda: len(hosts_asked(server, "two")) == JOBS)
                took = max(hosts_asked(server, "two").values()) - killed_at
                slow = max(slow, slowness())
                sessions = count(
                    database,
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()",
                )

    assert took < FIRST_S * slow
    assert sessions <= SESSIONS
