"""Notices on Postgres: what is told, who is woken by it, and what becomes of the lost."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import uvloop

from crawlyard.clock import SystemClock
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.notices import CHANNEL, WakeupNotice, encode_notices, read
from crawlyard.core.jobs.queue import Wakeup, needs_text
from crawlyard.core.jobs.spec import Priority
from crawlyard.errors import Conflict
from crawlyard.messaging.dispatcher import Listener, WakeSignal
from crawlyard.messaging.postgres_dispatcher import (
    LAST,
    STEP_S,
    NoticeWakeSignal,
    PostgresDispatcher,
    delay_s,
)
from crawlyard.store.open import open_sql_store
from crawlyard.store.store import Store
from tests.builders import NOW, a_job, a_spec, its_event

LONG = timedelta(seconds=60)
SOON_S = 20.0
CUT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'crawlyard presence'
"""


@dataclass
class NoticeRig:
    """A store on Postgres, a dispatcher on it, and all that is told there."""

    url: str
    store: Store
    dispatcher: PostgresDispatcher
    told: list[WakeupNotice] = field(default_factory=list)

    async def submit(self, later: timedelta = timedelta(0), **fields: Any) -> Job:
        now = SystemClock().now()
        job = a_job(spec=a_spec(**fields), created_at=now, queued_at=now, due_at=now + later)
        await self.store.jobs.add(job, its_event(job))
        return job

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON_S):
            while not holds():  # noqa: ASYNC110 - a server notifies no client
                await asyncio.sleep(0)

    @asynccontextmanager
    async def wake_signal(self, worker: str, *tags: str) -> AsyncIterator[WakeSignal]:
        """Yield the signal of a worker that hears of work from now on."""
        is_listening = asyncio.Event()
        listener = Listener(worker=worker, tags=frozenset(tags))
        async with (
            self.dispatcher.presence(worker, is_listening.set) as presence,
            self.dispatcher.wake_signal(listener) as signal,
        ):
            await self.until(lambda: presence.holding)
            yield signal


@pytest.fixture
async def wire(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NoticeRig]:
    monkeypatch.setattr(random, "random", lambda: 0.0)  # everybody is the first in line
    store = await open_sql_store(postgres_url)
    new_wire = NoticeRig(postgres_url, store, PostgresDispatcher(postgres_url, SystemClock()))
    try:
        yield new_wire
    finally:
        await store.close()


@asynccontextmanager
async def overheard(wire: NoticeRig) -> AsyncIterator[list[WakeupNotice]]:
    """Yield the notices that are told in the block."""
    async with await psycopg.AsyncConnection.connect(wire.url, autocommit=True) as connection:
        await connection.execute(f"LISTEN {CHANNEL}".encode())
        notices: list[WakeupNotice] = []

        async def listen() -> None:
            async for notice in connection.notifies():
                notices.extend(filter(None, [read(notice.payload)]))

        listening = asyncio.create_task(listen())
        yield notices
        listening.cancel()
        await asyncio.wait((listening,))


async def look(signal: WakeSignal, least: Priority | None = Priority.LOW) -> None:
    """Wait to be woken."""
    async with asyncio.timeout(SOON_S):
        await signal.wait(LONG, least=least)


@pytest.mark.postgres
async def test_workers_are_notified_of_stored_jobs_and_not_of_refused_ones(
    wire: NoticeRig,
) -> None:
    async with overheard(wire) as notices:
        job = await wire.submit(worker_tags=("gpu",), priority=Priority.URGENT)
        with pytest.raises(Conflict):
            await wire.store.jobs.add(job, its_event(job))
        await wire.submit(timedelta(hours=1))
        await wire.until(lambda: len(notices) == 2)

    assert [(n.needs, n.urgent, n.shard, n.count) for n in notices] == [
        ("gpu", True, False, 1),
        ("", False, False, 1),
    ]
    assert notices[0].at == pytest.approx(job.due_at.timestamp())


@pytest.mark.postgres
async def test_what_becomes_due_while_a_notice_is_sent_goes_together(wire: NoticeRig) -> None:
    async with overheard(wire) as notices:
        await asyncio.gather(*(wire.submit() for _ in range(30)))
        await wire.until(lambda: sum(notice.count for notice in notices) == 30)

    assert len(notices) < 25


@pytest.mark.postgres
async def test_a_full_worker_gets_no_notice_and_a_reserved_slot_urgent_ones_only(
    wire: NoticeRig,
) -> None:
    async with AsyncExitStack() as stack:
        full = await stack.enter_async_context(wire.wake_signal("full"))
        reserved = await stack.enter_async_context(wire.wake_signal("reserved"))
        free = await stack.enter_async_context(wire.wake_signal("free"))
        waiting = asyncio.create_task(full.wait(LONG, least=None))
        urgent = asyncio.create_task(look(reserved, Priority.URGENT))
        for _ in range(3):
            await asyncio.gather(look(free), wire.submit())
        passed_by = not urgent.done()
        await asyncio.gather(urgent, wire.submit(priority=Priority.URGENT))

        assert passed_by
        assert not waiting.done()
        waiting.cancel()


