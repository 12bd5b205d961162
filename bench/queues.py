"""What a queue must do to be measured, and how it is measured."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import psycopg

_BETWEEN_S = 0.05  # two submissions of a dispatch: the worker is idle again
_PATIENCE_S = 120.0


class Queue(Protocol):
    """One queue on one store, as it is used by a program."""

    async def fill(self, waiting: int, *, due: bool) -> None:
        """Let *waiting* jobs wait that are due now, or in a day."""
        ...

    async def add(self) -> str:
        """Enqueue one job, due now, and return its id once it is committed."""
        ...

    async def add_many(self, count: int) -> None:
        """Enqueue *count* jobs by the quickest call that there is."""
        ...

    async def take(self, taker: str) -> bool:
        """Lease the next job, and tell whether there was one."""
        ...


class Contender(Protocol):
    """A queue on a kind of store."""

    @property
    def name(self) -> str:
        """Return what it is called in the tables."""
        ...

    @property
    def embedded(self) -> bool:
        """Tell whether its worker is in the process that enqueues."""
        ...

    def opened(self) -> AbstractAsyncContextManager[Queue]:
        """Give the queue, empty."""
        ...

    async def work(self, begun: Callable[[str], None]) -> None:
        """Run jobs until cancelled, and call *begun* with the id of each as its first line."""
        ...

    def held(self) -> AbstractAsyncContextManager[None]:
        """Hold a transaction open that has seen the store."""
        ...


@dataclass(frozen=True, slots=True)
class Counts:
    """How much is done of each thing."""

    single: int
    at_once: int  # callers of single submits, beside one after the other
    batch: int
    taken: int
    takers: int
    dispatched: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What one queue came to at one size."""

    single_per_s: float
    at_once_per_s: float
    batch_per_s: float
    takes_per_s: float
    take_ms: list[float]  # each, sorted
    dispatch_ms: list[float]  # each, sorted


async def figures(contender: Contender, waiting: int, counts: Counts, *, hold: bool) -> Figures:
    """Measure a queue in which *waiting* jobs wait, with a long transaction beside it or not."""
    async with contender.opened() as queue:
        await queue.fill(waiting, due=True)
        async with _beside(contender, hold=hold):
            takes_per_s, take_ms = await _taken(queue, min(counts.taken, waiting), counts.takers)
            single_per_s = await _rate(counts.single, lambda: _one_by_one(queue, counts.single))
            each, callers = counts.single // counts.at_once, counts.at_once
            at_once_per_s = await _rate(each * callers, lambda: _at_once(queue, each, callers))
            batch_per_s = await _rate(counts.batch, lambda: queue.add_many(counts.batch))
    async with contender.opened() as queue:
        await queue.fill(waiting, due=False)
        async with _beside(contender, hold=hold):
            dispatch_ms = await _dispatched(contender, queue, counts.dispatched)
    return Figures(single_per_s, at_once_per_s, batch_per_s, takes_per_s, take_ms, dispatch_ms)


@asynccontextmanager
async def _beside(contender: Contender, *, hold: bool) -> AsyncIterator[None]:
    if not hold:
        yield
        return
    async with contender.held():
        yield


async def _rate(count: int, work: Callable[[], Awaitable[None]]) -> float:
    began = time.monotonic()
    await work()
    return count / (time.monotonic() - began)


async def _one_by_one(queue: Queue, count: int) -> None:
    for _ in range(count):
        await queue.add()


async def _at_once(queue: Queue, each: int, callers: int) -> None:
    await asyncio.gather(*(_one_by_one(queue, each) for _ in range(callers)))


async def _taken(queue: Queue, count: int, takers: int) -> tuple[float, list[float]]:
    """Return how many jobs were taken a second, and how long each took, in ms."""
    took: list[float] = []

    async def take(number: int) -> None:
        for _ in range(count // takers):
            began = time.monotonic()
            if not await queue.take(f"taker-{number}"):
                raise RuntimeError(f"nothing was left after {len(took)}")
            took.append(1000 * (time.monotonic() - began))

    began = time.monotonic()
    await asyncio.gather(*(take(number) for number in range(takers)))
    return len(took) / (time.monotonic() - began), sorted(took)


async def _dispatched(contender: Contender, queue: Queue, count: int) -> list[float]:
    """Return how long after their commit jobs began at an idle worker, in ms."""
    began: dict[str, float] = {}
    news = asyncio.Event()

    def begun(job_id: str, at: float) -> None:
        began[job_id] = at
        news.set()

    running = _embedded if contender.embedded else _elsewhere
    delays: list[float] = []
    async with running(contender, begun), asyncio.timeout(_PATIENCE_S + count):
        while len(delays) < count + 1:
            job_id = await queue.add()
            committed = time.monotonic()
            while job_id not in began:
                await news.wait()
                news.clear()
            delays.append(1000 * max(0.0, began[job_id] - committed))
            await asyncio.sleep(_BETWEEN_S)
    return sorted(delays[1:])  # the first came while the worker was starting


@asynccontextmanager
async def _embedded(
    contender: Contender, begun: Callable[[str, float], None]
) -> AsyncIterator[None]:
    working = asyncio.create_task(contender.work(lambda job_id: begun(job_id, time.monotonic())))
    try:
        yield
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


@asynccontextmanager
async def _elsewhere(
    contender: Contender, begun: Callable[[str, float], None]
) -> AsyncIterator[None]:
    """Run the worker as a process of its own, which writes a line for each job."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.queue", *sys.argv[1:], "--work", contender.name),
        stdout=asyncio.subprocess.PIPE,
    )
    reading = asyncio.create_task(_read(process, begun))
    try:
        yield
    finally:
        process.kill()
        await process.wait()
        await asyncio.gather(reading, return_exceptions=True)


async def _read(process: asyncio.subprocess.Process, begun: Callable[[str, float], None]) -> None:
    if process.stdout is None:
        raise RuntimeError("the process has no output")
    async for line in process.stdout:
        job_id, at = line.split()
        begun(job_id.decode(), float(at))


def tell(job_id: str) -> None:
    """Write the line of a job that begins now."""
    os.write(1, f"{job_id} {time.monotonic()}\n".encode())


async def emptied(postgres: str) -> None:
    """Delete all that a database has."""
    async with await psycopg.AsyncConnection.connect(postgres, autocommit=True) as conn:
        await conn.execute("DROP SCHEMA public CASCADE")
        await conn.execute("CREATE SCHEMA public")


@asynccontextmanager
async def snapshot(postgres: str) -> AsyncIterator[None]:
    """Hold a transaction open beside the block, so that no dead row is removed."""
    async with await psycopg.AsyncConnection.connect(postgres) as conn:
        await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await conn.execute("SELECT count(*) FROM pg_class")
        yield
