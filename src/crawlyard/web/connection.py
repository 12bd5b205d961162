"""One connection: how long a request may take to come, and what is said to no HTTP."""

import asyncio
import json
import sys

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from crawlyard.ids import new_id
from crawlyard.web.problems import KINDS, MEDIA_TYPE, told
from crawlyard.web.site import MAX_HEAD_BYTES

REQUEST_S = 60
"""Within which a whole request must have come: 4 MiB at 0.6 Mbit/s; then 408."""

LINGER_S = 2
"""How long a body is thrown away that comes after its answer: then who sends it has read that."""

IDLE_S = 30
"""How long a connection is kept that asks nothing more."""


class Connection(H11Protocol):
    """A connection that is not kept open by a client who sends a byte at a time, or nothing."""

    request_s: float = REQUEST_S

    _timer: asyncio.TimerHandle | None = None
    _lingers = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come; the time of a request runs from its first byte to its last."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Go on: with the next request, or with what is left of the body."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:
            self._watch()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or too much of it."""
        error = sys.exc_info()[1]  # uvicorn calls this while it handles what h11 says
        if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431:
            most = f"{MAX_HEAD_BYTES:,}"
            self._refuse("head_too_large", f"expected a URL and headers of at most {most} bytes")
        else:
            self._refuse("malformed", f"no HTTP: {error or msg}")

    def _watch(self) -> None:
        theirs = self.conn.their_state
        if theirs is h11.SEND_BODY and self.conn.our_state is h11.DONE:
            if not self._lingers:
                self._rest()
                self._lingers = True
                self._timer = self.loop.call_later(LINGER_S, self._late)
        elif theirs not in {h11.IDLE, h11.SEND_BODY}:
            self._rest()
        elif self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self.request_s, self._late)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._lingers = False

    def _late(self) -> None:
        self._timer = None
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self.transport.close()  # it has not asked anything
        else:
            said = f"expected the whole request within {self.request_s:g} seconds"
            self._refuse("too_slow", said)

    def _refuse(self, code: str, detail: str) -> None:
        """Answer with a problem, unless an answer has begun, and close the connection."""
        if self.cycle is not None:
            self.cycle.disconnected = True  # whoever reads its body reads no more
            self.cycle.message_event.set()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            body = json.dumps(told(code, detail, "", f"req_{new_id()}")).encode()
            headers = [
                ("Content-Type", MEDIA_TYPE),
                ("Content-Length", str(len(body))),
                ("Connection", "close"),
            ]
            status = KINDS[code].status
            events = (
                h11.Response(status_code=status, headers=headers, reason=b""),
                h11.Data(data=body),
                h11.EndOfMessage(),
            )
            for event in events:
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def within(request_s: float) -> type[Connection]:
    """Return the kind of connections whose requests must come within *request_s*."""
    return type("Connection", (Connection,), {"request_s": request_s})
