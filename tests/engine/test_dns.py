"""Look-ups of names: in threads of their own, shared by all callers with the same name."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from crawlyard.engine.http.dns import Crowded, Infos, Resolver, look_up

FOUND: Infos = [(2, 1, 6, "", ("192.0.2.1", 80))]


class BlockedLookups:
    """Look-ups that last until a test lets them end."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.over = threading.Event()

    def look(self, host: str, port: int) -> Infos:
        self.names.append(f"{host}:{port}")
        self.over.wait(20)
        if host == "unknown":
            raise OSError("no such name")
        return FOUND


@pytest.fixture
def slow() -> Iterator[BlockedLookups]:
    names = BlockedLookups()
    yield names
    names.over.set()


async def wait_for_look_ups(slow: BlockedLookups, count: int) -> None:
    async with asyncio.timeout(120):
        while len(slow.names) < count:  # noqa: ASYNC110 - a thread sets no event
            await asyncio.sleep(0)


async def test_concurrent_requests_for_a_name_share_one_lookup(slow: BlockedLookups) -> None:
    names = Resolver(1, slow.look)
    waiting = [asyncio.create_task(names.addresses("a.example", 80)) for _ in range(5)]
    await wait_for_look_ups(slow, 1)

    slow.over.set()

    assert await asyncio.gather(*waiting) == [FOUND] * 5
    assert slow.names == ["a.example:80"]
    assert await names.addresses("a.example", 80) == FOUND
    assert len(slow.names) == 2


async def test_a_lookup_without_waiters_still_counts(slow: BlockedLookups) -> None:
    names = Resolver(1, slow.look)
    given_up = asyncio.create_task(names.addresses("a.example", 80))
    await wait_for_look_ups(slow, 1)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)

    with pytest.raises(Crowded, match="1 other names are being looked up"):
        await names.addresses("b.example", 80)

    again = asyncio.create_task(names.addresses("a.example", 80))
    slow.over.set()
    assert await again == FOUND


async def test_an_unknown_name_is_an_error_for_every_caller(slow: BlockedLookups) -> None:
    names = Resolver(1, slow.look)
    slow.over.set()

    for _ in range(2):
        with pytest.raises(OSError, match="no such name"):
            await names.addresses("unknown", 80)


async def test_names_are_looked_up_as_the_system_does() -> None:
    infos = await Resolver(1, look_up).addresses("127.0.0.1", 8080)

    assert [address for *_, address in infos] == [("127.0.0.1", 8080)]


async def test_a_name_for_which_there_is_no_thread_can_be_looked_up_later(
    slow: BlockedLookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Resolver(1, slow.look)
    slow.over.set()

    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_more)
        with pytest.raises(Crowded, match="can't start"):
            await names.addresses("a.example", 80)

    assert await names.addresses("a.example", 80) == FOUND
