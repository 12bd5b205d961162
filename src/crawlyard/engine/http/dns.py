"""DNS resolver that runs look-ups in daemon threads."""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeAlias

Infos: TypeAlias = Sequence[tuple[Any, ...]]
"""Addresses as returned by `socket.getaddrinfo`."""

MOST_NAMES = 512
"""Concurrent look-ups of one job, including abandoned ones."""

LookUp: TypeAlias = Callable[[str, int], Infos]


class Crowded(OSError):
    """The name was not looked up, because too many look-ups are running."""


def look_up(host: str, port: int) -> Infos:
    """Return the addresses of *host*; blocks until its name servers respond."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)


class Resolver:
    """Resolver with at most *most* concurrent look-ups.

    A look-up cannot be cancelled: it holds its thread until its name servers respond or time
    out. Requests for the same name share it. Each look-up has a thread of its own, which costs
    0.1 ms, because the process would wait for the threads of an executor when it exits.
    """

    def __init__(self, most: int, look: LookUp = look_up) -> None:
        self._most = most
        self._look = look
        self._running: dict[tuple[str, int], Future[Infos]] = {}

    async def addresses(self, host: str, port: int) -> Infos:
        """Return the current addresses of *host*.

        Raises:
            OSError: it has no address, or no name server responds.
            Crowded: too many look-ups are running.
        """
        running = self._running.get((host, port))
        if running is None:
            if len(self._running) >= self._most:
                raise Crowded(f"{self._most} other names are being looked up")
            running = self._start(host, port)
        return await asyncio.wrap_future(running)

    def _start(self, host: str, port: int) -> Future[Infos]:
        future: Future[Infos] = Future()
        future.set_running_or_notify_cancel()  # cancelling a waiter must not cancel the look-up
        self._running[host, port] = future

        def look() -> None:
            try:
                infos = self._look(host, port)
            except Exception as error:  # noqa: BLE001 - passed on to the waiters
                self._running.pop((host, port))
                future.set_exception(error)
            else:
                self._running.pop((host, port))
                future.set_result(infos)

        try:
            threading.Thread(target=look, name=f"look-up of {host}", daemon=True).start()
        except RuntimeError as error:  # the system allows no more threads
            del self._running[host, port]
            raise Crowded(f"{host} was not looked up: {error}") from error
        return future


_RESOLVE_S = 5.0
_RESOLVER = Resolver(32)


async def addresses_of(host: str, port: int) -> Sequence[str]:
    """Return the current addresses of *host*, sorted.

    Raises:
        OSError: it has no address, or no name server responds.
    """
    async with asyncio.timeout(_RESOLVE_S):
        infos = await _RESOLVER.addresses(host, port)
    return sorted({str(address[0]) for *_, address in infos})
