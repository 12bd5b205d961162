# psutil is of the extra `bench` and without types: only numbers come from it.
# mypy: disable-error-code="import-not-found,import-untyped"
"""Requests a second over HTTP, how long each takes, and what it costs the server.

    python -m bench.web
    python -m bench.web --jobs 1000000 --postgres URL

The server is the installed command, without a worker, on a store that has jobs already; the
clients are in this process, and wait for each answer before they ask again. Progress goes to
stderr, the table to stdout. Small: `--jobs 1000 --seconds 1`. Needs the extra `bench`.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from urllib.parse import urlsplit

import psutil

from bench.store import empty_store, stores
from bench.store_jobs import filled
from bench.store_serving import served
from crawlyard.config import Settings
from crawlyard.core.access.user import LOCAL
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import DemoSite
from crawlyard.services.surface import Surface
from crawlyard.store.db.database import Database
from crawlyard.yard import Yard

_PAGES = 200  # of the job whose pages are read
_WARM_S = 0.5  # not counted: connections open, statements are compiled
_SUBMITTED = {"urls": ["https://example.com/"], "name": "One of many", "tags": ["one"]}


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, as it is sent."""

    name: str
    method: str
    path: str
    body: bytes = b""

    def sent(self, host: str, token: str) -> bytes:
        """Return it with its head."""
        head = (
            f"{self.method} {self.path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}"
            f"\r\nContent-Length: {len(self.body)}\r\nContent-Type: application/json\r\n\r\n"
        )
        return head.encode() + self.body


@dataclass(frozen=True, slots=True)
class Figures:
    """What many of one request came to."""

    name: str
    clients: int
    per_s: float
    ms: Sequence[float]
    cpu_ms: float  # of the server, each

    def told(self) -> str:
        """Return it as a row of a table."""
        cuts = quantiles(self.ms, n=100, method="inclusive")
        return (
            f"| {self.name} | {self.clients} | {self.per_s:,.0f} | {cuts[49]:.1f} | "
            f"{cuts[98]:.1f} | {self.cpu_ms:.2f} |"
        )


_HEAD = "| request | clients | requests/s | p50 ms | p99 ms | CPU ms |\n|---|---|---|---|---|---|\n"


class Client:
    """One connection that is kept."""

    def __init__(self, url: str, token: str) -> None:
        place = urlsplit(url)
        self._host, self._port, self._token = place.hostname, place.port, token
        self._netloc = place.netloc
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, ask: Ask) -> bytes:
        """Return the body of the answer.

        Raises:
            RuntimeError: it is no 2xx.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port, limit=2**24)
        reader, writer = self._streams
        writer.write(ask.sent(self._netloc, self._token))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        body = await _body(reader, head)
        if not head.startswith(b"http/1.1 2"):
            raise RuntimeError(f"{ask.name}: {head!r} {body[:500]!r}")
        return body

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    _, said, rest = head.partition(b"content-length: ")
    if said:
        return await reader.readexactly(int(rest.partition(b"\r\n")[0]))
    parts: list[bytes] = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(parts)


async def _measured(
    ask: Ask, connect: Callable[[], Client], clients: int, seconds: float, process_id: int
) -> Figures:
    """Return what *clients* at once get in *seconds* seconds."""
    opened = [connect() for _ in range(clients)]
    process = psutil.Process(process_id)
    try:
        await _asked(ask, opened, _WARM_S)
        cpu, began = _cpu(process), time.perf_counter()
        ms = await _asked(ask, opened, seconds)
        took, used = time.perf_counter() - began, _cpu(process) - cpu
    finally:
        for client in opened:
            client.close()
    return Figures(ask.name, clients, len(ms) / took, ms, used * 1000 / len(ms))


async def _asked(ask: Ask, clients: Sequence[Client], seconds: float) -> list[float]:
    """Let all ask again and again; return how many ms each answer took."""
    end = time.perf_counter() + seconds
    ms: list[float] = []

    async def one(client: Client) -> None:
        now, least = time.perf_counter(), 2  # answers: of fewer there are no quantiles
        while now < end or least > 0:
            await client.ask(ask)
            now, before = time.perf_counter(), now
            ms.append((now - before) * 1000)
            least -= 1

    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(one(client))
    return ms


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _prepared(settings: Settings, database: Database, jobs: int) -> tuple[str, str]:
    """Fill the store; return the id of a job with pages, and a token."""
    async with Yard.open(settings) as yard:
        await filled(yard, database, jobs)
        site = SiteServer(DemoSite(pages=_PAGES, faults=False))
        async with site:
            spec = JobSpec(urls=(f"{site.url}/",), allow_private=True, delay_s=0)
            job = await yard.jobs.submit(LOCAL, spec)
            await yard.worker(only=job.id).run()
        made = await Surface(yard.services, LOCAL).tokens.create("bench")
        return job.id, made.token or ""


def _asks(job_id: str) -> Mapping[str, Ask]:
    told = {
        "jobs": "/api/v1/jobs?limit=50",
        "failed jobs": "/api/v1/jobs?state=failed&limit=50",
        "counts": "/api/v1/jobs/counts",
        "a job": f"/api/v1/jobs/{job_id}",
        "its pages": f"/api/v1/jobs/{job_id}/pages?limit=50",
        "stats": "/api/v1/stats",
        "metrics": "/metrics",
    }
    asks = {name: Ask(name, "GET", path) for name, path in told.items()}
    body = json.dumps(_SUBMITTED).encode()
    return asks | {"submit": Ask("submit", "POST", "/api/v1/jobs", body)}


async def _measure(options: argparse.Namespace, settings: Settings, database: Database) -> str:
    job_id, token = await _prepared(settings, database, options.jobs)
    rows: list[str] = []
    log = Path(settings.data_dir) / "server.log"
    with served(settings, log, "--no-worker") as (process_id, url):
        for name, ask in _asks(job_id).items():
            if options.only not in name:
                continue
            for clients in options.clients:
                found = await _measured(
                    ask, lambda: Client(url, token), clients, options.seconds, process_id
                )
                rows.append(found.told())
                sys.stderr.write(f"{rows[-1]}\n")
    return _HEAD + "\n".join(rows) + "\n"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.web",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--postgres", default="", help="URL of a database; all in it is deleted")
    parser.add_argument("--folder", type=Path, help="for files of SQLite")
    parser.add_argument("--jobs", type=int, default=10_000, help="that there are")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16], help="at once")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each request")
    parser.add_argument("--only", default="", help="requests with this in their name")
    return parser.parse_args()


async def _main() -> None:
    options = _options()
    for name, url in stores(options):
        async with empty_store(url, options.folder) as (settings, database):
            told = await _measure(options, settings, database)
        load = os.getloadavg()[0]
        sys.stdout.write(f"{name}, {options.jobs:,} jobs, load {load:.1f}\n\n{told}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_main())
