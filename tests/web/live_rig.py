"""A server on a socket of loopback, and those who listen to it: streams need a real one."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from crawlyard.clock import Clock, SystemClock
from crawlyard.config import Settings
from crawlyard.core.access.user import LOCAL
from crawlyard.core.answer import API as PREFIX
from crawlyard.store.store import Store
from crawlyard.web.app import create_app, has_websockets
from crawlyard.web.server import (
    IDLE_S,
    MAX_CONNECTIONS,
    REQUEST_S,
    listen,
    serve,
    url_of,
)
from crawlyard.web.site import SiteOptions, open_site
from crawlyard.yard import IN_MEMORY, Yard
from tests.clock import FakeClock
from tests.web.rig import Rig, an_app, hide_jobs_of_others

PATIENCE_S = 120  # more than anything here takes; a hang fails instead of blocking the suite


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """A server-sent event, decoded."""

    event: str
    data: Any
    id: int | None

    @property
    def subject(self) -> str:
        """Id of the resource in the data."""
        subject: str = self.data["subject"]
        return subject


class Listener:
    """Reads the messages of one stream."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.messages: list[ServerEvent] = []
        self._lines = answer.aiter_lines()

    async def next(self) -> ServerEvent:
        """Return the next message. Raises StopAsyncIteration at the end of the stream."""
        async with asyncio.timeout(PATIENCE_S):
            fields: dict[str, str] = {}
            while (line := await anext(self._lines)) or not fields:
                name, _, value = line.partition(": ")
                if line:
                    fields[name] = value
        number = int(fields["id"]) if "id" in fields else None
        message = ServerEvent(fields["event"], json.loads(fields["data"]), number)
        self.messages.append(message)
        return message

    async def until(self, event: str) -> ServerEvent:
        """Return the next message of that name; the others are in `heard`."""
        while (message := await self.next()).event != event:
            pass
        return message

    async def durable(self, count: int) -> list[ServerEvent]:
        """Return the next messages that have an id."""
        durable: list[ServerEvent] = []
        while len(durable) < count:
            message = await self.next()
            if message.id is not None:
                durable.append(message)
        return durable

    async def ended(self) -> Sequence[ServerEvent]:
        """Return all messages that were heard, once the stream has ended."""
        try:
            while True:
                await self.next()
        except StopAsyncIteration:
            return self.messages


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRig:
    """A server that can be listened to."""

    rig: Rig
    client: httpx.AsyncClient

    @asynccontextmanager
    async def listen(
        self,
        path: str = "events/stream",
        *,
        by: str = LOCAL.id,
        headers: Mapping[str, str] | None = None,
        **params: Any,
    ) -> AsyncIterator[Listener]:
        """Listen as a user for the block; at its end the connection is broken off."""
        sent = {"Authorization": f"Bearer {self.rig.secrets[by]}"} | dict(headers or {})
        url = f"{PREFIX}/{path}"
        async with self.client.stream("GET", url, headers=sent, params=params or None) as answer:
            if answer.status_code != 200:
                await answer.aread()
            yield Listener(answer)

    async def job(self, by: str = LOCAL.id) -> str:
        """Return the id of a new job."""
        job_id: str = (await self.rig.job(by))["id"]
        return job_id


@asynccontextmanager
async def a_live_rig(
    store: Store,
    *,
    send_buffer: int | None = None,
    request_s: float = REQUEST_S,
    idle_s: int = IDLE_S,
    max_connections: int = MAX_CONNECTIONS,
    options: SiteOptions | None = None,
    host: str = "127.0.0.1",
    clock: Clock | None = None,
) -> AsyncIterator[LiveRig]:
    """Serve *store* on *host*; without *options*, requests are not counted.

    *send_buffer* are the bytes that the system takes for a slow reader, *request_s* the
    seconds within which a whole request must come, *idle_s* those of a connection that asks
    nothing, *max_connections* how many may be open.
    """
    yard = Yard(Settings(database_url=IN_MEMORY), store, clock or SystemClock())
    await hide_jobs_of_others(store)
    site = await open_site(yard, options or SiteOptions(rate_limits=False))
    app = create_app(site) if site.options.bridges else an_app(site)
    app.state.site = site
    rig = Rig(site=site, app=app, clock=FakeClock())
    await rig.token(LOCAL.id)
    with listen(host, 0) as sock:
        if send_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        base = url_of(host, sock.getsockname()[1])
        async with (
            serve(
                rig.app,
                sock,
                site.live.close,
                request_s=request_s,
                idle_s=idle_s,
                max_connections=max_connections,
                websockets=has_websockets(app),
            ),
            httpx.AsyncClient(base_url=base, timeout=PATIENCE_S, limits=_MANY) as client,
        ):
            if request_s < REQUEST_S:
                # the first request, for which routes are made, takes forty times as long as others
                await client.get("/api/v1/meta")
            yield LiveRig(rig=rig, client=client)
    await rig.close()


_MANY = httpx.Limits(max_connections=None)
