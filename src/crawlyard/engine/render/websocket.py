"""WebSocket to a browser: Lightpanda's, or an external endpoint."""

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
from crawlyard.engine.render.cdp import MAX_MESSAGE_BYTES, BrowserLost

logging.getLogger("websockets").setLevel(logging.INFO)  # below, it logs the values of login forms

_CONNECT_S = 10.0
_OPTIONS: dict[str, Any] = {
    "compression": None,
    "max_size": MAX_MESSAGE_BYTES,
    "ping_interval": None,  # a page that keeps its browser busy is ended by its deadline
    "proxy": None,
}


class WebSocketTransport:
    """Message transport over a WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    @classmethod
    async def open(cls, url: str, path: str = "") -> "WebSocketTransport":
        """Return a transport to *url*, over the Unix socket *path* if given.

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
        """See `MessageTransport`."""
        try:
            await self._socket.send(message)
        except (WebSocketException, OSError) as error:
            raise BrowserLost(str(error)) from error

    async def receive(self) -> str | bytes:
        """See `MessageTransport`."""
        try:
            return await self._socket.recv()
        except (WebSocketException, OSError) as error:
            raise BrowserLost(str(error)) from error

    async def close(self) -> None:
        """See `MessageTransport`."""
        self._socket.transport.abort()  # no closing handshake: the browser is ended anyway


async def _endpoint(url: str) -> str:
    """Return the WebSocket URL of a browser, also for its HTTP address."""
    parts = urlsplit(url)
    if parts.scheme in {"ws", "wss"}:
        return url
    info = await asyncio.to_thread(_fetch_info, f"{parts.scheme}://{parts.netloc}/json/version")
    return str(info["webSocketDebuggerUrl"])


def _fetch_info(url: str) -> dict[str, Any]:
    with build_opener(ProxyHandler({})).open(url, timeout=_CONNECT_S) as response:
        info: dict[str, Any] = json.loads(response.read(64 * 1024))
    return info
