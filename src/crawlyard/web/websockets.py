"""Connections of WebSockets.

Imported only by servers with such a bridge: it needs the package `websockets`.
"""

import asyncio

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class WebSocketConnection(WebSocketsSansIOProtocol):
    """A connection that ends if its client reads nothing for *unread_s*."""

    unread_s: float
    _unread_timer: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """Stop sending while the client does not read."""
        super().pause_writing()
        self._unread_timer = self.loop.call_later(self.unread_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Resume sending when the client reads again."""
        super().resume_writing()
        self._stop_unread_timer()

    def keepalive_timeout(self) -> None:
        """Disconnect a client that answers no ping, without waiting until it reads the reason."""
        super().keepalive_timeout()
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_unread_timer()
        super().connection_lost(exc)

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None
