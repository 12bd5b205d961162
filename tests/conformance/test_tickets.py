"""Tickets on Postgres: when they are deferred, who takes them, and what becomes of the lost."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace
from psycopg.rows import dict_row

from crawlyard.clock import SystemClock
from crawlyard.core.jobs.checkpoint import Asker, Lease
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.queue import Wakeup
from crawlyard.core.jobs.spec import Priority
from crawlyard.dispatch import procrastinate
from crawlyard.dispatch.base import Bell, Listener
from crawlyard.dispatch.procrastinate import TicketBell, TicketDispatcher
from crawlyard.dispatch.tickets import CHORES, MOST_TAGS, QUEUE, TICKET, Queues, queue_of
from crawlyard.errors import Conflict
from crawlyard.services.worker.claiming import ClaimRules, listener_of
from crawlyard.store.db.schema import TICKETS_STEP
from crawlyard.store.db.wakeups import Heralds
from crawlyard.store.open import open_sql_store
from crawlyard.store.store import Store
from tests.builders import NOW, a_batch, a_job, a_spec, a_target, its_event
from tests.listening import heard

pytestmark = pytest.mark.postgres

LONG = timedelta(seconds=60)
SOON_S = 20.0
HOUR_S = 3600.0
HOSTS = ("h0.example", "h1.example")  # of two shards of two
LEASE = timedelta(seconds=8)
CUT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
GATE = 7
AT_THE_GATE = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
# who has found no ticket waits at the gate before it says so
SLOW_TO_FIND_NOTHING = f"""
    ALTER FUNCTION procrastinate_fetch_job_v2 RENAME TO at_once;
    CREATE FUNCTION procrastinate_fetch_job_v2(queues varchar[], worker bigint)
    RETURNS procrastinate_jobs LANGUAGE plpgsql AS $$
    DECLARE found procrastinate_jobs := at_once(queues, worker);
    BEGIN
      IF found.id IS NULL THEN PERFORM pg_advisory_xact_lock_shared({GATE}); END IF;
      RETURN found;
    END $$
