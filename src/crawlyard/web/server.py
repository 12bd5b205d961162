"""The HTTP server: its socket, its connections and their time limits."""

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
from crawlyard.web.problems import KINDS, MEDIA_TYPE, RETRY_AFTER_S, told
from crawlyard.web.site import MAX_HEAD_BYTES

REQUEST_S = 60
"""A whole request must arrive within this time (4 MiB at 0.6 Mbit/s), else 408.

A client that reads nothing of what waits for it is disconnected after the same time.
"""

LINGER_S = 2
"""How long the rest of a body is discarded after its answer, so that the client reads that."""

IDLE_S = 30
"""How long an idle connection is kept."""

MAX_CONNECTIONS = 1_000
"""Open connections at most; further ones are refused with 503."""

MAX_REFUSALS = 64
"""Further connections that may wait `LINGER_S` for their request, so that its refusal is read.

A connection that is closed with unread data is reset, and its client may never read the 503.
"""

DRAIN_S = 3
"""How long requests in flight may take at shutdown."""


class _Stage(Enum):
    """How far the current request has arrived."""

    AWAITED = auto()  # not a byte of it
    COMING = auto()
    COME = auto()  # it is whole, or not HTTP
    LEFT_OVER = auto()  # it is answered, and the rest of its body still arrives


class Connection(H11Protocol):
    """A connection that clients cannot keep open by sending slowly, or by not reading answers."""

    request_s: float = REQUEST_S
    max_connections: int = MAX_CONNECTIONS

    _surplus = False  # beyond max_connections: its first data is answered with 503
    _stage = _Stage.COME
    _timer: asyncio.TimerHandle | None = None  # for the request to arrive
    _unread_timer: asyncio.TimerHandle | None = None  # for what waits to be read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Wait for a request, unless there are too many connections; its time has not started."""
        super().connection_made(transport)
        surplus = len(self.connections) - self.max_connections
        if surplus <= 0:
            self._watch()
        elif surplus <= MAX_REFUSALS:
            self._surplus = True
            self._timer = self.loop.call_later(LINGER_S, self._refuse_surplus)
        else:
            self._refuse_surplus()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        self._rest()
        self._trust()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take data; the time of a request runs from its first byte to its last."""
        if self._surplus:
            self._refuse_surplus()
            return
        super().data_received(data)
        self._watch()

    def eof_received(self) -> None:
        """Answer what was asked before the client closed its side."""
        super().eof_received()
        self._urge()  # the transport is closed now

    def pause_writing(self) -> None:
        """Stop sending: the client does not read."""
        super().pause_writing()
        self._urge()

    def resume_writing(self) -> None:
        """Send again: the client reads."""
        super().resume_writing()
        self._trust()
        if self.transport.is_closing():
            self._urge()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection."""
        super().timeout_keep_alive_handler()
        self._urge()

    def on_response_complete(self) -> None:
        """Continue with the next request, or with the rest of the body."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._urge()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, or a head that is too large."""
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
        """Start the timer of the current stage, unless it was started before."""
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
        """Start the timer for reading what waits, unless it runs."""
        waits = self.transport.get_write_buffer_size()
        if waits and self._unread_timer is None:
            self._unread_timer = self.loop.call_later(self.request_s, self._unread, waits)

    def _trust(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _unread(self, waited: int) -> None:
        """Disconnect, unless as many of the *waited* bytes were read as may wait."""
        self._unread_timer = None
        _, most = self.transport.get_write_buffer_limits()
        if waited - self.transport.get_write_buffer_size() < most:
            self.transport.abort()
        else:
            self._urge()

    def _refuse_surplus(self) -> None:
        self._rest()
        detail = f"the server has {self.max_connections:,} connections open, and takes no more"
        self._refuse("unavailable", detail, ("Retry-After", RETRY_AFTER_S))

    def _refuse(self, code: str, detail: str, *headers: tuple[str, str]) -> None:
        """Answer with a problem, unless an answer has begun, and close the connection."""
        if self.cycle is not None:
            self.cycle.disconnected = True  # whoever reads its body reads no more
            self.cycle.message_event.set()
        try:
            if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                self._tell(code, detail, *headers)
        finally:
            self.transport.close()
            self._urge()

    def _tell(self, code: str, detail: str, *more: tuple[str, str]) -> None:
        body = json.dumps(told(code, detail, "", f"req_{new_id()}")).encode()
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
    """A server that leaves signals to its command, and says when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections."""
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _nothing() -> None: ...


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens there; port 0 takes a free one.

    Raises:
        Unavailable: it is not available, for example because it is in use.
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
    """Return the URL of a server that listens there."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.asynccontextmanager
async def serving(
    app: Starlette,
    sock: socket.socket,
    close_streams: Callable[[], None] = _nothing,
    *,
    request_s: float = REQUEST_S,
    idle_s: int = IDLE_S,
    max_connections: int = MAX_CONNECTIONS,
) -> AsyncIterator[Callable[[], None]]:
    """Serve *app* on *sock* for the block; at its end, wait `DRAIN_S` for requests in flight.

    Streams never end by themselves, so they are closed first. The block is given a function
    that starts the shutdown earlier; it may be called twice. A request that is not whole after
    *request_s* is refused, a connection that is idle for *idle_s* is closed, and those beyond
    *max_connections* are answered with 503.
    """
    own = {"request_s": request_s, "max_connections": max_connections}
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # uvicorn trusts what comes from loopback; see forwarded.py
        timeout_graceful_shutdown=DRAIN_S,
        http=type("Connection", (Connection,), own),
        ws="none",
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
