"""What runs beside a worker's jobs: for as long as they do, and not without a word."""

import asyncio

import pytest

from crawlyard.cli.signals import interrupts
from crawlyard.cli.working import run_together


class Jobs:
    """A worker without jobs: it runs until it is let go."""

    def __init__(self) -> None:
        self.given_back = False
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        await self._stopping.wait()
        await asyncio.sleep(0)  # what a worker needs to give its jobs back
        self.given_back = True

    def stop(self) -> None:
        self._stopping.set()


class Service:
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
    jobs, service = Jobs(), Service()

    with interrupts(lambda: None) as stop:
        running = asyncio.create_task(
            run_together(jobs.run, {"janitor": service.run}, stop, jobs.stop)
        )
        await service.began.wait()
        jobs.stop()
        await running

    assert service.cancelled


async def test_a_service_that_fails_is_logged_and_its_error_comes_when_the_jobs_are_given_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    jobs, service = Jobs(), Service()

    with interrupts(lambda: None) as stop, pytest.raises(ZeroDivisionError, match="one of ours"):
        await run_together(jobs.run, {"webhooks": service.run, "janitor": broken}, stop, jobs.stop)

    assert jobs.given_back
    assert service.cancelled
    assert "the janitor has failed, so the worker stops" in caplog.text


async def test_an_error_of_the_worker_itself_is_not_hidden() -> None:
    service = Service()

    with interrupts(lambda: None) as stop, pytest.raises(ExceptionGroup) as raised:
        await run_together(broken, {"janitor": service.run}, stop, lambda: None)

    assert raised.group_contains(ZeroDivisionError)
    assert service.cancelled