"""
TICKETS = f"SELECT * FROM procrastinate_jobs WHERE task_name = '{TICKET}' ORDER BY id"


@dataclass
class Office:
    """A store, the dispatcher that it tells, and a look at the tickets."""

    url: str
    store: Store
    dispatcher: TicketDispatcher

    def rows(self, query: str = TICKETS) -> Any:
        with psycopg.connect(self.url, autocommit=True, row_factory=dict_row) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def listener(self, worker: str = "w", *tags: str) -> Listener:
        rules = ClaimRules(slots=1, lease=LEASE, tags=frozenset(tags))
        return listener_of(worker, self.store, SystemClock(), rules)

    async def submit(self, job: Job | None = None) -> Job:
        job = job or fresh()
        await self.store.jobs.add(job, its_event(job))
        return job

    async def claim(self) -> Job:
        """Claim the job that is first: nothing of it is due any more."""
        claim = await self.store.leases.claim(Asker("w"), SystemClock().now(), LEASE)
        assert claim is not None
        return claim.job

    async def until(self, tickets: int) -> None:
        """Return once there are so many tickets."""
        async with asyncio.timeout(SOON_S):
            while len(self.rows()) != tickets:  # noqa: ASYNC110 - a database tells of nothing
                await asyncio.sleep(0)


def fresh(later: timedelta = timedelta(0), **changes: Any) -> Job:
    now = SystemClock().now()
    return a_job(created_at=now, queued_at=now, since=now, due_at=now + later, **changes)


@asynccontextmanager
async def an_office(url: str) -> AsyncIterator[Office]:
    dispatcher = TicketDispatcher(url, SystemClock())
    store = await open_sql_store(url, heralds=Heralds(within=dispatcher.defer))
    try:
        yield Office(url, store, dispatcher)
    finally:
        await store.close()
        await dispatcher.close()


@pytest.fixture
async def office(postgres_url: str) -> AsyncIterator[Office]:
    async with an_office(postgres_url) as opened:
        yield opened


async def look(bell: Bell, least: Priority | None = Priority.LOW) -> None:
    """Wait to be woken, with nothing to do before."""
    async with asyncio.timeout(SOON_S):
        await bell.wait(LONG, least=least)


async def test_a_ticket_is_deferred_with_its_job(office: Office) -> None:
    await office.submit()

    (ticket,) = office.rows()
    assert (ticket["status"], ticket["queue_name"], ticket["args"]) == ("todo", QUEUE, {})
    assert ticket["scheduled_at"] is None


async def test_a_job_that_is_refused_leaves_no_ticket(office: Office) -> None:
    job = await office.submit()
    with pytest.raises(Conflict):
        await office.submit(job)

    assert len(office.rows()) == 1


async def test_a_job_that_changes_without_waiting_again_leaves_no_ticket(office: Office) -> None:
    await office.submit()
    await office.claim()

    assert len(office.rows()) == 1


async def test_what_is_due_soon_has_a_ticket_for_then(office: Office) -> None:
    job = await office.submit(fresh(timedelta(seconds=30)))

    (ticket,) = office.rows()
    assert job.due_at <= ticket["scheduled_at"] <= job.due_at + timedelta(seconds=1)


async def test_what_is_due_much_later_has_no_ticket(office: Office) -> None:
    await office.submit(fresh(timedelta(minutes=2)))

    assert office.rows() == []


async def test_what_is_due_in_the_same_second_has_one_ticket(office: Office) -> None:
    then = (SystemClock().now() + timedelta(seconds=30)).replace(microsecond=0)
    dues = {Wakeup(then + timedelta(milliseconds=n)) for n in range(0, 1000, 50)}

    async with await psycopg.AsyncConnection.connect(office.url) as connection:
        await office.dispatcher.defer(connection, dues)

    assert len(office.rows()) == 1


async def test_one_ticket_tells_of_all_that_a_transaction_makes_due(office: Office) -> None:
    now = SystemClock().now()
    dues = {Wakeup(now - timedelta(milliseconds=n)) for n in range(20)}

    async with await psycopg.AsyncConnection.connect(office.url) as connection:
        await office.dispatcher.defer(connection, dues)

    assert len(office.rows()) == 1


async def test_a_ticket_is_deleted_once_its_worker_has_looked(office: Office) -> None:
    async with office.dispatcher.bell(office.listener()) as bell:
        await office.submit()
        await look(bell)
        held = office.rows()
        await office.claim()

        looking = asyncio.create_task(look(bell))
        await office.until(0)

        assert [ticket["status"] for ticket in held] == ["doing"]
        looking.cancel()


async def test_who_is_full_passes_the_word_on_and_asks_for_no_other(office: Office) -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(office.dispatcher.bell(office.listener("one")))
        await office.submit()
        await look(one)
        full = asyncio.create_task(one.wait(LONG, least=None))

        two = await stack.enter_async_context(office.dispatcher.bell(office.listener("two")))
        await look(two)
        await office.submit(fresh(priority=Priority.URGENT))
        await look(two)

        assert not full.done()
        full.cancel()


async def test_who_is_full_but_for_urgent_jobs_hears_of_these_alone(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(procrastinate, "POLL_S", HOUR_S)
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(office.dispatcher.bell(office.listener("one")))
        await heard(office.url, 1)
        await office.submit()
        await look(one)
        await office.claim()
        reserved = asyncio.create_task(look(one, Priority.URGENT))
        await office.until(0)
        two = await stack.enter_async_context(office.dispatcher.bell(office.listener("two")))
        await heard(office.url, 2)

        for _ in range(3):
            await office.submit()
            await look(two)
            await office.claim()
        passed_by = not reserved.done()
        full = asyncio.create_task(two.wait(LONG, least=None))
        await office.until(0)
        await office.submit(fresh(priority=Priority.URGENT))
        await reserved

        assert passed_by
        assert not full.done()
        full.cancel()


async def test_word_that_comes_while_a_full_worker_looks_is_not_missed(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(procrastinate, "POLL_S", HOUR_S)
    async with office.dispatcher.bell(office.listener()) as bell:
        await heard(office.url, 1)
        assert isinstance(bell, TicketBell)
        full = asyncio.create_task(look(bell, None))
        await asyncio.sleep(0)
        bell.ring()
        await full

        words = bell.queues.words
        await office.submit()  # too late for the look that has begun
        async with asyncio.timeout(SOON_S):
            while bell.queues.words == words:  # noqa: ASYNC110
                await asyncio.sleep(0)
        for _ in range(20):  # who heard of it looks for it by now
            await asyncio.sleep(0)
        await look(bell)


async def test_an_urgent_job_that_may_not_begin_has_no_ticket_again_and_again(
    office: Office,
) -> None:
    async with office.dispatcher.bell(office.listener()) as bell:
        await office.submit(fresh(priority=Priority.URGENT))
        await look(bell, Priority.URGENT)

        again = asyncio.create_task(bell.wait(LONG, least=Priority.URGENT))
        await office.until(0)

        assert not again.done()
        again.cancel()


async def test_word_that_comes_while_tickets_are_looked_for_is_heard(
    empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(procrastinate, "POLL_S", HOUR_S)
    async with an_office(empty_postgres_url) as office:
        office.rows(SLOW_TO_FIND_NOTHING)
        async with office.dispatcher.bell(office.listener()) as bell:
            await heard(office.url, 1)
            await office.submit()
            await look(bell)
            await office.claim()
            assert isinstance(bell, TicketBell)
            with psycopg.connect(office.url, autocommit=True) as gate:
                gate.execute(f"SELECT pg_advisory_lock({GATE})".encode())
                looking = asyncio.create_task(look(bell))
                async with asyncio.timeout(SOON_S):
                    while not office.rows(AT_THE_GATE):  # noqa: ASYNC110 - as above
                        await asyncio.sleep(0)
                    words = bell.queues.words
                    await office.submit()
                    while bell.queues.words == words:  # noqa: ASYNC110
                        await asyncio.sleep(0)
            await looking


async def test_who_takes_urgent_jobs_alone_hears_of_no_other(office: Office) -> None:
    listener = replace(office.listener("one"), least=Priority.URGENT)
    async with office.dispatcher.bell(listener) as one:
        reserved = asyncio.create_task(look(one, Priority.URGENT))
        await office.submit()
        async with office.dispatcher.bell(office.listener("two")) as two:
            await look(two)
        passed_by = not reserved.done()
        await office.submit(fresh(priority=Priority.URGENT))
        await reserved

    assert passed_by


async def a_spread_job(office: Office, holder: str) -> Lease:
    """Let *holder* begin a job of two shards; nobody has heard of it."""
    job = await office.submit(fresh(spec=a_spec(spread=2, urls=(f"https://{HOSTS[0]}/",))))
    later = SystemClock().now() + timedelta(hours=1)  # the other one has not rested before
    claim = await office.store.leases.claim(Asker(holder, only=job.id), later, LEASE)
    assert claim is not None
    office.rows("DELETE FROM procrastinate_jobs")
    return claim.lease


async def opened(office: Office, lease: Lease) -> None:
    """Let the other shard wait for somebody else."""
    batch = a_batch(found=[a_target(host=host) for host in HOSTS])
    await office.store.frontier.record([(lease, batch)], SystemClock().now(), LEASE)


async def test_word_of_a_shard_goes_on_to_a_worker_that_may_have_it(office: Office) -> None:
    lease = await a_spread_job(office, "one")
    async with office.dispatcher.bell(office.listener("one")) as one:
        await heard(office.url, 1)
        await opened(office, lease)
        (ticket,) = office.rows()
        await look(one)
        again = asyncio.create_task(one.wait(LONG))
        async with office.dispatcher.bell(office.listener("two")) as two:
            await look(two)

        assert ticket["queue_name"] == queue_of(Wakeup(NOW, shard=True))
        assert not again.done()
        again.cancel()


async def test_who_leaves_a_shard_to_others_hears_of_jobs_all_the_same(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(procrastinate, "POLL_S", HOUR_S)
    lease = await a_spread_job(office, "one")
    async with office.dispatcher.bell(office.listener("one")) as one:
        await heard(office.url, 1)
        await opened(office, lease)
        await look(one)
        again = asyncio.create_task(look(one))
        await office.submit()
        await again


async def test_who_is_full_passes_the_word_of_a_shard_on(office: Office) -> None:
    lease = await a_spread_job(office, "another")
    async with office.dispatcher.bell(office.listener("one")) as one:
        await heard(office.url, 1)
        await opened(office, lease)
        await look(one)
        full = asyncio.create_task(one.wait(LONG, least=None))
        async with office.dispatcher.bell(office.listener("two")) as two:
            await look(two)

        assert not full.done()
        full.cancel()


async def test_lost_word_of_a_shard_is_deferred_again(office: Office) -> None:
    await opened(office, await a_spread_job(office, "one"))
    office.rows("DELETE FROM procrastinate_jobs")

    await office.dispatcher.reconcile(office.listener())

    (ticket,) = office.rows()
    assert ticket["queue_name"] == queue_of(Wakeup(NOW, shard=True))


async def test_a_job_that_turns_urgent_has_a_ticket_as_such(office: Office) -> None:
    job = await office.submit()
    spec = replace(job.spec, priority=Priority.URGENT)
    hurried = replace(job, spec=spec, version=job.version + 1)

    await office.store.jobs.save(hurried, its_event(hurried))

    queues = [ticket["queue_name"] for ticket in office.rows()]
    assert queues == [QUEUE, queue_of(Wakeup(NOW, urgent=True))]


async def test_nothing_is_passed_on_when_nothing_is_due(office: Office) -> None:
    async with office.dispatcher.bell(office.listener()) as bell:
        await office.submit()
        await look(bell)
        await office.claim()

        full = asyncio.create_task(bell.wait(LONG, least=None))
        await office.until(0)
        await office.dispatcher.pass_on(office.listener().due)

        assert office.rows() == []
        full.cancel()


async def test_a_worker_that_ends_leaves_its_word_to_others(office: Office) -> None:
    async with office.dispatcher.bell(office.listener("one")) as one:
        await office.submit()
        await look(one)

    async with office.dispatcher.bell(office.listener("two")) as two:
        await look(two)


async def test_word_of_a_job_goes_to_workers_that_may_have_it(office: Office) -> None:
    needy = fresh(spec=a_spec(worker_tags=("gpu", "eu")))
    async with (
        office.dispatcher.bell(office.listener("plain")) as plain,
        office.dispatcher.bell(office.listener("one", "eu")) as one,
        office.dispatcher.bell(office.listener("both", "eu", "gpu", "x")) as both,
    ):
        others = [asyncio.create_task(bell.wait(LONG)) for bell in (plain, one)]
        await asyncio.sleep(0)

        await office.submit(needy)
        await look(both)

        assert not any(task.done() for task in others)
        for task in others:
            task.cancel()


def test_a_worker_with_many_tags_listens_for_single_ones_and_for_all() -> None:
    tags = [f"t{n}" for n in range(MOST_TAGS + 1)]

    queues = Queues(tags).of(Priority.LOW, shards=False)

    needs = ["", *tags, "\n".join(tags)]
    assert queues == [queue_of(Wakeup(NOW, n, urgent=u)) for u in (False, True) for n in needs]
    assert len(Queues(tags[:MOST_TAGS]).of(Priority.URGENT, jobs=False)) == 2**MOST_TAGS


def test_a_worker_hears_of_all_queues_whatever_it_takes() -> None:
    queues = Queues(())

    queues.take(None)

    assert QUEUE in list(queues)
    assert queues.taken_from == [CHORES]


def test_the_channel_of_every_queue_has_a_name_that_postgres_takes_whole() -> None:
    assert max(len(name) for name in Queues(["gpu"])) + len("procrastinate_queue_v1#") < 64


async def test_lost_tickets_are_deferred_again(office: Office) -> None:
    await office.submit()
    await office.submit(fresh(spec=a_spec(worker_tags=("gpu",))))
    await office.submit(fresh(timedelta(hours=1)))
    office.rows("DELETE FROM procrastinate_jobs")

    await office.dispatcher.reconcile(office.listener())
    once = office.rows()
    await office.dispatcher.reconcile(office.listener())

    assert sorted(ticket["queue_name"] for ticket in once) == [QUEUE, queue_of(Wakeup(NOW, "gpu"))]
    assert office.rows() == once


@pytest.mark.parametrize(
    "death",
    [
        "UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 minute'",
        "DELETE FROM procrastinate_workers",
    ],
)
async def test_what_dead_workers_have_left_is_swept(office: Office, death: str) -> None:
    await office.submit()
    await office.claim()
    office.rows("INSERT INTO procrastinate_workers DEFAULT VALUES")
    office.rows(
        "UPDATE procrastinate_jobs SET status = 'doing',"
        " worker_id = (SELECT max(id) FROM procrastinate_workers)"
    )

    await office.dispatcher.reconcile(office.listener())
    living = office.rows()
    office.rows(death)
    await office.dispatcher.reconcile(office.listener())

    assert len(living) == 1
    assert office.rows() == []


async def test_a_backlog_of_tickets_without_work_goes_at_once(office: Office) -> None:
    for _ in range(30):
        job = await office.submit()
        assert (await office.claim()).id == job.id

    looks = 0
    async with office.dispatcher.bell(office.listener()) as bell, asyncio.timeout(SOON_S):
        while office.rows():
            await bell.wait(timedelta(seconds=1))
            looks += 1

    assert looks < 15


async def test_wakes_come_again_after_all_connections_were_cut(office: Office) -> None:
    async with office.dispatcher.bell(office.listener()) as bell:
        await office.submit()
        await look(bell)
        await office.claim()
        looking = asyncio.create_task(look(bell))
        await office.until(0)

        office.rows(CUT)
        await office.submit()

        await looking


def test_the_shell_of_procrastinate_sees_our_tables(postgres_url: str) -> None:
    environment = os.environ | {"CRAWLYARD_DATABASE_URL": postgres_url}
    command = (sys.executable, "-m", "procrastinate", "--app", "crawlyard.dispatch.shell.app")

    checked = subprocess.run(
        [*command, "healthchecks"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert checked.returncode == 0, checked.stderr
    assert "Found procrastinate_jobs table: OK" in checked.stdout


def test_our_schema_has_the_last_tables_of_the_package() -> None:
    package = files("procrastinate.sql.migrations")
    last = max(step.name for step in package.iterdir() if step.name.endswith(".sql"))

    assert last.startswith(TICKETS_STEP)
