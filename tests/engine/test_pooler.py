"""Workers behind a pooler that shares connections between transactions."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from crawlyard import State
from crawlyard.services.workers import worker as working
from tests.engine.rig import a_spec, opened, until_state
from tests.engine.test_crawl import tree
from tests.jobs import submit
from tests.listening import wait_for_listeners
from tests.pooler import CONNECTIONS, NoPooler, a_pooler
from tests.site import GraphSite, Serve

SESSIONS = """
    SELECT application_name, count(*)::int FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'crawlyard%' GROUP BY 1
"""

pytestmark = pytest.mark.postgres


@pytest.fixture
def pooler_url(postgres_url: str) -> Iterator[str]:
    try:
        with a_pooler(postgres_url) as url:
            yield url
    except NoPooler as error:
        pytest.skip(f"no PgBouncer: {error}")


def sessions(url: str) -> dict[str, int]:
    """Return the sessions on the server itself, by what they are for."""
    with psycopg.connect(url, autocommit=True) as connection:
        return dict(connection.execute(SESSIONS.encode()).fetchall())


async def test_all_but_the_connection_of_its_lock_goes_through_a_pooler(
    postgres_url: str,
    pooler_url: str,
    site_server: Serve,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(working, "POLL_EVERY", timedelta(hours=1))
    server = await site_server(GraphSite(tree(2, 1)))
    where = {"database_url": pooler_url, "database_direct_url": postgres_url}
    async with AsyncExitStack() as stack:
        yard = await stack.enter_async_context(opened(tmp_path, **where))
        other = await stack.enter_async_context(opened(tmp_path, **where))
        worker = yard.worker(slots=3)
        run = asyncio.create_task(worker.run())
        await wait_for_listeners(postgres_url, 1)

        specs = [a_spec(f"{server.url}/{page}", concurrency=1) for page in ("", "0", "1")]
        jobs = await asyncio.gather(*(submit(other, spec) for spec in specs))
        for job in jobs:
            await until_state(yard, job.id, State.COMPLETED)
        open_sessions = sessions(postgres_url)

        worker.stop()
        await run

    assert open_sessions.pop("crawlyard presence") == 1
    assert open_sessions.pop("crawlyard") <= CONNECTIONS
    assert open_sessions == {}


async def test_a_worker_has_four_connections_at_most(
    postgres_url: str, site_server: Serve, tmp_path: Path
) -> None:
    server = await site_server(GraphSite(tree(2, 1)))
    async with opened(tmp_path, database_url=postgres_url, database_connections=3) as yard:
        worker = yard.worker(slots=8)
        run = asyncio.create_task(worker.run())
        specs = [a_spec(f"{server.url}/{page}", concurrency=1) for page in 4 * [0, 1]]
        jobs = await asyncio.gather(*(submit(yard, spec) for spec in specs))
        for job in jobs:
            await until_state(yard, job.id, State.COMPLETED)
        open_sessions = sessions(postgres_url)
        worker.stop()
        await run

    assert open_sessions.pop("crawlyard presence") == 1
    assert open_sessions.pop("crawlyard") <= 3
    assert open_sessions == {}
