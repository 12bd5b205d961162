"""The connections of aiohttp: none is made that a guard has not allowed; see `reach` for ours."""

import asyncio
import socket
from contextvars import ContextVar
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType, Connection
from yarl import URL

from crawlyard.engine.fetch import Go, at_once
from crawlyard.engine.guard import Guard
from crawlyard.engine.names import Names
from crawlyard.engine.urls import hostname_of
from crawlyard.trust import trusting

_LONGEST_LINE = 16 * 1024
_LONGEST_HEADER = 64 * 1024
_MOST_HEADERS = 256
_CONNECT_S = 10.0
_LOOK_UPS = 64  # of one session at once; the others wait for their turn

go_of: ContextVar[Go] = ContextVar("go_of", default=at_once)
"""When the request of a task may be sent, once it has a connection."""

_host_asked: ContextVar[str] = ContextVar("host_asked")
"""The host of the URL that a task asks for: the socket factory sees only addresses."""


class _Resolver(AbstractResolver):
    """Looks names up for a session: aiohttp's own does that in threads that all share."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._turns = asyncio.Semaphore(_LOOK_UPS)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of *host*."""
        async with self._turns:
            infos = await self._names.addresses(host, port)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=int(address[1]),
                family=found,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found, _, protocol, _, address in infos
            if family in (socket.AF_UNSPEC, found)
        ]

    async def close(self) -> None:
        """Return at once: it has nothing that is open."""


class _Request(aiohttp.ClientRequest):
    """A request that is sent when it may be."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send it over a connection that is made."""
        await go_of.get()()
        return await super().send(conn)


def guarded_session(
    guard: Guard, total_s: float, names: Names, ca_file: Path | None, *, keeps_alive: bool
) -> aiohttp.ClientSession:
    """Return a session whose every connection *guard* is asked about; it is to be closed.

    A request and its answer together take at most *total_s* seconds.
    """

    def socket_for(info: AddrInfoType) -> socket.socket:
        """Return a socket for one address that the guard has allowed.

        Every new connection passes here with the address that it is about to use: names
        that resolve to somewhere else the second time, and IP literals, which no
        resolver sees, included.
        """
        family, kind, protocol, _, address = info
        guard.check(_host_asked.get(), str(address[0]), int(address[1]))
        return socket.socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(
        limit=0,  # others count
        socket_factory=socket_for,
        resolver=_Resolver(names),
        ttl_dns_cache=60,
        ssl=trusting(ca_file) if ca_file else True,
        **({"keepalive_timeout": 15} if keeps_alive else {"force_close": True}),
    )
    session = aiohttp.ClientSession(
        connector=connector,
        request_class=_Request,
        cookie_jar=aiohttp.DummyCookieJar(),  # nothing leaks between hosts, pages or jobs
        timeout=aiohttp.ClientTimeout(total=total_s, sock_connect=min(_CONNECT_S, total_s)),
        auto_decompress=False,  # `Decoder` caps what comes out
        trust_env=False,  # through a proxy, the guard could not see where to
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        max_line_size=_LONGEST_LINE,
        max_field_size=_LONGEST_HEADER,
        max_headers=_MOST_HEADERS,
    )
    # aiohttp would send a GET again by itself when a kept-alive connection drops,
    # without delay and behind the gate's back; a test holds this attribute in place
    session._retry_connection = False  # noqa: SLF001
    return session


def asked(url: str) -> URL:
    """Return a canonical *url* as the client takes it, byte for byte; this task asks it now."""
    _host_asked.set(hostname_of(url))
    return URL(url, encoded=True)
