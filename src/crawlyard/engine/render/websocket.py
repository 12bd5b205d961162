"""WebSocket to a browser: that of Lightpanda, or an endpoint that somebody else runs."""

import asyncio
import json
import logging
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.exceptions import WebSocketException

from crawlyard.engine.http.fetch import plain
from crawlyard.engine.render.cdp import MOST_BYTES, BrowserLost

logging.getLogger("websockets").setLevel(logging.INFO)  # below, it logs what is filled in

_CONNECT_S = 10.0
_OPTIONS: dict[str, Any] = {
    "compression": None,
    "max_size": MOST_BYTES,
    "ping_interval": None,  # a page that keeps its browser busy is judged by its deadline
    "proxy": None,
}


class SocketWire:
    """Messages of a WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    @classmethod
    async def open(cls, url: str, path: str = "") -> "SocketWire":
        """Return a wire to *url*, over the Unix socket *path* if there is one.

        Raises:
            OSError: there is no connection.
        """
        try:
            async with asyncio.timeout(_CONNECT_S):
                if path:
                    return cls(await unix_connect(path, url, **_OPTIONS))
                return cls(await connect(await _endpoint(url), **_OPTIONS))
        except (WebSocketException, URLError, ValueError, KeyError, TimeoutError) as error:
            raise OSError(f"{url}: {plain(error)}") from error

    async def send(self, message: str) -> None:
        """See `Wire`."""
        try:
            await self._socket.send(message)
        except (WebSocketException, OSError) as error:
            raise BrowserLost(str(error)) from error

    async def receive(self) -> str | bytes:
        """See `Wire`."""
        try:
            return await self._socket.recv()
        except (WebSocketException, OSError) as error:
            raise BrowserLost(str(error)) from error

    async def close(self) -> None:
        """See `Wire`."""
        self._socket.transport.abort()  # a browser that is closed has nothing left to say


async def _endpoint(url: str) -> str:
    """Return the WebSocket of a browser that is named by its HTTP address."""
    parts = urlsplit(url)
    if parts.scheme in {"ws", "wss"}:
        return url
    found = await asyncio.to_thread(_asked, f"{parts.scheme}://{parts.netloc}/json/version")
    return str(found["webSocketDebuggerUrl"])


def _asked(url: str) -> dict[str, Any]:
    with build_opener(ProxyHandler({})).open(url, timeout=_CONNECT_S) as answer:
        found: dict[str, Any] = json.loads(answer.read(64 * 1024))
    return found
