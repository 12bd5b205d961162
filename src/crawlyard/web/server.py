"""HTTP server: socket, connections and their time limits."""

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator, Callable, Generator
from enum import Enum, auto

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from crawlyard.errors import Unavailable
from crawlyard.ids import new_id
from crawlyard.lazy import lazily
from crawlyard.web.problems import KINDS, MEDIA_TYPE, RETRY_AFTER_S, problem_body
from crawlyard.web.site import MAX_HEAD_BYTES

# needs the package `websockets`
with lazily():
    from crawlyard.web import websockets as sockets

REQUEST_S = 60
"""A whole request must arrive within this time (4 MiB at 0.6 Mbit/s), else 408.

A client that reads none of its response is disconnected after the same time.
"""

LINGER_S = 2
"""Seconds to discard the rest of a body after the response, so that the client can read it."""

IDLE_S = 30
"""Seconds before an idle connection is closed."""

MAX_CONNECTIONS = 1_000
"""Limit of open connections; further ones are refused with 503."""

MAX_REFUSALS = 64
"""Surplus connections that may wait `LINGER_S` for their request, so that the 503 is read.

A connection that is closed with unread data is reset, and its client may never read the 503.
"""

MAX_SOCKET_BYTES = 4096
"""Limit of a message from the client of a WebSocket: bridges read none."""

DRAIN_S = 3
"""Seconds for requests in flight at shutdown."""


class _Stage(Enum):
    """Progress of the current request."""

    AWAITED = auto()  # no byte received
    ARRIVING = auto()
    COMPLETE = auto()  # received in full, or not HTTP
    DISCARDING = auto()  # answered while its body still arrives


class HttpConnection(H11Protocol):
    """A connection that clients cannot keep open by sending slowly, or by not reading answers."""

    request_s: float = REQUEST_S
    max_connections: int = MAX_CONNECTIONS

    _upgraded = False  # another protocol has the connection, with time limits of its own
    _surplus = False  # beyond max_connections: its first data is answered with 503
    _stage = _Stage.COMPLETE
    _timer: asyncio.TimerHandle | None = None  # until the request has arrived
    _unread_timer: asyncio.TimerHandle | None = None  # until buffered data is read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Accept a connection unless there are too many."""
        super().connection_made(transport)
        surplus = len(self.connections) - self.max_connections
        if surplus <= 0:
            self._start_stage_timer()
        elif surplus <= MAX_REFUSALS:
            self._surplus = True
            self._timer = self.loop.call_later(LINGER_S, self._refuse_surplus)
        else:
            self._refuse_surplus()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        self._stop_timer()
        self._stop_unread_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Receive data; the time limit of a request runs from its first byte to its last."""
        if self._surplus:
            self._refuse_surplus()
            return
        super().data_received(data)
        self._start_stage_timer()

    def eof_received(self) -> None:
        """Answer requests received before the client closed its side."""
        super().eof_received()
        self._start_unread_timer()  # the transport is closed now

    def pause_writing(self) -> None:
        """Stop sending while the client does not read."""
        super().pause_writing()
        self._start_unread_timer()

    def resume_writing(self) -> None:
        """Resume sending when the client reads again."""
        super().resume_writing()
        self._stop_unread_timer()
        if self.transport.is_closing():
            self._start_unread_timer()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection."""
        super().timeout_keep_alive_handler()
        self._start_unread_timer()

    def on_response_complete(self) -> None:
        """Continue with the next request, or with the rest of the body."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._start_unread_timer()
        self._start_stage_timer()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Leave the connection to its WebSocket."""
        super().handle_websocket_upgrade(event)
        self._upgraded = True
        self._stop_unread_timer()

    def send_400_response(self, msg: str) -> None:
        """Refuse data that is not HTTP, or too large a head."""
        error = sys.exc_info()[1]  # uvicorn calls this while it handles an error of h11
        if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431:
            most = f"{MAX_HEAD_BYTES:,}"
            self._refuse("head_too_large", f"expected a URL and headers of at most {most} bytes")
        else:
            self._refuse("malformed", f"not HTTP: {error or msg}")

    def _stage_now(self) -> _Stage:
        if self._upgraded:
            return _Stage.COMPLETE
        client_state = self.conn.their_state
        if client_state is h11.SEND_BODY:
            return _Stage.DISCARDING if self.conn.our_state is h11.DONE else _Stage.ARRIVING
        if client_state is h11.IDLE:
            return _Stage.ARRIVING if self.conn.trailing_data[0] else _Stage.AWAITED
        return _Stage.COMPLETE

    def _start_stage_timer(self) -> None:
        """Start the timer of the current stage unless it runs."""
        before, self._stage = self._stage, self._stage_now()
        if self._stage is before:
            return
        self._stop_timer()
        if self.transport.is_closing():
            return
        if self._stage is _Stage.AWAITED:
            if self.timeout_keep_alive_task is None:
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )
        elif self._stage is not _Stage.COMPLETE:
            self._unset_keepalive_if_required()
            discarding = self._stage is _Stage.DISCARDING
            self._timer = self.loop.call_later(
                LINGER_S if discarding else self.request_s, self._on_late_request
            )

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_late_request(self) -> None:
        self._timer = None
        detail = f"expected the whole request within {self.request_s:g} seconds"
        self._refuse("too_slow", detail)

    def _start_unread_timer(self) -> None:
        """Start the timer for unread data unless it runs."""
        waits = self.transport.get_write_buffer_size()
        if waits and self._unread_timer is None:
            self._unread_timer = self.loop.call_later(self.request_s, self._on_unread, waits)

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _on_unread(self, waited: int) -> None:
        """Disconnect unless the client read at least a buffer's limit of *waited* bytes."""
        self._unread_timer = None
        _, most = self.transport.get_write_buffer_limits()
        if waited - self.transport.get_write_buffer_size() < most:
            self.transport.abort()
        else:
            self._start_unread_timer()

    def _refuse_surplus(self) -> None:
        self._stop_timer()
        detail = f"too many open connections (limit {self.max_connections:,}); retry later"
        self._refuse("unavailable", detail, ("Retry-After", RETRY_AFTER_S))

    def _refuse(self, code: str, detail: str, *headers: tuple[str, str]) -> None:
        """Answer with a problem, unless an answer has begun, and close the connection."""
        if self.cycle is not None:
            self.cycle.disconnected = True  # its handler reads no more of the body
            self.cycle.message_event.set()
        try:
            if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                self._write_problem(code, detail, *headers)
        finally:
            self.transport.close()
            self._start_unread_timer()

    def _write_problem(self, code: str, detail: str, *more: tuple[str, str]) -> None:
        body = json.dumps(problem_body(code, detail, "", f"req_{new_id()}")).encode()
        headers = [
            ("Content-Type", MEDIA_TYPE),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
            *more,
        ]
        bare = self.conn.our_state is h11.SEND_RESPONSE and self.scope["method"] == "HEAD"
        events = (
            h11.Response(status_code=KINDS[code].status, headers=headers, reason=b""),
            h11.Data(data=b"" if bare else body),
            h11.EndOfMessage(),
        )
        for event in events:
            self.transport.write(self.conn.send(event) or b"")


