"""Operations in the background: run beside the server, while the store comes and goes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta

from crawlyard.core.desk import Failure, Operation, OperationKind, OperationState
from crawlyard.core.user import LOCAL, Actor
from crawlyard.errors import StoreUnavailable
from crawlyard.services.operations import LEASE, LOOK_EVERY, Operations, Portion
from crawlyard.store.base import Store
from crawlyard.store.memory import open_memory_store
from tests.clock import FakeClock, settle


class Counting:
    """Does three portions of one, and breaks where it is told to."""

    def __init__(self, breaks: Exception | None = None) -> None:
        self.breaks = breaks
        self.seen: list[tuple[str, str, bool]] = []

    async def __call__(self, actor: Actor, operation: Operation, again: bool) -> Portion:
        self.seen.append((actor.id, operation.cursor, again))
        if self.breaks is not None:
            error, self.breaks = self.breaks, None
            raise error
        done = int(operation.cursor or 0) + 1
        failure = Failure(id=str(done), code="x", detail="y")
        return Portion(done=1, failures=(failure,), cursor=str(done), over=done == 3)


def operations(store: Store, clock: FakeClock, worker: Counting) -> Operations:
    return Operations(store, clock, {OperationKind.JOBS: worker})


@asynccontextmanager
async def running(service: Operations) -> AsyncIterator[None]:
    task = asyncio.create_task(service.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_what_is_started_here_begins_at_once() -> None:
    store, clock, worker = open_memory_store(), FakeClock(), Counting()
    service = operations(store, clock, worker)

    async with running(service):
        await settle()
        made = await service.start(LOCAL, OperationKind.JOBS, {}, 3)
        await settle()

    kept = await service.get(LOCAL, made.id)
    assert (kept.state, kept.done, kept.failed) == (OperationState.COMPLETED, 3, 3)
    assert worker.seen == [(LOCAL.id, "", False), (LOCAL.id, "1", False), (LOCAL.id, "2", False)]


async def test_what_others_have_started_is_seen_soon() -> None:
    store, clock, worker = open_memory_store(), FakeClock(), Counting()
    elsewhere = operations(store, clock, Counting())

    async with running(operations(store, clock, worker)):
        await settle()
        made = await elsewhere.start(LOCAL, OperationKind.JOBS, {}, 3)
        await clock.advance(LOOK_EVERY)

    assert (await elsewhere.get(LOCAL, made.id)).state is OperationState.COMPLETED


async def test_a_store_that_was_away_is_waited_for() -> None:
    store, clock = open_memory_store(), FakeClock()
    worker = Counting(StoreUnavailable("away"))
    service = operations(store, clock, worker)

    async with running(service):
        made = await service.start(LOCAL, OperationKind.JOBS, {}, 3)
        await settle()
        between = await service.get(LOCAL, made.id)
        await clock.advance(LEASE + timedelta(seconds=10))

    kept = await service.get(LOCAL, made.id)
    assert (between.state, between.done) == (OperationState.RUNNING, 0)
    assert (kept.state, kept.done) == (OperationState.COMPLETED, 3)
    assert [again for *_, again in worker.seen] == [False, True, False, False]


async def test_an_error_of_ours_ends_it_and_is_told() -> None:
    store, clock = open_memory_store(), FakeClock()
    service = operations(store, clock, Counting(RuntimeError("oops")))
    made = await service.start(LOCAL, OperationKind.JOBS, {}, 3)

    await service.work_at_one()

    kept = await service.get(LOCAL, made.id)
    assert (kept.state, kept.detail) == (OperationState.FAILED, "RuntimeError: oops")


async def test_two_servers_do_not_work_at_the_same_one() -> None:
    store, clock, worker = open_memory_store(), FakeClock(), Counting()
    first, second = (operations(store, clock, worker) for _ in range(2))
    await first.start(LOCAL, OperationKind.JOBS, {}, 3)

    worked = await asyncio.gather(first.work_at_one(), second.work_at_one())

    assert sorted(worked) == [False, True]
    assert len(worker.seen) == 3


async def test_whose_lease_was_taken_over_writes_no_more() -> None:
    store, clock, worker = open_memory_store(), FakeClock(), Counting()
    service = operations(store, clock, worker)
    made = await service.start(LOCAL, OperationKind.JOBS, {}, 3)
    now = clock.now()
    mine = await store.operations.claim(now, now + LEASE)
    assert mine is not None
    await store.operations.save(replace(mine, version=mine.version + 1, cursor="2"))

    after = await service._step(mine, again=False)

    assert after is None
    assert (await service.get(LOCAL, made.id)).cursor == "2"
