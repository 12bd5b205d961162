"""The store on Postgres: what a server, a network or another session can do to it."""

import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
from sqlalchemy import Connection, event, make_url, text

from crawlyard import Settings, Yard
from crawlyard.clock import SystemClock
from crawlyard.core.access.user import LOCAL
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.errors import Invalid, StoreUnavailable
from crawlyard.store.db.postgres import PostgresDatabase
from crawlyard.store.jobs.intake import add_jobs
from crawlyard.store.open import clock_offset, open_sql_store
from crawlyard.store.queries import JobQuery
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_batch, a_job, a_spec, a_target, done, its_event, noted
from tests.conformance.spread_rig import begun, leave_shard, sent, targets
from tests.conformance.steps import added, claimed, recorded
from tests.jobs import a_submitter, submit_to
from tests.postgres import PostgresServer

pytestmark = pytest.mark.postgres

T = TypeVar("T")

ME = text("SELECT pg_backend_pid()")
END_ME = text("SELECT pg_terminate_backend(pg_backend_pid())")
LOCK_WAITS = "SELECT count(*) FROM pg_locks WHERE NOT granted"
END_OTHERS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND datname = current_database()"
)


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[PostgresDatabase]:
    new_database = PostgresDatabase(make_url(postgres_url))
    yield new_database
    await new_database.close()


@pytest.fixture
def store(database: PostgresDatabase) -> Store:
    return Store(database)


@pytest.fixture
def server(postgres_server: PostgresServer, postgres_url: str) -> PostgresServer:
    """The server of `postgres_url`, to be stopped and cut off."""
    if str(postgres_server.folder) not in make_url(postgres_url).normalized_query.get("host", ()):
        pytest.skip("the Postgres of CRAWLYARD_TEST_POSTGRES_URL is not ours to stop")
    return postgres_server


async def test_waits_for_a_connection_and_for_a_lock_are_measured(postgres_url: str) -> None:
    database = PostgresDatabase(make_url(postgres_url), connections=1)
    lock = text("LOCK TABLE settings")
    try:
        store = Store(database)
        assert await store.upkeep.lock_waits() == 0
        assert store.pool_waits is not None
        with psycopg.connect(postgres_url) as other:
            other.execute("LOCK TABLE settings")
            blocked = asyncio.create_task(database.write(lambda conn: conn.execute(lock).close()))
            while other.execute(LOCK_WAITS).fetchone() != (1,):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            counted = sum(store.pool_waits.counts)
            queued = asyncio.create_task(store.upkeep.lock_waits())  # the only one is taken
            await asyncio.sleep(0.05)
        await blocked
        assert await queued == 0
        assert sum(store.pool_waits.counts) == counted + 1
        assert store.pool_waits.total_s > 0.04
    finally:
        await database.close()


async def test_sessions_that_were_ended_meanwhile_are_replaced(
    database: PostgresDatabase, store: Store
) -> None:
    job = await added(store)
    await asyncio.gather(*(store.jobs.get(job.id) for _ in range(5)))

    await database.write(lambda c: c.execute(END_OTHERS))

    answers = await asyncio.gather(*(store.jobs.get(job.id) for _ in range(5)))
    assert {a.job for a in answers} == {job}


async def test_work_whose_session_ends_in_the_middle_is_done_again_from_its_beginning(
    database: PostgresDatabase, store: Store
) -> None:
    job = await added(store)
    sessions: list[int] = []

    def work(conn: Connection) -> int:
        conn.execute(text("UPDATE jobs SET failures = failures + 1"))
        sessions.append(conn.execute(ME).scalar_one())
        if len(sessions) == 1:
            conn.execute(END_ME)
        return len(sessions)

    assert await database.write(work) == 2
    assert len(set(sessions)) == 2
    assert (await store.jobs.get(job.id)).job.failures == 1


async def test_work_that_stands_in_the_way_of_other_work_is_done_again(
    database: PostgresDatabase,
) -> None:
    runs: list[str] = []
    lock_query = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = {}"
    )

    def locking(first: int, second: int, name: str) -> Callable[[Connection], None]:
        def work(conn: Connection) -> None:
            runs.append(name)
            conn.execute(text("SET LOCAL deadlock_timeout = '10ms'"))
            conn.execute(text(f"SELECT pg_advisory_xact_lock({first})"))
            while runs.count(name) == 1 and not conn.scalar(text(lock_query.format(second))):
                conn.execute(text("SELECT pg_sleep(0.01)"))  # until both have their first
            conn.execute(text(f"SELECT pg_advisory_xact_lock({second})"))

        return work

    await asyncio.gather(database.write(locking(1, 2, "a")), database.write(locking(2, 1, "b")))

    assert sorted(set(runs)) == ["a", "b"]
    assert len(runs) == 3


