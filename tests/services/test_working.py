"""Services beside a worker's jobs: they end with the jobs, and log their failures."""

import asyncio
import signal

import pytest

from crawlyard import JobQuery, Move
from crawlyard.cli.server.work import Beside, run_dry, run_together
from crawlyard.cli.signals import Interrupts, catch_interrupts
from crawlyard.config import Settings
from crawlyard.core.access.user import LOCAL
from crawlyard.core.operations.operation import OperationKind, OperationState
from crawlyard.yard import IN_MEMORY, Yard
from tests.builders import a_spec
from tests.builders_serve import a_retry
from tests.clock import settle
from tests.jobs import submit


class Jobs:
    """A worker without jobs that runs until the test ends it."""

    def __init__(self) -> None:
        self.given_back = False
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        await self._stopping.wait()
        await asyncio.sleep(0)  # the time a worker needs to release its jobs
        self.given_back = True

    def stop(self) -> None:
        self._stopping.set()


class EndlessService:
    """Runs until it is cancelled."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.cancelled = False

    async def run(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def broken() -> None:
    await asyncio.sleep(0)
    raise ZeroDivisionError("one of ours")


async def test_services_end_with_the_jobs() -> None:
    jobs, service = Jobs(), EndlessService()

    with catch_interrupts(lambda: None) as stop:
        running = asyncio.create_task(
            run_together(jobs.run, {"janitor": service.run}, stop, jobs.stop)
        )
        await service.began.wait()
        jobs.stop()
        await running

    assert service.cancelled


async def test_a_service_error_is_logged_and_raised_once_jobs_are_released(
    caplog: pytest.LogCaptureFixture,
) -> None:
    jobs, service = Jobs(), EndlessService()
    with (
        catch_interrupts(lambda: None) as stop,
        pytest.raises(ZeroDivisionError, match="one of ours"),
    ):
        await run_together(jobs.run, {"webhooks": service.run, "janitor": broken}, stop, jobs.stop)
    assert jobs.given_back
    assert service.cancelled
    assert "the janitor failed; stopping the worker" in caplog.text


@pytest.mark.parametrize("indexes", [True, False])
async def test_pages_are_indexed_beside_the_jobs_unless_that_is_switched_off(indexes: bool) -> None:
    settings = Settings(database_url=IN_MEMORY, search_index=indexes)
    async with Yard.open(settings) as yard:
        assert ("search index" in Beside().services(yard)) == indexes
        assert "search index" not in Beside(janitor=False).services(yard)


async def test_an_error_of_the_worker_itself_is_not_hidden() -> None:
    service = EndlessService()
    with catch_interrupts(lambda: None) as stop, pytest.raises(ExceptionGroup) as raised:
        await run_together(broken, {"janitor": service.run}, stop, lambda: None)
    assert raised.group_contains(ZeroDivisionError)
    assert service.cancelled


async def test_what_an_operation_makes_at_the_last_moment_is_not_left_behind() -> None:
    looks = 0
    async with Yard.open(Settings(database_url=IN_MEMORY)) as yard:

        async def jobs() -> None:
            nonlocal looks
            looks += 1
            if looks == 1:  # there was none, then an operation creates one
                ended = await submit(yard, a_spec())
                await yard.services.writer.move(LOCAL, ended.id, Move.CANCEL)
                await yard.operations.start(LOCAL, OperationKind.JOBS, a_retry(ended.id), 1)
            else:
                [job, _] = await yard.store.jobs.find(JobQuery(), 50)
                await yard.services.writer.move(LOCAL, job.job.id, Move.CANCEL)

        await run_dry(yard, jobs, Interrupts(lambda: None), lambda: None, yard.worker().waits)
        [operation] = await yard.operations.list(LOCAL)

    assert looks == 2
    assert operation.state is OperationState.COMPLETED


async def test_what_is_started_while_jobs_run_does_not_wait_for_the_last_of_them() -> None:
    async with Yard.open(Settings(database_url=IN_MEMORY)) as yard:
        states: list[OperationState] = []

        async def jobs() -> None:
            begun = await yard.operations.start(LOCAL, OperationKind.JOBS, a_retry(), 0)
            await settle()
            states.append((await yard.operations.get(LOCAL, begun.id)).state)

        await run_dry(yard, jobs, Interrupts(lambda: None), lambda: None, yard.worker().waits)

    assert states == [OperationState.COMPLETED]


async def test_after_a_signal_nothing_more_is_begun() -> None:
    stop = Interrupts(lambda: None)
    stop.receive(signal.SIGTERM)
    async with Yard.open(Settings(database_url=IN_MEMORY)) as yard:
        begun = await yard.operations.start(LOCAL, OperationKind.JOBS, a_retry(), 0)
        await run_dry(yard, broken, stop, lambda: None, yard.worker().waits)
        assert (await yard.operations.get(LOCAL, begun.id)).ended_at is None
