"""One connection: how long a request may take to come, and what is said to no HTTP."""

import asyncio
import json
import sys
from enum import Enum, auto

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from crawlyard.ids import new_id
from crawlyard.web.problems import KINDS, MEDIA_TYPE, told
from crawlyard.web.site import MAX_HEAD_BYTES

REQUEST_S = 60
"""Within which a whole request must have come: 4 MiB at 0.6 Mbit/s; then 408.

Whoever reads nothing of what waits for him is let go after the same time.
"""

LINGER_S = 2
"""How long a body is thrown away that comes after its answer: then who sends it has read that."""

IDLE_S = 30
"""How long a connection is kept that asks nothing, or nothing more."""


class _Stage(Enum):
    """How far the request is that comes."""

    AWAITED = auto()  # no byte of it is there
    COMING = auto()
    COME = auto()  # it is whole, or no HTTP
    LEFT_OVER = auto()  # it is answered, and the rest of its body still comes


class Connection(H11Protocol):
    """A connection that is not kept open by a client who sends a byte at a time, or nothing.

    Nor by one who does not read what he has asked for.
    """

    request_s: float = REQUEST_S

    _stage = _Stage.COME
    _timer: asyncio.TimerHandle | None = None  # for the request to come further
    _unread_timer: asyncio.TimerHandle | None = None  # for what waits to be read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Begin to wait for a request: its time has not begun."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._rest()
        self._trust()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come; the time of a request runs from its first byte to its last."""
        super().data_received(data)
        self._watch()

    def eof_received(self) -> None:
        """Answer what was asked: nothing more is."""
        super().eof_received()
        self._urge()  # the transport is closed now

    def pause_writing(self) -> None:
        """Send nothing for a while: what was sent is not read."""
        super().pause_writing()
        self._urge()

    def resume_writing(self) -> None:
        """Go on to send: it is read."""
        super().resume_writing()
        self._trust()
        if self.transport.is_closing():
            self._urge()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that asks nothing."""
        super().timeout_keep_alive_handler()
        self._urge()

    def on_response_complete(self) -> None:
        """Go on: with the next request, or with what is left of the body."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._urge()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or too much of it."""
        error = sys.exc_info()[1]  # uvicorn calls this while it handles what h11 says
        if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431:
            most = f"{MAX_HEAD_BYTES:,}"
            self._refuse("head_too_large", f"expected a URL and headers of at most {most} bytes")
        else:
            self._refuse("malformed", f"no HTTP: {error or msg}")

    def _stage_now(self) -> _Stage:
        theirs = self.conn.their_state
        if theirs is h11.SEND_BODY:
            return _Stage.LEFT_OVER if self.conn.our_state is h11.DONE else _Stage.COMING
        if theirs is h11.IDLE:
            return _Stage.COMING if self.conn.trailing_data[0] else _Stage.AWAITED
        return _Stage.COME

    def _watch(self) -> None:
        """Let the time run of the stage that the request is at; it has begun if it was there."""
        before, self._stage = self._stage, self._stage_now()
        if self._stage is before:
            return
        self._rest()
        if self.transport.is_closing():
            return
        if self._stage is _Stage.AWAITED:
            if self.timeout_keep_alive_task is None:
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )
        elif self._stage is not _Stage.COME:
            self._unset_keepalive_if_required()
            left_over = self._stage is _Stage.LEFT_OVER
            self._timer = self.loop.call_later(
                LINGER_S if left_over else self.request_s, self._late
            )

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        said = f"expected the whole request within {self.request_s:g} seconds"
        self._refuse("too_slow", said)

    def _urge(self) -> None:
        """Let the time run within which something must be read of what waits, if it does not."""
        waits = self.transport.get_write_buffer_size()
        if waits and self._unread_timer is None:
            self._unread_timer = self.loop.call_later(self.request_s, self._unread, waits)

    def _trust(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _unread(self, waited: int) -> None:
        """Break off, unless of the bytes that *waited* as many are read as may wait."""
        self._unread_timer = None
        _, most = self.transport.get_write_buffer_limits()
        if waited - self.transport.get_write_buffer_size() < most:
            self.transport.abort()
        else:
            self._urge()

    def _refuse(self, code: str, detail: str) -> None:
        """Answer with a problem, unless an answer has begun, and close the connection."""
        if self.cycle is not None:
            self.cycle.disconnected = True  # whoever reads its body reads no more
            self.cycle.message_event.set()
        try:
            if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                self._tell(code, detail)
        finally:
            self.transport.close()
            self._urge()

    def _tell(self, code: str, detail: str) -> None:
        body = json.dumps(told(code, detail, "", f"req_{new_id()}")).encode()
        headers = [
            ("Content-Type", MEDIA_TYPE),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        bare = self.conn.our_state is h11.SEND_RESPONSE and self.scope["method"] == "HEAD"
        events = (
            h11.Response(status_code=KINDS[code].status, headers=headers, reason=b""),
            h11.Data(data=b"" if bare else body),
            h11.EndOfMessage(),
        )
        for event in events:
            self.transport.write(self.conn.send(event) or b"")


def within(request_s: float) -> type[Connection]:
    """Return the kind of connections whose requests must come within *request_s*."""
    return type("Connection", (Connection,), {"request_s": request_s})