# --- the server


class _Server(uvicorn.Server):
    """A server that handles no signals, and has an event for its start."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting connections."""
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _socket_connection(unread_s: float) -> "type[sockets.WebSocketConnection]":
    return type("SocketConnection", (sockets.WebSocketConnection,), {"unread_s": unread_s})


def _do_nothing() -> None: ...


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free port.

    Raises:
        Unavailable: the address is not available, for example because it is in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(512)
    except OSError as error:
        sock.close()
        raise Unavailable(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    return sock


def url_of(host: str, port: int) -> str:
    """Return the URL of a server at *host* and *port*."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.asynccontextmanager
async def serve(
    app: Starlette,
    sock: socket.socket,
    close_streams: Callable[[], None] = _do_nothing,
    *,
    request_s: float = REQUEST_S,
    idle_s: int = IDLE_S,
    max_connections: int = MAX_CONNECTIONS,
    websockets: bool = False,
) -> AsyncIterator[Callable[[], None]]:
    """Serve *app* on *sock* for the block; at its end, wait `DRAIN_S` for requests in flight.

    Streams never end by themselves, so they are closed first. Yields a function that starts the
    shutdown earlier; it may be called twice. A request that has not arrived after *request_s* is
    refused, a connection that is idle for *idle_s* is closed, and connections beyond
    *max_connections* are answered with 503. Without *websockets*, none can be opened.
    """
    own = {"request_s": request_s, "max_connections": max_connections}
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # uvicorn trusts loopback; see forwarded.py
        timeout_graceful_shutdown=DRAIN_S,
        http=type("HttpConnection", (HttpConnection,), own),
        ws=_socket_connection(request_s) if websockets else "none",
        ws_max_size=MAX_SOCKET_BYTES,
        timeout_keep_alive=idle_s,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
    )
    server = _Server(config)

    def end() -> None:
        close_streams()
        server.should_exit = True

    task = asyncio.create_task(server.serve(sockets=[sock]), name="server")
    up = asyncio.create_task(server.up.wait())
    try:
        await asyncio.wait((task, up), return_when=asyncio.FIRST_COMPLETED)
        yield end
    finally:
        up.cancel()
        end()
        await task