@pytest.mark.postgres
async def test_word_of_a_job_goes_to_workers_that_may_have_it(wire: NoticeRig) -> None:
    async with (
        wire.wake_signal("plain") as plain,
        wire.wake_signal("one", "eu") as tagless,
        wire.wake_signal("both", "eu", "gpu", "x") as well_tagged,
    ):
        waits = [asyncio.create_task(signal.wait(LONG)) for signal in (plain, tagless)]
        await asyncio.sleep(0)

        await asyncio.gather(look(well_tagged), wire.submit(worker_tags=("gpu", "eu")))

        assert not any(task.done() for task in waits)
        for task in waits:
            task.cancel()


@pytest.mark.postgres
async def test_word_that_comes_while_a_worker_looks_is_not_missed(wire: NoticeRig) -> None:
    async with wire.wake_signal("w") as signal, overheard(wire) as notices:
        full = asyncio.create_task(look(signal, None))
        await asyncio.sleep(0)
        signal.wake()
        await full

        await wire.submit()  # too late for the look that has begun
        await wire.until(lambda: bool(notices))
        await look(signal)


@pytest.mark.postgres
async def test_what_is_due_soon_wakes_a_worker_then(wire: NoticeRig) -> None:
    async with wire.wake_signal("w") as signal:
        later = timedelta(seconds=2)
        job, _ = await asyncio.gather(wire.submit(later), look(signal))

        assert SystemClock().now() >= job.due_at


@pytest.mark.postgres
async def test_wake_ups_resume_after_a_lost_connection(wire: NoticeRig) -> None:
    changes: asyncio.Queue[bool] = asyncio.Queue()
    listener = Listener(worker="w")
    async with (
        wire.dispatcher.presence("w", lambda: changes.put_nowait(True)) as presence,
        wire.dispatcher.wake_signal(listener) as signal,
    ):
        await wire.until(lambda: presence.holding)
        with psycopg.connect(wire.url, autocommit=True) as connection:
            connection.execute(CUT.encode())
        await wire.until(lambda: changes.qsize() >= 3)  # held, lost, held: workers look anyway
        await asyncio.gather(look(signal), wire.submit())


@pytest.mark.postgres
async def test_a_notice_of_another_version_is_ignored(wire: NoticeRig) -> None:
    async with wire.wake_signal("w") as signal:
        with psycopg.connect(wire.url, autocommit=True) as connection:
            for text in ("", "look", "{}", '["soon"]'):
                connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, text))
        await asyncio.gather(look(signal), wire.submit())


async def test_a_wake_signal_fires_for_jobs_that_its_worker_can_take() -> None:
    plain, gpu = WakeupNotice(at=0), WakeupNotice(at=0, needs="gpu")
    urgent = WakeupNotice(at=0, urgent=True)
    cases = [
        (plain, Priority.LOW, True),
        (plain, Priority.URGENT, False),
        (urgent, Priority.URGENT, True),
        (urgent, None, False),
        (gpu, Priority.LOW, False),
    ]
    for notice, least, rings in cases:
        signal = NoticeWakeSignal(Listener(worker="w", tags=frozenset({"eu"})))
        waiting = asyncio.create_task(signal.wait(LONG, least=least))
        await asyncio.sleep(0)

        signal.handle_notice(notice, 0)
        await asyncio.wait((waiting,), timeout=SOON_S if rings else 0.01)

        assert (notice, least, waiting.done()) == (notice, least, rings)
        waiting.cancel()


def test_a_wake_signal_fires_immediately_for_consecutive_notices() -> None:
    async def wait_for_notice() -> None:
        signal = NoticeWakeSignal(Listener(worker="w", tags=frozenset()))
        for within_s in (0, 0.0001, 60, 0):
            signal.handle_notice(WakeupNotice(at=0), within_s)
        await signal.wait(LONG)

    for run in (asyncio.run, uvloop.run):
        run(asyncio.wait_for(wait_for_notice(), SOON_S))


def test_dues_of_a_kind_in_a_second_are_one_notice() -> None:
    gpu = needs_text({"gpu"})
    dues = [Wakeup(NOW + timedelta(milliseconds=n)) for n in (30, 20, 10)]
    dues += [Wakeup(NOW, gpu), Wakeup(NOW + timedelta(seconds=1)), Wakeup(NOW, shard=True)]

    notices = [read(text) for text in encode_notices(dues)]

    at = NOW.timestamp()
    assert sorted((n.at, n.needs, n.shard, n.count) for n in notices if n is not None) == [
        (at, "", True, 1),
        (at, "gpu", False, 1),
        (pytest.approx(at + 0.01), "", False, 3),
        (at + 1, "", False, 1),
    ]


def test_a_notice_is_never_longer_than_postgres_accepts() -> None:
    many = needs_text({f"tag-{n:0250}" for n in range(40)})
    every_second = [Wakeup(NOW + timedelta(seconds=n)) for n in range(1000)]

    [notice] = encode_notices([Wakeup(NOW, many)])

    assert len(notice.encode()) < 8000
    assert read(notice) == WakeupNotice(at=NOW.timestamp())
    assert len(encode_notices(every_second)) == 100


def test_the_first_in_line_looks_at_once_and_the_last_not_at_all() -> None:
    assert [delay_s(place) for place in (0.0, 1.0)] == [0.0, 0.0]
    assert delay_s(2.0) == STEP_S
    assert delay_s(LAST) == pytest.approx(2 * STEP_S)
    assert delay_s(LAST + 0.1) is None