async def test_a_claim_does_not_wait_for_what_another_session_has_locked(
    postgres_url: str, store: Store
) -> None:
    first, second = await added(store), await added(store)

    async with await psycopg.AsyncConnection.connect(postgres_url) as other:
        await other.execute("SELECT FROM jobs WHERE id = %s FOR UPDATE", [first.id])
        claim = await asyncio.wait_for(store.leases.claim(Asker("w1"), NOW, LEASE), 10)
        none = await asyncio.wait_for(store.leases.claim(Asker("w1"), NOW, LEASE), 10)

    assert claim is not None
    assert (claim.job.id, none) == (second.id, None)


async def statements_of(database: PostgresDatabase, work: Awaitable[T]) -> tuple[T, list[str]]:
    """Return what came of *work*, and what was sent for it between BEGIN and COMMIT."""
    statements: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        # the driver prepares and caches statements up to this size
        assert (len(statement) <= 4096, len(parameters) <= 50) == (True, True)
        if "pg_notify" not in statement:  # a notice follows when its transaction is over
            statements.append(statement.partition(" ")[0])

    engine = database._engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        return await work, statements
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def test_a_submit_a_claim_and_an_end_send_few_statements(
    database: PostgresDatabase, store: Store
) -> None:
    submitter = a_submitter(store, SystemClock())
    spec, soon = a_spec(tags=("one", "two")), SystemClock().now() + LEASE

    _, submit = await statements_of(database, submit_to(submitter, LOCAL, spec))
    claim_result, claim = await statements_of(
        database, store.leases.claim(Asker("w1"), soon, LEASE)
    )
    assert claim_result is not None
    ended, move_event = claim_result.job.apply_move(Move.COMPLETE, soon, actor="worker:w1")
    _, end = await statements_of(
        database, store.leases.settle(claim_result.lease, ended, move_event)
    )

    assert submit == ["SELECT", "WITH"]
    assert claim == ["SELECT", "SELECT", "WITH"]
    assert end == ["SELECT", "WITH"]
    assert {event.subject for event in await store.events.events()} == {ended.id}


@dataclass(slots=True)
class CutConnection:
    """A line to the server that is cut, once, after a commit and before its answer."""

    server: PostgresServer
    armed: bool = False
    refusing: int = 0  # connections that are refused once it was cut
    cut: int = 0
    lines: set["asyncio.Task[None]"] = field(default_factory=set)

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.cut and self.refusing:
            self.refusing -= 1
            writer.close()
            return
        self.lines.add(asyncio.ensure_future(self.carry(reader, writer)))

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, ours = await asyncio.open_unix_connection(
            self.server.folder / ".s.PGSQL.5432"
        )
        silent = asyncio.Event()
        back = asyncio.ensure_future(self.copy(server_reader, writer, silent))
        while data := await reader.read(65536):
            last = self.armed and b"COMMIT\x00" in data  # the statement, as it travels
            if last:
                self.armed = False
                self.cut += 1
                silent.set()
            ours.write(data)
            if last:
                break
        else:
            ours.close()
        await back
        for line in (ours, writer):
            line.close()
            await line.wait_closed()

    async def copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, silent: asyncio.Event
    ) -> None:
        while data := await reader.read(65536):
            if silent.is_set():
                return  # the statement runs, but its answer is lost
            writer.write(data)


@asynccontextmanager
async def wired(server: PostgresServer, url: str) -> AsyncIterator[tuple[CutConnection, Store]]:
    """Yield a store behind a wire."""
    wire = CutConnection(server)
    with tempfile.TemporaryDirectory(prefix="crawlyard-wire-") as folder:
        socket = Path(folder) / ".s.PGSQL.5432"
        listener = await asyncio.start_unix_server(wire.connected, socket)
        store = await open_sql_store(
            make_url(url).update_query_dict({"host": folder}).render_as_string()
        )
        try:
            yield wire, store
        finally:
            await store.close()
            listener.close()
            await asyncio.gather(*wire.lines)


