"""A proxy that makes a Postgres distant: each answer takes a round trip."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sqlalchemy.engine import URL


@asynccontextmanager
async def distant(url: URL, round_trip_s: float) -> AsyncIterator[str]:
    """Give the URL of a proxy that is so far from the server of *url*."""
    serving: set[asyncio.Task[object] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        server_reader, server_writer = await _connected(url)
        async with asyncio.TaskGroup() as group:
            group.create_task(_late(reader, server_writer, round_trip_s / 2))
            group.create_task(_late(server_reader, writer, round_trip_s / 2))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        near = url.set(host="127.0.0.1", port=port).difference_update_query(["host"])
        yield near.render_as_string(hide_password=False)
        await asyncio.gather(*filter(None, serving))


async def _connected(url: URL) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    folder = url.query.get("host")
    if isinstance(folder, str):
        return await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{url.port or 5432}")
    return await asyncio.open_connection(url.host, url.port or 5432)


async def _late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, by_s: float) -> None:
    """Pass on each part of what comes, *by_s* seconds later."""
    parts: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def send() -> None:
        with suppress(ConnectionError):
            while (part := await parts.get())[1]:
                await asyncio.sleep(part[0] - time.monotonic())
                writer.write(part[1])
                await writer.drain()

    async with asyncio.TaskGroup() as group:
        group.create_task(send())
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                parts.put_nowait((time.monotonic() + by_s, data))
        parts.put_nowait((0.0, b""))
    writer.close()
