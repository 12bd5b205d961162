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
from psycopg.rows import dict_row

from crawlyard.clock import SystemClock
from crawlyard.core.checkpoint import Asker
from crawlyard.core.due import Due
from crawlyard.core.job import Job
from crawlyard.dispatch.base import Bell, Listener
from crawlyard.dispatch.procrastinate import TicketDispatcher
from crawlyard.dispatch.tickets import MOST_TAGS, QUEUE, TICKET, queue_of, queues_for
from crawlyard.errors import Conflict
from crawlyard.store import migrations
from crawlyard.store.base import Store
from crawlyard.store.sql import Heralds, open_sql_store
from tests.builders import a_job, a_spec, its_event

pytestmark = pytest.mark.postgres

LONG = timedelta(seconds=60)
SOON_S = 20.0
LEASE = timedelta(seconds=8)
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
        clock = SystemClock()
        return Listener(
            worker=worker, tags=frozenset(tags), due=lambda: self.store.queue.due(clock.now())
        )

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


async def look(bell: Bell, *, full: bool = False) -> None:
    """Wait to be woken, with nothing to do before."""
    async with asyncio.timeout(SOON_S):
        await bell.wait(LONG, full=full)


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
    dues = {Due(then + timedelta(milliseconds=n)) for n in range(0, 1000, 50)}

    async with await psycopg.AsyncConnection.connect(office.url) as connection:
        await office.dispatcher.defer(connection, dues)

    assert len(office.rows()) == 1


async def test_one_ticket_tells_of_all_that_a_transaction_makes_due(office: Office) -> None:
    now = SystemClock().now()
    dues = {Due(now - timedelta(milliseconds=n)) for n in range(20)}

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
        full = asyncio.create_task(one.wait(LONG, full=True))

        two = await stack.enter_async_context(office.dispatcher.bell(office.listener("two")))
        await look(two)

        assert not full.done()
        assert sorted(ticket["status"] for ticket in office.rows()) == ["doing", "doing"]
        full.cancel()


async def test_nothing_is_passed_on_when_nothing_is_due(office: Office) -> None:
    async with office.dispatcher.bell(office.listener()) as bell:
        await office.submit()
        await look(bell)
        await office.claim()

        full = asyncio.create_task(bell.wait(LONG, full=True))
        await office.dispatcher.pass_on(office.listener())

        assert [ticket["status"] for ticket in office.rows()] == ["doing"]
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

    queues = queues_for(tags)

    assert queues == [QUEUE, *(queue_of(tag) for tag in tags), queue_of("\n".join(tags))]
    assert len(queues_for(tags[:MOST_TAGS])) == 2**MOST_TAGS


async def test_lost_tickets_are_deferred_again(office: Office) -> None:
    await office.submit()
    await office.submit(fresh(spec=a_spec(worker_tags=("gpu",))))
    await office.submit(fresh(timedelta(hours=1)))
    office.rows("DELETE FROM procrastinate_jobs")

    await office.dispatcher.reconcile(office.listener())
    once = office.rows()
    await office.dispatcher.reconcile(office.listener())

    assert sorted(ticket["queue_name"] for ticket in once) == [QUEUE, queue_of("gpu")]
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

        office.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
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


def test_our_revisions_end_at_the_tables_of_the_package() -> None:
    package, revisions = files("procrastinate.sql.migrations"), files(migrations) / "versions"
    last = max(step.name for step in package.iterdir() if step.name.endswith(".sql"))

    ours = (revisions / "0008_tickets.py").read_text("utf-8")

    assert f'"{last[:11]}"' in ours
