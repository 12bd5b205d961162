"""Tunnels: how a proxy is asked to connect to an address, by HTTP CONNECT or SOCKS5.

A proxy is given the address that the guard has judged, never a name. Nothing is read beyond its
answer: a server that speaks before it is asked breaks off the connection.
"""

import asyncio
import socket
from base64 import b64encode
from ipaddress import ip_address

from crawlyard.engine.http.proxy import Proxy, Scheme

_LONGEST_HEAD = 16 * 1024  # bytes of the answer to a CONNECT

_VERSION, _NO_LOGIN, _LOGIN, _CONNECT = 5, 0, 2, 1  # RFC 1928
_TYPES = {4: 1, 6: 4}  # of addresses, by the version of IP
_LENGTHS = {1: 4, 4: 16}  # of addresses, by their type; a name says its own
_NAME = 3
_REPLIES = {
    1: "it failed",
    2: "it does not allow that",
    3: "the network is out of reach",
    4: "the host is out of reach",
    5: "the connection was refused",
    6: "the host did not answer",
    7: "it has no CONNECT",
    8: "it does not know addresses of this kind",
}


class ProxyFailed(OSError):
    """A proxy cannot be used, whatever it is asked for: it is down, or refuses who asks."""


class NoTunnel(OSError):
    """A proxy works and does not connect to this address."""


async def open_tunnel(
    connected: socket.socket, proxy: Proxy, address: str, port: int, within_s: float
) -> None:
    """Ask *proxy*, at the other end of a non-blocking socket, to connect to *address*.

    Raises:
        TimeoutError: it did not say within *within_s* whether it can.
        ProxyFailed: it refuses the user, or is no such proxy.
        NoTunnel: it does not connect to that address.
        OSError: the connection to it broke off.
    """
    if proxy.scheme is Scheme.SOCKS5:
        try:
            async with asyncio.timeout(within_s):
                await _greet(connected, proxy)
        except TimeoutError:
            raise ProxyFailed("it did not answer in time") from None
    async with asyncio.timeout(within_s):
        if proxy.scheme is Scheme.SOCKS5:
            await _connect_socks(connected, address, port)
        else:
            await _connect(connected, proxy, address, port)


async def _connect(connected: socket.socket, proxy: Proxy, address: str, port: int) -> None:
    """Source: RFC 9110, section 9.3.6; RFC 7617."""
    authority = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    head = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n"
    if proxy.user:
        login = b64encode(proxy.user + b":" + proxy.password).decode()
        head += f"Proxy-Authorization: Basic {login}\r\n"
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connected, f"{head}\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer and len(answer) < _LONGEST_HEAD:
        answer += await _received(connected, 4096)
    line, _, rest = answer.partition(b"\r\n")
    words = line.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise ProxyFailed("it is no HTTP proxy")
    status = int(words[1])
    if status in (401, 407):
        raise ProxyFailed(f"it refuses the login ({status})" if proxy.user else _asks_login(status))
    if not 200 <= status < 300:
        raise NoTunnel(f"it answered {status}")
    if not rest.endswith(b"\r\n\r\n") and rest != b"\r\n":
        raise NoTunnel("something came before it was asked for")


def _asks_login(status: int) -> str:
    return f"it asks for a user name and a password ({status})"


async def _greet(connected: socket.socket, proxy: Proxy) -> None:
    """Agree on how to log in, and do it. Source: RFC 1928, section 3; RFC 1929."""
    loop = asyncio.get_running_loop()
    methods = bytes((_LOGIN,)) if proxy.user else bytes((_NO_LOGIN,))
    await loop.sock_sendall(connected, bytes((_VERSION, len(methods))) + methods)
    version, method = await _exactly(connected, 2)
    if version != _VERSION:
        raise ProxyFailed("it is no SOCKS5 proxy")
    if method not in methods:
        raise ProxyFailed(
            "it refuses to log in by password" if proxy.user else "it asks for a login"
        )
    if proxy.user:
        login = (bytes((len(part),)) + part for part in (proxy.user, proxy.password))
        await loop.sock_sendall(connected, b"\x01" + b"".join(login))
        if (await _exactly(connected, 2))[1] != 0:
            raise ProxyFailed("it refuses the login")


async def _connect_socks(connected: socket.socket, address: str, port: int) -> None:
    """Source: RFC 1928, sections 4 to 6."""
    ip = ip_address(address)
    head = bytes((_VERSION, _CONNECT, 0, _TYPES[ip.version]))
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connected, head + ip.packed + port.to_bytes(2))
    version, reply, _, kind = await _exactly(connected, 4)
    if version != _VERSION:
        raise ProxyFailed("it is no SOCKS5 proxy")
    if reply != 0:
        raise NoTunnel(_REPLIES.get(reply, f"it answered {reply}"))
    length = (await _exactly(connected, 1))[0] if kind == _NAME else _LENGTHS.get(kind)
    if length is None:
        raise ProxyFailed("it is no SOCKS5 proxy")
    await _exactly(connected, length + 2)  # its own address: nobody needs it


async def _exactly(connected: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await _received(connected, size - len(data))
    return data


async def _received(connected: socket.socket, most: int) -> bytes:
    data = await asyncio.get_running_loop().sock_recv(connected, most)
    if not data:
        raise ConnectionResetError("it closed the connection")
    return data
