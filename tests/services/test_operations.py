"""Background operations: run beside the server, also when the store is unavailable for a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest
from msgspec.structs import replace

from crawlyard.core.access.user import LOCAL, Actor
from crawlyard.core.operations.operation import Failure, Operation, OperationKind, OperationState
from crawlyard.errors import StoreUnavailable
from crawlyard.services.operations.operations import LEASE, LOOK_EVERY, Operations, Portion
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.store.store import Store
from tests.clock import FakeClock, settle


class ThreePortions:
    """A worker of three portions that fails at one of them."""

    def __init__(self, breaks: Exception | None = None) -> None:
        self.breaks = breaks
        self.steps: list[tuple[str, str, bool]] = []

    async def __call__(self, actor: Actor, operation: Operation, again: bool) -> Portion:
        self.steps.append((actor.id, operation.cursor, again))
        if self.breaks is not None:
            error, self.breaks = self.breaks, None
            raise error
        done = int(operation.cursor or 0) + 1
        failure = Failure(id=str(done), code="x", detail="y")
        return Portion(done=1, failures=(failure,), cursor=str(done), over=done == 3)


def operations(store: Store, clock: FakeClock, worker: ThreePortions) -> Operations:
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
    store, clock, worker = open_in_memory(), FakeClock(), ThreePortions()
    service = operations(store, clock, worker)

    async with running(service):
        await settle()
        operation = await service.start(LOCAL, OperationKind.JOBS, {}, 3)
        await settle()

    stored = await service.get(LOCAL, operation.id)
    assert (stored.state, stored.done, stored.failed) == (OperationState.COMPLETED, 3, 3)
    assert worker.steps == [(LOCAL.id, "", False), (LOCAL.id, "1", False), (LOCAL.id, "2", False)]


async def test_what_others_have_started_is_seen_soon() -> None:
    store, clock, worker = open_in_memory(), FakeClock(), ThreePortions()
    elsewhere = operations(store, clock, ThreePortions())

    async with running(operations(store, clock, worker)):
        await settle()
        operation = await elsewhere.start(LOCAL, OperationKind.JOBS, {}, 3)
        await clock.advance(LOOK_EVERY)

    assert (await elsewhere.get(LOCAL, operation.id)).state is OperationState.COMPLETED


async def test_a_store_that_was_away_is_waited_for() -> None:
    store, clock = open_in_memory(), FakeClock()
    worker = ThreePortions(StoreUnavailable("away"))
    service = operations(store, clock, worker)

    async with running(service):
        operation = await service.start(LOCAL, OperationKind.JOBS, {}, 3)
        await settle()
        between = await service.get(LOCAL, operation.id)
        await clock.advance(LEASE + timedelta(seconds=10))

    stored = await service.get(LOCAL, operation.id)
    assert (between.state, between.done) == (OperationState.RUNNING, 0)
    assert (stored.state, stored.done) == (OperationState.COMPLETED, 3)
    assert [again for *_, again in worker.steps] == [False, True, False, False]


async def test_an_internal_error_fails_an_operation_with_its_detail() -> None:
    store, clock = open_in_memory(), FakeClock()
    service = operations(store, clock, ThreePortions(RuntimeError("oops")))
    operation = await service.start(LOCAL, OperationKind.JOBS, {}, 3)
    await service.work_at_one()
    stored = await service.get(LOCAL, operation.id)
    assert (stored.state, stored.detail) == (OperationState.FAILED, "RuntimeError: oops")


async def test_two_servers_do_not_work_at_the_same_one() -> None:
    store, clock, worker = open_in_memory(), FakeClock(), ThreePortions()
    first, second = (operations(store, clock, worker) for _ in range(2))
    await first.start(LOCAL, OperationKind.JOBS, {}, 3)
    worked = await asyncio.gather(first.work_at_one(), second.work_at_one())
    assert sorted(worked) == [False, True]
    assert len(worker.steps) == 3


async def test_whose_lease_was_taken_over_writes_no_more() -> None:
    store, clock, worker = open_in_memory(), FakeClock(), ThreePortions()
    service = operations(store, clock, worker)
    operation = await service.start(LOCAL, OperationKind.JOBS, {}, 3)
    now = clock.now()
    mine = await store.operations.claim(now, now + LEASE)
    assert mine is not None
    await store.operations.save(replace(mine, version=mine.version + 1, cursor="2"))

    after = await service._step(mine, again=False)

    assert after is None
    assert (await service.get(LOCAL, operation.id)).cursor == "2"


class WaitingPortions(ThreePortions):
    """A worker whose portions wait for the test."""

    def __init__(self) -> None:
        super().__init__()
        self.through = asyncio.Event()

    async def __call__(self, actor: Actor, operation: Operation, again: bool) -> Portion:
        portion = await super().__call__(actor, operation, again)
        await self.through.wait()
        return portion


async def test_a_cancelled_worker_finishes_its_batch_and_releases_the_operation() -> None:
    store, clock, slow, other = open_in_memory(), FakeClock(), WaitingPortions(), ThreePortions()
    service = operations(store, clock, slow)
    operation = await service.start(LOCAL, OperationKind.JOBS, {}, 3)
    task = asyncio.create_task(service.run())
    await settle()

    task.cancel()
    await settle()
    waits = not task.done()
    slow.through.set()
    with suppress(asyncio.CancelledError):
        await task

    stored = await service.get(LOCAL, operation.id)
    assert waits
    assert (stored.state, stored.cursor, stored.leased_until) == (OperationState.RUNNING, "1", None)
    assert await operations(store, clock, other).work_at_one()
    assert [cursor for _, cursor, _ in other.steps] == ["1", "2"]


async def test_an_operation_cancelled_meanwhile_is_not_released() -> None:
    store, clock, slow = open_in_memory(), FakeClock(), WaitingPortions()
    service = operations(store, clock, slow)
    operation = await service.start(LOCAL, OperationKind.JOBS, {}, 3)
    task = asyncio.create_task(service.run())
    await settle()

    await service.cancel(LOCAL, operation.id)
    task.cancel()
    slow.through.set()
    with suppress(asyncio.CancelledError):
        await task

    assert (await service.get(LOCAL, operation.id)).state is OperationState.CANCELLED


class TestDrain:
    async def test_all_that_is_due_is_done(self) -> None:
        store, clock, worker = open_in_memory(), FakeClock(), ThreePortions()
        service = operations(store, clock, worker)
        started = [await service.start(LOCAL, OperationKind.JOBS, {}, 3) for _ in range(2)]

        worked = [await service.drain() for _ in range(2)]

        states = [(await service.get(LOCAL, operation.id)).state for operation in started]
        assert worked == [True, False]
        assert states == [OperationState.COMPLETED] * 2

    async def test_what_a_dead_process_had_is_done_once_its_lease_has_lapsed(self) -> None:
        store, clock, worker = open_in_memory(), FakeClock(), ThreePortions()
        service = operations(store, clock, worker)
        operation = await service.start(LOCAL, OperationKind.JOBS, {}, 3)
        await store.operations.claim(clock.now(), clock.now() + LEASE)  # and it dies

        drained = asyncio.create_task(service.drain())
        await clock.advance(LEASE - LOOK_EVERY)
        early = drained.done()
        await clock.advance(2 * LOOK_EVERY)

        assert not early
        assert await drained
        assert (await service.get(LOCAL, operation.id)).state is OperationState.COMPLETED

    async def test_what_somebody_else_works_at_is_left_to_him(self) -> None:
        store, clock, worker = open_in_memory(), FakeClock(), ThreePortions()
        service = operations(store, clock, worker)
        await service.start(LOCAL, OperationKind.JOBS, {}, 3)
        his = await store.operations.claim(clock.now(), clock.now() + LEASE)
        assert his is not None

        drained = asyncio.create_task(service.drain())
        await clock.advance(LOOK_EVERY)
        waits = not drained.done()
        further = replace(his, version=his.version + 1, leased_until=clock.now() + LEASE)
        await store.operations.save(further)
        await clock.advance(LOOK_EVERY)

        assert waits
        assert drained.done()
        assert not await drained
        assert worker.steps == []

    async def test_a_store_that_is_away_is_waited_for(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        store, clock = open_in_memory(), FakeClock()
        service = operations(store, clock, ThreePortions(StoreUnavailable("away")))
        operation = await service.start(LOCAL, OperationKind.JOBS, {}, 3)

        drained = asyncio.create_task(service.drain())
        await clock.advance(LEASE + timedelta(seconds=10))

        assert await drained
        assert (await service.get(LOCAL, operation.id)).state is OperationState.COMPLETED
        assert "the store is unavailable" in caplog.text