class TestACommitWithoutAnAnswer:
    async def test_a_job_is_added_once_despite_a_lost_commit_response(
        self, server: PostgresServer, postgres_url: str
    ) -> None:
        async with wired(server, postgres_url) as (wire, store):
            wire.armed = True
            job = await added(store)

            assert wire.cut == 1
            assert (await store.jobs.get(job.id)).job == job
            assert len(await store.events.events()) == 1

    async def test_a_commit_is_not_repeated_while_its_outcome_is_unknown(
        self, server: PostgresServer, postgres_url: str
    ) -> None:
        async with wired(server, postgres_url) as (wire, store):
            wire.armed, wire.refusing = True, 2
            job = await added(store)

            assert (wire.cut, wire.refusing) == (1, 0)
            assert (await store.jobs.get(job.id)).job == job
            assert len(await store.events.events()) == 1

    async def test_each_job_of_a_group_is_added_once_and_returned(
        self, server: PostgresServer, postgres_url: str
    ) -> None:
        async with wired(server, postgres_url) as (wire, store):
            submitter = a_submitter(store, SystemClock())
            wire.armed = True
            answers = await asyncio.gather(
                *(submit_to(submitter, LOCAL, a_spec()) for _ in range(5))
            )

            assert wire.cut == 1
            standings = await store.jobs.find(JobQuery(oldest_first=True), 10)
            assert [standing.job for standing in standings] == answers
            assert len(await store.events.events()) == 5

    async def test_a_claim_is_known_to_its_worker(
        self, server: PostgresServer, postgres_url: str
    ) -> None:
        async with wired(server, postgres_url) as (wire, store):
            job = await added(store)
            wire.armed = True
            claim = await claimed(store, job)

            assert wire.cut == 1
            assert (await store.jobs.get(job.id)).job == claim.job
            assert claim.lease.attempt == 1

    async def test_who_leaves_a_shard_knows_the_one_that_he_goes_on_with(
        self, server: PostgresServer, postgres_url: str
    ) -> None:
        async with wired(server, postgres_url) as (wire, store):
            first = await begun(store)
            await sent(store, first.lease, a_batch(found=targets()))
            wire.armed = True
            next_one = await leave_shard(store, first.lease, further=True)

            assert wire.cut == 1
            assert next_one is not None
            shards = await store.spread.shards(first.job.id)
            assert [n for n, shard in shards.items() if shard.worker == "w1"] == [
                next_one.lease.shard
            ]

    async def test_a_batch_is_written_once(self, server: PostgresServer, postgres_url: str) -> None:
        async with wired(server, postgres_url) as (wire, store):
            claim = await claimed(store)
            batch = a_batch([a_target()], [done(a_target())], events=(noted(claim.job),))
            wire.armed = True
            answer = await recorded(store, claim.lease, batch)

            assert wire.cut == 1
            assert answer.usage == batch.usage
            assert (await store.jobs.get(claim.job.id)).shard.usage == batch.usage
            assert len(await store.events.events()) == 3

    async def test_a_write_lost_in_a_crash_is_repeated_though_its_transaction_id_was_reused(
        self, server: PostgresServer, postgres_url: str, database: PostgresDatabase
    ) -> None:
        ids: list[str] = []
        its_id = "SELECT CAST(pg_current_xact_id() AS text)"

        def work(conn: Connection) -> str:
            job = a_job()
            add_jobs(conn, [job], events=[its_event(job)])
            if len(ids) < 2:
                ids.append(conn.execute(text(its_id)).scalar_one())
                server.stop()
                server.start()
                with psycopg.connect(postgres_url, autocommit=True) as other:
                    ids.extend(row_id for (row_id,) in other.execute(its_id))
            return job.id

        for _ in range(10):  # the server may have written its log just then
            ids.clear()
            with psycopg.connect(postgres_url, autocommit=True) as other:
                other.execute("CHECKPOINT")  # else ids that were given before are lost as well
            job_id = await database.write(work)
            if ids[0] == ids[1]:
                break

        assert ids[0] == ids[1]
        assert (await Store(database).jobs.get(job_id)).job.id == job_id


async def test_a_server_that_is_away_is_named_without_the_password(
    server: PostgresServer, postgres_url: str
) -> None:
    url = make_url(postgres_url).set(password="s3cret").render_as_string(hide_password=False)
    store = await open_sql_store(url)
    job = await added(store)
    server.stop()
    try:
        with pytest.raises(StoreUnavailable, match=r"crawlyard_test.*does not answer") as raised:
            await store.jobs.get(job.id)
        assert str(server.folder) in str(raised.value)
        assert "s3cret" not in str(raised.value)
        with pytest.raises(StoreUnavailable):
            await open_sql_store(url)
    finally:
        server.start()

    again = await store.jobs.get(job.id)
    await store.close()
    assert again.job == job


async def test_a_server_that_restarts_at_once_is_waited_for(
    server: PostgresServer, store: Store
) -> None:
    claim = await claimed(store)

    server.stop()
    server.start()

    answer = await recorded(store, claim.lease, a_batch([a_target()]))
    assert answer.usage.discovered == 1


