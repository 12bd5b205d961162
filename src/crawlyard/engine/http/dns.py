"""Names looked up in threads that nothing else waits for."""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeAlias

Infos: TypeAlias = Sequence[tuple[Any, ...]]
"""As `socket.getaddrinfo` returns them."""

MOST_NAMES = 512
"""Looked up at once for one job, those included that nobody waits for any more."""

Look: TypeAlias = Callable[[str, int], Infos]


class Crowded(OSError):
    """So many names are being looked up that this one was not: nobody was asked."""


def look_up(host: str, port: int) -> Infos:
    """Return the addresses of *host*; blocks for as long as its name servers do."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)


class Resolver:
    """Looks names up, at most *most* at once.

    A look-up cannot be broken off: it holds its thread until its name servers have
    answered or not, and whoever asks for the same name meanwhile waits for the same one.
    Each has a thread of its own, as those of an executor would be waited for when the
    process ends; that costs 0.1 ms.
    """

    def __init__(self, most: int, look: Look = look_up) -> None:
        self._most = most
        self._look = look
        self._under_way: dict[tuple[str, int], Future[Infos]] = {}

    async def addresses(self, host: str, port: int) -> Infos:
        """Return the addresses that *host* has now.

        Raises:
            OSError: it has none, or nobody answers.
            Crowded: too many others are being looked up.
        """
        begun = self._under_way.get((host, port))
        if begun is None:
            if len(self._under_way) >= self._most:
                raise Crowded(f"{self._most} other names are being looked up")
            begun = self._begin(host, port)
        return await asyncio.wrap_future(begun)

    def _begin(self, host: str, port: int) -> Future[Infos]:
        found: Future[Infos] = Future()
        found.set_running_or_notify_cancel()  # one who waits and is cancelled cancels nothing
        self._under_way[host, port] = found

        def look() -> None:
            try:
                infos = self._look(host, port)
            except Exception as error:  # noqa: BLE001 - whoever waits is told
                self._under_way.pop((host, port))
                found.set_exception(error)
            else:
                self._under_way.pop((host, port))
                found.set_result(infos)

        try:
            threading.Thread(target=look, name=f"look-up of {host}", daemon=True).start()
        except RuntimeError as error:  # the machine gives this process no more threads
            del self._under_way[host, port]
            raise Crowded(f"{host} was not looked up: {error}") from error
        return found


_RESOLVE_S = 5.0
_TO_SAVE = Resolver(32)


async def addresses_of(host: str, port: int) -> Sequence[str]:
    """Return the addresses that *host* has now, perhaps more than one.

    Raises:
        OSError: it has none, or nobody answers.
    """
    async with asyncio.timeout(_RESOLVE_S):
        found = await _TO_SAVE.addresses(host, port)
    return sorted({str(address[0]) for *_, address in found})
