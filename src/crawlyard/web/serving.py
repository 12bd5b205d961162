"""A server of the application, which ends when it is told to."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Generator

import uvicorn
from starlette.applications import Starlette

from crawlyard.errors import Unavailable
from crawlyard.web.connection import IDLE_S, REQUEST_S, within
from crawlyard.web.site import MAX_HEAD_BYTES

DRAIN_S = 3
"""How long requests that are under way may take once the server is to end."""


class _Server(uvicorn.Server):
    """A server that leaves signals to the command that runs it, and says when it answers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _nothing() -> None: ...


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens there; port 0 takes a free one.

    Raises:
        Unavailable: it cannot be had: somebody else listens there, say.
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


@contextlib.asynccontextmanager
async def serving(
    app: Starlette,
    sock: socket.socket,
    close_streams: Callable[[], None] = _nothing,
    *,
    request_s: float = REQUEST_S,
    idle_s: int = IDLE_S,
) -> AsyncIterator[Callable[[], None]]:
    """Serve *app* on *sock* for the block, whose end waits `DRAIN_S` for what is under way.

    Streams would be waited for as well, so they are closed first. What the block is
    given makes the end begin before that of the block; it may be called twice. A request
    that has not come whole after *request_s* is refused, and a connection that asks nothing
    for *idle_s* is closed.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
        http=within(request_s),
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
