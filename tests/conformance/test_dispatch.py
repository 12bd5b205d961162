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
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.core.jobs.spec import Priority
from crawlyard.messaging.dispatcher import Dispatcher, Listener, WakeSignal
from crawlyard.messaging.local_dispatcher import LocalDispatcher
from crawlyard.messaging.pipes import PipeDispatcher
from crawlyard.messaging.postgres_dispatcher import PostgresDispatcher
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.store.open import open_sql_store
from crawlyard.store.store import Store
from tests.builders import LEASE, a_batch, a_job, a_spec, a_target, its_event
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
    memory: Store = field(init=False)

    def __post_init__(self) -> None:
        self.memory = open_in_memory(lambda: self.shared.announce(SystemClock().now()))

    async def another(self) -> tuple[Store, Dispatcher]:
        """Return the store and a dispatcher as another process would open them."""
        where = self.backend.where
        if not where:
            return self.memory, self.shared
        if where.startswith("postgres"):
            dispatcher: Dispatcher = PostgresDispatcher(where, SystemClock())
            store = await open_sql_store(where)
        else:
            dispatcher = pipes = PipeDispatcher(self.folder / "workers")
            store = await open_sql_store(where, on_due=pipes.wake_all)
        self.stack.push_async_callback(store.close)
        return store, dispatcher


@pytest.fixture
async def station(backend: Backend, tmp_path: Path) -> AsyncIterator[Station]:
    async with AsyncExitStack() as stack:
        yield Station(backend, tmp_path, stack)


@asynccontextmanager
async def listening(dispatcher: Dispatcher, worker: str, *tags: str) -> AsyncIterator[WakeSignal]:
    """Yield the signal of a worker that has looked once, and hears of work from then on."""
    is_listening = asyncio.Event()
    listener = Listener(worker=worker, tags=frozenset(tags))
    async with (
        dispatcher.presence(worker, is_listening.set) as presence,
        dispatcher.wake_signal(listener) as signal,
    ):
        if not presence.holding:
            async with asyncio.timeout(SOON_S):
                await is_listening.wait()
        yield signal


async def submitted(store: Store, dispatcher: Dispatcher, **fields: object) -> Job:
    """Submit a job that is due now, as a service does."""
    now = SystemClock().now()
    spec = a_spec(**fields)
    job = a_job(spec=spec, created_at=now, due_at=now, queued_at=now, since=now, updated_at=now)
    await store.jobs.add(job, its_event(job))
    dispatcher.announce(now)
    return job


async def woken(signal: WakeSignal, least: Priority = Priority.LOW) -> None:
    """Return once the signal has rung; a signal that is not rung fails the test."""
    began = monotonic()
    async with asyncio.timeout(SOON_S):
        await signal.wait(LONG, least=least)
    assert monotonic() - began < SOON_S


async def test_a_submission_elsewhere_wakes_who_waits(station: Station) -> None:
    here, other = await station.another(), await station.another()
    async with listening(here[1], "w") as signal:
        for _ in range(3):
            waiting = asyncio.create_task(woken(signal))
            await asyncio.sleep(0)

            await submitted(*other)

            await waiting


async def test_a_submission_before_the_wait_is_not_missed(station: Station) -> None:
    here, other = await station.another(), await station.another()
    async with listening(here[1], "w") as signal:
        await submitted(*other)

        await woken(signal)


async def test_who_takes_no_more_but_urgent_jobs_is_woken_by_one(station: Station) -> None:
    here, other = await station.another(), await station.another()
    async with listening(here[1], "w") as signal:
        waiting = asyncio.create_task(woken(signal, least=Priority.URGENT))
        await asyncio.sleep(0)

        await submitted(*other, priority=Priority.URGENT)

        await waiting


async def test_a_shard_that_waits_for_somebody_wakes_who_waits(station: Station) -> None:
    here, other = await station.another(), await station.another()
    store, dispatcher = other
    job = await submitted(store, dispatcher, urls=("https://h0.example/",), spread=2)
    claim = await store.leases.claim(Asker("another", only=job.id), job.due_at, LEASE)
    async with listening(here[1], "w") as signal:
        await signal.wait(A_MOMENT)  # in addition to the wake-up for the job itself
        waiting = asyncio.create_task(woken(signal))
        await asyncio.sleep(0)

        targets = [a_target(host=host) for host in ("h0.example", "h2.example")]  # one is ours
        assert claim is not None
        await store.frontier.record([(claim.lease, a_batch(found=targets))], job.due_at, LEASE)

        await waiting


async def test_no_worker_is_woken_without_a_job(station: Station) -> None:
    async with listening((await station.another())[1], "w") as signal:
        began = monotonic()

        await signal.wait(A_MOMENT)

        assert monotonic() - began >= A_MOMENT.total_seconds()


async def test_a_wake_signal_wakes_one_worker_only(station: Station) -> None:
    _, dispatcher = await station.another()
    async with listening(dispatcher, "a") as first_bell, listening(dispatcher, "b") as two:
        other = asyncio.create_task(two.wait(LONG))
        waiting = asyncio.create_task(woken(first_bell))
        await asyncio.sleep(0)

        first_bell.wake()

        await waiting
        assert not other.done()
        other.cancel()


async def test_an_announcement_wakes_all_workers_of_its_process(station: Station) -> None:
    _, dispatcher = await station.another()
    async with listening(dispatcher, "a") as first_bell, listening(dispatcher, "b") as two:
        waiting = asyncio.gather(woken(first_bell), woken(two))
        await asyncio.sleep(0)

        dispatcher.announce(SystemClock().now())

        await waiting


def test_the_pipe_of_a_dead_worker_goes_with_the_next_word(tmp_path: Path) -> None:
    stale_pipe = tmp_path / "dead.wake"
    os.mkfifo(stale_pipe)

    PipeDispatcher(tmp_path).wake_all()

    assert not stale_pipe.exists()


def test_a_pipe_of_another_user_is_skipped() -> None:
    with readable_folder() as folder:
        stale_pipe = folder / "dead.wake"
        os.mkfifo(stale_pipe)
        stale_pipe.chmod(0o666)
        with unprivileged(folder):
            PipeDispatcher(folder).wake_all()

        assert stale_pipe.exists()


async def test_a_job_that_waits_again_wakes_who_waits(station: Station) -> None:
    (store, dispatcher), (other, their_dispatcher) = (
        await station.another(),
        await station.another(),
    )
    now = SystemClock().now()
    job = a_job(created_at=now, due_at=now + timedelta(hours=1), queued_at=now, since=now)
    await store.jobs.add(job, its_event(job))
    async with listening(dispatcher, "w") as signal:
        waiting = asyncio.create_task(woken(signal))
        await asyncio.sleep(0)

        hurried = job.apply_move(Move.RETRY_NOW, SystemClock().now(), actor="local")
        await other.jobs.save(*hurried)
        their_dispatcher.announce(now)

        await waiting