async def test_a_database_that_is_not_there_is_named(postgres_url: str) -> None:
    url = make_url(postgres_url).set(database="nowhere").render_as_string()

    with pytest.raises(StoreUnavailable, match=r"database nowhere on .*\"nowhere\" does not exist"):
        await open_sql_store(url)


async def test_a_caller_that_is_cancelled_leaves_no_half_of_its_work(store: Store) -> None:
    jobs = [a_job() for _ in range(30)]
    tasks = [asyncio.ensure_future(store.jobs.add(job, its_event(job))) for job in jobs]
    await asyncio.sleep(0)  # let them begin
    for task in tasks:
        task.cancel()

    await asyncio.gather(*tasks, return_exceptions=True)
    await store.close()

    assert all(task.cancelled() for task in tasks)


async def test_closing_waits_for_what_is_being_written(postgres_url: str) -> None:
    store = await open_sql_store(postgres_url)
    jobs = [a_job() for _ in range(20)]
    tasks = [asyncio.ensure_future(store.jobs.add(job, its_event(job))) for job in jobs]
    await asyncio.sleep(0)  # let them begin

    await store.close()

    await asyncio.gather(*tasks)
    with pytest.raises(StoreUnavailable, match="has been closed"):
        await store.jobs.find(JobQuery(), 1)
    again = await open_sql_store(postgres_url)
    assert len(await again.jobs.find(JobQuery(), 100)) == 20
    await again.close()


class SkewedClock(SystemClock):
    """A clock that goes wrong by an hour."""

    def now(self) -> datetime:
        return super().now() + timedelta(hours=1)


async def test_the_offset_leads_from_a_wrong_clock_to_that_of_the_server(
    postgres_url: str, tmp_path: Path
) -> None:
    right = await clock_offset(postgres_url, SystemClock())
    wrong = await clock_offset(postgres_url, SkewedClock())
    embedded = await clock_offset(tmp_path / "yard.db", SkewedClock())

    assert abs(right) < timedelta(seconds=1)
    assert abs(wrong + timedelta(hours=1)) < timedelta(seconds=1)
    assert embedded == timedelta(0)
    assert not (tmp_path / "yard.db").exists()


_DRIFTED = """
import asyncio, sys
from datetime import timedelta
from crawlyard import Settings, Yard
from crawlyard.clock import SystemClock

async def main():
    settings = Settings(data_dir=sys.argv[1], database_url=sys.argv[2])
    async with Yard.open(settings) as yard:
        alone, began = SystemClock(), yard.clock.now()
        alone.shift(began - alone.now())
        await asyncio.sleep(8)
        asked = [await off(yard, alone) for _ in range(20)]
        print(*(each.total_seconds() for each in min(asked)[1:]))

async def off(yard, alone):
    asked_at = yard.clock.now()
    theirs = await yard.store.upkeep.server_time()
    took = yard.clock.now() - asked_at
    apart = yard.clock.now() - took / 2 - theirs
    return took, apart, alone.now() - yard.clock.now() + apart

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("rate", ["1.015", "0.985"])
def test_a_process_whose_clock_drifts_stays_with_that_of_the_database(
    postgres_url: str, tmp_path: Path, rate: str
) -> None:
    wrapper = shutil.which("faketime")
    if wrapper is None:
        pytest.skip("no faketime: apt install faketime")
    program = [sys.executable, "-c", _DRIFTED, str(tmp_path), postgres_url]
    process = subprocess.run(
        [wrapper, "-f", f"+0 x{rate}", *program], capture_output=True, text=True, check=True
    )
    apart_s, alone_s = map(float, process.stdout.split())

    assert abs(alone_s) > 0.08  # drift of its clock
    assert abs(apart_s) < abs(alone_s) / 2


@pytest.mark.parametrize(
    "direct", ["mysql://ada:s3cret@host/db", "postgresql://[ada:s3cret", "yard"]
)
async def test_a_direct_url_that_is_none_is_refused_without_the_password(
    postgres_url: str, direct: str
) -> None:
    settings = Settings(database_url=postgres_url, database_direct_url=direct)
    with pytest.raises(Invalid, match=r"database_direct_url.*expected postgresql://") as raised:
        async with Yard.open(settings):
            pass

    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["mysql://ada:s3cret@host/db", "sqlite://", "postgresql://[ada:s3cret"]
)
async def test_what_is_no_database_is_refused_without_the_password(url: str) -> None:
    with pytest.raises(Invalid, match="expected") as raised:
        await open_sql_store(url)

    assert "s3cret" not in str(raised.value)
