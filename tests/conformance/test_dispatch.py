"""Dispatchers: who waits for work is woken by it, in this process and in others."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from time import monotonic

import pytest

from crawlyard.clock import SystemClock
from crawlyard.core.lifecycle import Move
from crawlyard.dispatch.base import Bell, Dispatcher, Listener
from crawlyard.dispatch.local import LocalDispatcher
from crawlyard.dispatch.pipes import PipeDispatcher
from crawlyard.dispatch.procrastinate import TicketDispatcher
from crawlyard.store.base import Store
from crawlyard.store.sql import Heralds, open_sql_store
from tests.builders import a_job, its_event
from tests.conformance.conftest import Backend
from tests.rights import readable_folder, unprivileged

LONG = timedelta(seconds=60)
SOON_S = 20.0  # far beyond what is promised, as the machine may be busy
A_MOMENT = timedelta(milliseconds=50)


@dataclass
class Station:
    """A store, and the dispatchers on it: each but the first as in another process."""

    backend: Backend
    folder: Path
    stack: AsyncExitStack
    shared: LocalDispatcher = field(default_factory=LocalDispatcher)

    async def another(self) -> tuple[Store, Dispatcher]:
        """Return the store and a dispatcher as another process would open them."""
        where = self.backend.where
        if not where:
            return self.backend.memory, self.shared
        if where.startswith("postgres"):
            tickets = TicketDispatcher(where, SystemClock())
            self.stack.push_async_callback(tickets.close)
            heralds = Heralds(within=tickets.defer)
            dispatcher: Dispatcher = tickets
        else:
            pipes = PipeDispatcher(self.folder / "workers")
            heralds, dispatcher = Heralds(after=pipes.tell), pipes
        store = await open_sql_store(where, heralds=heralds)
        self.stack.push_async_callback(store.close)
        return store, dispatcher


@pytest.fixture
async def station(backend: Backend, tmp_path: Path) -> AsyncIterator[Station]:
    async with AsyncExitStack() as stack:
        yield Station(backend, tmp_path, stack)


@asynccontextmanager
async def listening(
    store: Store, dispatcher: Dispatcher, worker: str, *tags: str
) -> AsyncIterator[Bell]:
    """Yield the bell of a worker that has looked once, and hears of work from then on."""
    clock = SystemClock()
    listener = Listener(
        worker=worker, tags=frozenset(tags), due=lambda: store.queue.due(clock.now())
    )
    async with dispatcher.bell(listener) as bell:
        yield bell


async def submitted(store: Store, dispatcher: Dispatcher) -> None:
    """Submit a job that is due now, as a service does."""
    now = SystemClock().now()
    job = a_job(created_at=now, due_at=now, queued_at=now, since=now, updated_at=now)
    await store.jobs.add(job, its_event(job))
    dispatcher.announce(now)


async def woken(bell: Bell) -> None:
    """Return once the bell has rung; a bell that is not rung fails the test."""
    began = monotonic()
    async with asyncio.timeout(SOON_S):
        await bell.wait(LONG)
    assert monotonic() - began < SOON_S


async def test_a_submission_elsewhere_wakes_who_waits(station: Station) -> None:
    here, other = await station.another(), await station.another()
    async with listening(*here, "w") as bell:
        for _ in range(3):
            waiting = asyncio.create_task(woken(bell))
            await asyncio.sleep(0)

            await submitted(*other)

            await waiting


async def test_a_submission_before_the_wait_is_not_missed(station: Station) -> None:
    here, other = await station.another(), await station.another()
    async with listening(*here, "w") as bell:
        await submitted(*other)

        await woken(bell)


async def test_nobody_is_woken_when_nothing_happens(station: Station) -> None:
    async with listening(*await station.another(), "w") as bell:
        began = monotonic()

        await bell.wait(A_MOMENT)

        assert monotonic() - began >= A_MOMENT.total_seconds()


async def test_a_ring_wakes_one_worker_alone(station: Station) -> None:
    store, dispatcher = await station.another()
    async with listening(store, dispatcher, "a") as one, listening(store, dispatcher, "b") as two:
        other = asyncio.create_task(two.wait(LONG))
        waiting = asyncio.create_task(woken(one))
        await asyncio.sleep(0)

        one.ring()

        await waiting
        assert not other.done()
        other.cancel()


async def test_an_announcement_wakes_all_workers_of_its_process(station: Station) -> None:
    store, dispatcher = await station.another()
    async with listening(store, dispatcher, "a") as one, listening(store, dispatcher, "b") as two:
        waiting = asyncio.gather(woken(one), woken(two))
        await asyncio.sleep(0)

        dispatcher.announce(SystemClock().now())

        await waiting


def test_the_pipe_of_a_dead_worker_goes_with_the_next_word(tmp_path: Path) -> None:
    left = tmp_path / "dead.wake"
    os.mkfifo(left)

    PipeDispatcher(tmp_path).tell()

    assert not left.exists()


def test_the_pipe_of_another_user_stops_nobody() -> None:
    with readable_folder() as folder:
        left = folder / "dead.wake"
        os.mkfifo(left)
        left.chmod(0o666)
        with unprivileged(folder):
            PipeDispatcher(folder).tell()

        assert left.exists()


async def test_a_job_that_waits_again_wakes_who_waits(station: Station) -> None:
    (store, dispatcher), (other, theirs) = await station.another(), await station.another()
    now = SystemClock().now()
    job = a_job(created_at=now, due_at=now + timedelta(hours=1), queued_at=now, since=now)
    await store.jobs.add(job, its_event(job))
    async with listening(store, dispatcher, "w") as bell:
        waiting = asyncio.create_task(woken(bell))
        await asyncio.sleep(0)

        hurried = job.moved(Move.RETRY_NOW, SystemClock().now(), actor="local")
        await other.jobs.save(*hurried)
        theirs.announce(now)

        await waiting
