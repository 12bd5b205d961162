"""Postgres fails over to an asynchronous standby, which has not received the last commits."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import psycopg
import pytest
from sqlalchemy import Connection, make_url, text

from crawlyard import LOCAL, State
from crawlyard.core.jobs.job import Standing
from crawlyard.errors import StoreUnavailable
from crawlyard.services.jobs.lookup import find_job
from crawlyard.store.db.postgres import PostgresDatabase
from crawlyard.store.jobs.intake import add_jobs
from crawlyard.store.open import is_away, open_sql_store
from crawlyard.store.store import Store
from tests.builders import a_job, its_event
from tests.engine.rig import a_spec, opened, outcome
from tests.engine.test_crawl import tree
from tests.jobs import submit
from tests.postgres import NoPostgres, PostgresServer, a_server, a_standby
from tests.site import GraphSite, Serve, until

pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.timeout(600)]

_ID = "SELECT CAST(pg_current_xact_id() AS text)"
_CUT_OFF = "ALTER SYSTEM SET primary_conninfo = ''"
_BEHIND = "SELECT count(*) = 0 FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()"


@dataclass(frozen=True)
class Pair:
    """A primary, and a standby that follows it."""

    primary: PostgresServer
    standby: PostgresServer

    @property
    def url(self) -> str:
        """URL of the server of the two that is writable."""
        hosts = f"{self.primary.folder},{self.standby.folder}"
        return f"postgresql://postgres@/postgres?host={hosts}&target_session_attrs=read-write"

    def cut_off(self) -> None:
        """Let the standby receive all so far, and nothing more."""
        with psycopg.connect(self.primary.url(), autocommit=True) as primary:
            end = monotonic() + 60
            while primary.execute(_BEHIND).fetchone() == (True,):
                assert monotonic() < end, "the standby does not follow"
        with psycopg.connect(self.standby.url(), autocommit=True) as standby:
            standby.execute(_CUT_OFF)
            standby.execute("SELECT pg_reload_conf()")
            while standby.execute("SELECT count(*) FROM pg_stat_wal_receiver").fetchone() != (0,):
                assert monotonic() < end, "the standby still receives"

    def synchronize(self) -> None:
        """Let no commit be acknowledged before the standby has it."""
        with psycopg.connect(self.primary.url(), autocommit=True) as primary:
            primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            primary.execute("SELECT pg_reload_conf()")

    def fail_over(self) -> None:
        self.primary.stop()
        self.standby.promote()


@pytest.fixture
def pair() -> Iterator[Pair]:
    try:
        with a_server() as primary, a_standby(primary) as standby:
            yield Pair(primary, standby)
    except NoPostgres as error:
        pytest.skip(f"no Postgres: {error}")


async def test_a_commit_that_the_standby_cannot_know_of_is_neither_repeated_nor_taken_for_done(
    pair: Pair,
) -> None:
    await (await open_sql_store(pair.url)).close()
    database = PostgresDatabase(make_url(pair.url))
    ids: list[str] = []

    def work(conn: Connection) -> str:
        job = a_job()
        add_jobs(conn, [job], events=[its_event(job)])
        ids.append(conn.execute(text(_ID)).scalar_one())
        pair.fail_over()
        with psycopg.connect(pair.standby.url(), autocommit=True) as other:
            while int(ids[-1]) < int(ids[0]) or len(ids) == 1:  # others get the same id
                ids.extend(transaction_id for (transaction_id,) in other.execute(_ID))
        return job.id

    try:
        pair.cut_off()
        with pytest.raises(StoreUnavailable, match=r"failed over during a change, which may be"):
            await database.write(work)
        counts = await Store.on(database).jobs.counts()
        again = await Store.on(database).events.events()
    finally:
        await database.close()

    assert ids[0] in ids[1:]
    assert not counts
    assert not again


@pytest.mark.parametrize("lost", ["nothing", "claim", "checkpoints"])
async def test_a_crawl_whose_last_commits_are_lost_loses_no_page_and_stores_none_twice(
    pair: Pair, site_server: Serve, tmp_path: Path, lost: str
) -> None:
    site = GraphSite(tree(6, 3))
    server = await site_server(site, latency_s=0.1)
    async with opened(tmp_path, database_url=pair.url, lease_s=6) as yard:
        job = await submit(yard, a_spec(f"{server.url}/", concurrency=2))

        async def standing() -> Standing:
            return await find_job(yard.store, LOCAL, job.id)

        if lost != "checkpoints":
            await asyncio.to_thread(pair.cut_off if lost == "claim" else pair.synchronize)
        running = asyncio.create_task(yard.worker().run(drain=True))
        await until(lambda: len(server.hits) > 10)
        if lost == "checkpoints":
            await asyncio.to_thread(pair.cut_off)
        last_seq, hits = (await standing()).shard.seq, len(server.hits)
        while (await standing()).shard.seq < last_seq + 2:  # noqa: ASYNC110 - a row
            await asyncio.sleep(0.05)
        assert len(server.hits) > hits
        before = (await standing()).shard.usage.pages
        await asyncio.to_thread(pair.fail_over)
        after = (await standing()).shard.usage.pages
        async with asyncio.timeout(400):
            await running
        run = await outcome(yard, job.id)

    assert (after < before) == (lost != "nothing")
    assert run.job.state is State.COMPLETED
    assert len(run.ok) == run.usage.pages == len(site.reachable())
    assert max(run.stored.values()) == 1


async def test_a_server_that_is_starting_up_is_waited_for(pair: Pair) -> None:
    with psycopg.connect(pair.standby.url(), autocommit=True) as standby:
        standby.execute("ALTER SYSTEM SET hot_standby = off")
    await asyncio.to_thread(pair.standby.stop)
    away = [await is_away(pair.standby.url())]
    # it accepts no connection before it is promoted, so its start is not waited for
    options = f"-k {pair.standby.folder} -h ''"
    pair.standby.run("pg_ctl", "-W", "-D", f"{pair.standby.folder}/data", "start", "-o", options)
    status = pair.standby.folder / "data" / "postmaster.pid"
    # earlier, it would discard the request to promote it
    await until(lambda: status.exists() and "starting" in status.read_text())
    away.append(await is_away(pair.standby.url()))
    await asyncio.to_thread(pair.standby.promote)

    assert away == [True, True]
    assert not await is_away(pair.standby.url())
