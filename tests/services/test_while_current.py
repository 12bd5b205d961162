"""Background services of a server end once a newer program has changed the schema."""

import asyncio

import pytest

from crawlyard.cli.server.serve import while_current


class ObservableService:
    def __init__(self) -> None:
        self.began, self.ended = asyncio.Event(), False

    async def run(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True


async def test_a_service_ends_when_the_tables_are_newer_and_the_server_does_not() -> None:
    service, upgrade = ObservableService(), asyncio.Event()
    newer = asyncio.create_task(_until(upgrade))
    doing = asyncio.create_task(while_current(service.run, newer))
    await service.began.wait()
    before = service.ended

    upgrade.set()
    await newer
    for _ in range(10):  # turns enough to end, if it were to
        await asyncio.sleep(0)

    assert (before, service.ended, doing.done()) == (False, True, False)
    doing.cancel()


async def test_a_service_ends_with_its_server() -> None:
    service, newer = ObservableService(), asyncio.create_task(_until(asyncio.Event()))
    doing = asyncio.create_task(while_current(service.run, newer))
    await service.began.wait()

    doing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doing

    assert service.ended
    newer.cancel()


async def test_an_error_of_a_service_is_raised() -> None:
    async def fail() -> None:
        raise ValueError("no")

    newer = asyncio.create_task(_until(asyncio.Event()))
    with pytest.raises(ValueError, match="no"):
        await while_current(fail, newer)
    newer.cancel()


async def _until(upgrade: asyncio.Event) -> None:
    await upgrade.wait()
