"""Tunnels through a proxy to an address, by HTTP CONNECT or SOCKS5.

A proxy gets the address that the guard has checked, never a name. Nothing is read beyond its
response: a server that sends data before the request loses the connection.
"""

import asyncio
import socket
from base64 import b64encode
from ipaddress import ip_address

from crawlyard.engine.http.proxy import Proxy, Scheme

_LONGEST_HEAD = 16 * 1024  # bytes of the response to a CONNECT

_VERSION, _NO_LOGIN, _LOGIN, _CONNECT = 5, 0, 2, 1  # RFC 1928
_TYPES = {4: 1, 6: 4}  # of addresses, by the version of IP
_LENGTHS = {1: 4, 4: 16}  # of addresses, by type; a name carries its own length
_NAME = 3
_REPLIES = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "the host did not respond",
    7: "CONNECT is not supported",
    8: "address type not supported",
}


class ProxyFailed(OSError):
    """A proxy is unusable: it is down, or rejects the login."""


class NoTunnel(OSError):
    """A proxy works but does not connect to this address."""


async def open_tunnel(
    sock: socket.socket, proxy: Proxy, address: str, port: int, within_s: float
) -> None:
    """Ask *proxy*, at the other end of a non-blocking socket, to connect to *address*.

    Raises:
        TimeoutError: it did not respond within *within_s*.
        ProxyFailed: it rejects the login, or is no such proxy.
        NoTunnel: it does not connect to that address.
        OSError: the connection to it broke off.
    """
    if proxy.scheme is Scheme.SOCKS5:
        try:
            async with asyncio.timeout(within_s):
                await _greet(sock, proxy)
        except TimeoutError:
            raise ProxyFailed("no response in time") from None
    async with asyncio.timeout(within_s):
        if proxy.scheme is Scheme.SOCKS5:
            await _connect_socks(sock, address, port)
        else:
            await _connect(sock, proxy, address, port)


async def _connect(sock: socket.socket, proxy: Proxy, address: str, port: int) -> None:
    """Source: RFC 9110, section 9.3.6; RFC 7617."""
    authority = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    head = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n"
    if proxy.user:
        login = b64encode(proxy.user + b":" + proxy.password).decode()
        head += f"Proxy-Authorization: Basic {login}\r\n"
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, f"{head}\r\n".encode())
    response = b""
    while b"\r\n\r\n" not in response and len(response) < _LONGEST_HEAD:
        response += await _receive(sock, 4096)
    line, _, rest = response.partition(b"\r\n")
    words = line.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise ProxyFailed("not an HTTP proxy")
    status = int(words[1])
    if status in (401, 407):
        raise ProxyFailed(f"login rejected ({status})" if proxy.user else _login_required(status))
    if not 200 <= status < 300:
        raise NoTunnel(f"status {status}")
    if not rest.endswith(b"\r\n\r\n") and rest != b"\r\n":
        raise NoTunnel("data arrived before the request")


def _login_required(status: int) -> str:
    return f"user name and password required ({status})"


async def _greet(sock: socket.socket, proxy: Proxy) -> None:
    """Negotiate the login method, and log in. Source: RFC 1928, section 3; RFC 1929."""
    loop = asyncio.get_running_loop()
    methods = bytes((_LOGIN,)) if proxy.user else bytes((_NO_LOGIN,))
    await loop.sock_sendall(sock, bytes((_VERSION, len(methods))) + methods)
    version, method = await _receive_exactly(sock, 2)
    if version != _VERSION:
        raise ProxyFailed("not a SOCKS5 proxy")
    if method not in methods:
        raise ProxyFailed("password login not supported" if proxy.user else "login required")
    if proxy.user:
        login = (bytes((len(part),)) + part for part in (proxy.user, proxy.password))
        await loop.sock_sendall(sock, b"\x01" + b"".join(login))
        if (await _receive_exactly(sock, 2))[1] != 0:
            raise ProxyFailed("login rejected")


async def _connect_socks(sock: socket.socket, address: str, port: int) -> None:
    """Source: RFC 1928, sections 4 to 6."""
    ip = ip_address(address)
    head = bytes((_VERSION, _CONNECT, 0, _TYPES[ip.version]))
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, head + ip.packed + port.to_bytes(2))
    version, reply, _, kind = await _receive_exactly(sock, 4)
    if version != _VERSION:
        raise ProxyFailed("not a SOCKS5 proxy")
    if reply != 0:
        raise NoTunnel(_REPLIES.get(reply, f"reply code {reply}"))
    length = (await _receive_exactly(sock, 1))[0] if kind == _NAME else _LENGTHS.get(kind)
    if length is None:
        raise ProxyFailed("not a SOCKS5 proxy")
    await _receive_exactly(sock, length + 2)  # its own address, which is not needed


async def _receive_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await _receive(sock, size - len(data))
    return data


async def _receive(sock: socket.socket, most: int) -> bytes:
    data = await asyncio.get_running_loop().sock_recv(sock, most)
    if not data:
        raise ConnectionResetError("the proxy closed the connection")
    return data
