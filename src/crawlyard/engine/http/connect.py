"""Connector: opens the connections of the HTTP client, to addresses that the guard allows."""

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TypeAlias

import aiohappyeyeballs

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.engine.http.connection import ClientConnection
from crawlyard.engine.http.dns import Crowded, Infos, Resolver
from crawlyard.engine.http.fetch import FetchFailed
from crawlyard.engine.http.guard import BlockedAddress, Guard
from crawlyard.engine.urls import hostname_of, origin_of, port_of
from crawlyard.trust import tls_context

AddrInfo: TypeAlias = aiohappyeyeballs.AddrInfoType

Check: TypeAlias = Callable[[str, int], None]
"""Raises `BlockedAddress` if an address and port must not be connected to."""

_CONNECT_S = 10.0
_HEAD_START_S = 0.25
"""Delay before the next address is tried in parallel. Source: RFC 8305, section 5."""

_LOOK_UPS = 64  # concurrent DNS look-ups of one job; others wait
_FRESH_S = 60.0  # for which addresses are cached
_MOST_KNOWN = 4096  # names with cached addresses
_MOST_TRIED = 16  # addresses tried per name, as its owner can point it at anyone


class Connector:
    """Opens the connections of one job; *guard* checks the address of each."""

    def __init__(self, guard: Guard, names: Resolver, ca_file: Path | None = None) -> None:
        self._guard = guard
        self._ca_file = ca_file
        self._names = names
        self._look_ups = asyncio.Semaphore(_LOOK_UPS)
        self._cache: OrderedDict[tuple[str, int], tuple[float, Infos]] = OrderedDict()

    def pool_key(self, url: str) -> str:
        """Return the key of the connections that a request for *url* can use."""
        return origin_of(url)

    async def dial(
        self, url: str, new_connection: Callable[[], ClientConnection]
    ) -> ClientConnection:
        """Open a connection to the server of a canonical *url*.

        Its addresses are tried in order, each shortly after the one before (Happy Eyeballs).

        Raises:
            FetchFailed: the name has no address.
            Crowded: the name was not looked up, because too many others are.
            BlockedAddress: the guard allows none of the addresses.
            TimeoutError: no address responded in time.
            OSError, RuntimeError: no address could be connected to, or none could be trusted
                (`ssl.SSLError`).
        """
        addresses = await self.targets(url)
        check = partial(self._guard.check, hostname_of(url))
        while True:
            sock = await self.connect(addresses, check)
            peer = sock.getpeername()
            try:
                return await self.set_up(sock, url, new_connection(), origin_of(url))
            except OSError:  # the handshake failed; try another address
                sock.close()
                aiohappyeyeballs.remove_addr_infos(addresses, peer)
                if not addresses:
                    raise

    async def targets(self, url: str) -> list[AddrInfo]:
        """Return the addresses of the server of *url* that the guard allows; see `dial`."""
        name, port = hostname_of(url), port_of(url)
        return filter_allowed(await self.addresses(name, port), partial(self._guard.check, name))

    async def connect(self, infos: list[AddrInfo], check: Check) -> socket.socket:
        """Return a socket that is connected to one of *infos*; each address must pass *check*."""

        def socket_for(info: AddrInfo) -> socket.socket:
            family, kind, protocol, _, address = info
            check(str(address[0]), int(address[1]))
            return socket.socket(family, kind, protocol)

        async with asyncio.timeout(_CONNECT_S):
            return await aiohappyeyeballs.start_connection(
                infos, happy_eyeballs_delay=_HEAD_START_S, socket_factory=socket_for
            )

    async def set_up(
        self, sock: socket.socket, url: str, connection: ClientConnection, key: str
    ) -> ClientConnection:
        """Set up *connection*, with TLS for https, on a socket that leads to the server of *url*.

        Abandon it if that fails.
        """
        connection.key = key
        secure = url.startswith("https:")
        context = tls_context(self._ca_file) if secure else None
        # a dot at the end only matters to resolvers; certificates have none
        server_name = hostname_of(url).rstrip(".") if secure else None
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_S):
                await loop.create_connection(
                    lambda: connection, sock=sock, ssl=context, server_hostname=server_name
                )
        except BaseException:
            connection.abandon()
            raise
        return connection

    async def addresses(self, name: str, port: int) -> Infos:
        """Return the addresses of *name*, cached; see `dial`."""
        literal = _literal(name, port)
        if literal is not None:
            return (literal,)
        now = asyncio.get_running_loop().time()
        cached = self._cache.get((name, port))
        if cached is not None and now < cached[0]:
            return cached[1]
        try:
            async with self._look_ups:
                infos = await self._names.addresses(name, port)
        except Crowded:
            raise
        except (OSError, UnicodeError) as error:
            raise _no_address(name) from error
        if not infos:
            raise _no_address(name)
        self._cache[name, port] = (now + _FRESH_S, infos)
        self._cache.move_to_end((name, port))
        if len(self._cache) > _MOST_KNOWN:
            self._cache.popitem(last=False)
        return infos


def filter_allowed(infos: Infos, check: Check) -> list[AddrInfo]:
    """Return the addresses that pass *check*, among the first `_MOST_TRIED`.

    Raises:
        BlockedAddress: no address passes.
    """
    allowed_infos, refusals = [], []
    for info in infos[:_MOST_TRIED]:
        try:
            check(str(info[4][0]), int(info[4][1]))
        except BlockedAddress as error:
            refusals.append(error)
        else:
            allowed_infos.append(info)
    if refusals and not allowed_infos:
        raise refusals[0]
    return allowed_infos


def _literal(name: str, port: int) -> AddrInfo | None:
    """Return the address that *name* spells, ``None`` if it needs a resolver."""
    try:
        address = ip_address(name)
    except ValueError:
        return None
    if address.version == 4:
        return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (name, port)
    return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (name, port, 0, 0)


def _no_address(name: str) -> FetchFailed:
    return FetchFailed(ErrorKind.DNS, f"{name} has no address", transient=True)
