"""What listening costs: many idle streams, and how soon another process' change is heard.

    python -m bench.live --streams 1000
    python -m bench.live --streams 1000 --logs

The server is the installed command on an embedded store, the listeners and the writer are
processes of their own. Streams are of events, or with `--logs` all but one of the logs of
jobs, twenty of each job. Needs the extra `bench`, and more open files than streams.
"""

# psutil is of the extra `bench` and without types: only numbers come from it.
# mypy: disable-error-code="import-not-found,import-untyped"

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from crawlyard import LOCAL, JobSpec, Settings, Yard
from crawlyard.services.surface import Surface
from crawlyard.web.live.hub import MOST_OF_ONE

_ANSWERS_WITHIN_S = 60.0
_URL = re.compile(r"http://\S+(?=/api/v1)")
_SPEC = JobSpec(urls=("https://example.com/",))


@dataclass(frozen=True, slots=True)
class Found:
    """What one run came to."""

    streams: int
    of_logs: int  # of them
    cpu_s_per_minute: float  # of the server, all streams idle
    idle_cpu_s_per_minute: float  # the same, with none
    bytes_a_stream: float  # resident memory that each added to the server
    resident_bytes: int
    delays_s: Sequence[float]  # from the commit of another process to a client

    def told(self) -> str:
        """Return it in lines."""
        p50, p99 = (self._quantile(share) * 1000 for share in (0.5, 0.99))
        return (
            f"{self.streams} idle streams, {self.of_logs} of logs: "
            f"{self.cpu_s_per_minute:.2f} CPU s a minute "
            f"(none open: {self.idle_cpu_s_per_minute:.2f}), "
            f"{self.resident_bytes / 1e6:.0f} MB resident, "
            f"{self.bytes_a_stream / 1e3:.1f} kB a stream\n"
            f"commit of another process to client, {len(self.delays_s)} changes: "
            f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, most {max(self.delays_s) * 1000:.0f} ms"
        )

    def _quantile(self, share: float) -> float:
        if len(self.delays_s) < 2:
            return self.delays_s[0]
        return statistics.quantiles(self.delays_s, n=100, method="inclusive")[
            round(share * 100) - 1
        ]


def main(words: Sequence[str] | None = None) -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m bench.live", description=__doc__)
    parser.add_argument("--streams", type=int, default=1000, help="how many listen")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long they are idle")
    parser.add_argument("--changes", type=int, default=200, help="how many are timed")
    parser.add_argument("--logs", action="store_true", help="follow logs, all but the first")
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), given)
    sys.stdout.write(f"{found.told()}\n")


def measure(folder: Path, given: argparse.Namespace) -> Found:
    """Return what streams cost a server on a new store in *folder*."""
    settings, idle_s = Settings(data_dir=folder / "data"), given.seconds
    asked = asyncio.run(_prepared(settings, given.streams, logs=given.logs))
    with _server(folder) as (server, url):
        process = psutil.Process(server)
        without, before = _cpu_s_per_minute(process, idle_s), process.memory_info().rss
        spawn = multiprocessing.get_context("spawn")
        up, stop, heard = spawn.Event(), spawn.Event(), spawn.Queue()
        listening = spawn.Process(target=_listen, args=(url, asked, up, stop, heard))
        listening.start()
        try:
            if not up.wait(_ANSWERS_WITHIN_S + len(asked) / 20):
                raise RuntimeError(f"{len(asked)} streams did not open")
            with_all, after = _cpu_s_per_minute(process, idle_s), process.memory_info().rss
            committed = asyncio.run(_write(settings, given.changes))
            delays = _delays(heard, committed)
        finally:
            stop.set()
            listening.join()
    of_logs = sum("/log/" in path for path, _ in asked)
    a_stream = (after - before) / len(asked)
    return Found(len(asked), of_logs, with_all, without, a_stream, after, delays)


def _cpu_s_per_minute(process: psutil.Process, seconds: float) -> float:
    begun, at = sum(process.cpu_times()[:2]), time.monotonic()
    time.sleep(seconds)
    used: float = sum(process.cpu_times()[:2]) - begun
    return used * 60 / (time.monotonic() - at)


async def _prepared(settings: Settings, streams: int, *, logs: bool) -> list[tuple[str, str]]:
    """Return path and token of each stream; what they need is made."""
    asked: list[tuple[str, str]] = []
    async with Yard.open(settings) as yard:
        tokens = Surface(yard.services, LOCAL).tokens
        while len(asked) < streams:
            token = (await tokens.create("bench")).token or ""
            path = "events/stream"
            if logs:
                path = f"jobs/{(await yard.jobs.submit(LOCAL, _SPEC)).id}/log/stream"
            asked += [(path, token)] * min(MOST_OF_ONE, streams - len(asked))
    asked[0] = ("events/stream", asked[0][1])
    return asked


async def _write(settings: Settings, changes: int) -> dict[str, float]:
    """Submit jobs, not all at the same part of a look; return when each was committed."""
    committed: dict[str, float] = {}
    async with Yard.open(settings) as yard:
        for n in range(changes):
            job = await yard.jobs.submit(LOCAL, _SPEC)
            committed[job.id] = time.monotonic()
            await asyncio.sleep(0.1 + 0.013 * (n % 16))
    return committed


def _delays(
    heard: "multiprocessing.Queue[tuple[str, float]]", committed: dict[str, float]
) -> list[float]:
    delays: list[float] = []
    while len(delays) < len(committed):
        job_id, at = heard.get(timeout=_ANSWERS_WITHIN_S)
        delays.append(max(0.0, at - committed[job_id]))
    return delays


@contextmanager
def _server(folder: Path) -> Iterator[tuple[int, str]]:
    """Run a server without a worker; yield its process id and its URL."""
    command = [sys.executable, "-m", "crawlyard", "serve", "--port", "0", "--no-worker"]
    environment = os.environ | {"CRAWLYARD_DATA_DIR": str(folder / "data")}
    log = folder / "server.log"
    with (
        log.open("w") as written,
        subprocess.Popen(  # noqa: S603 - our own words
            command, cwd=folder, env=environment, stderr=written
        ) as server,
    ):
        try:
            yield server.pid, _url(log, server)
        except BaseException:
            sys.stderr.write(log.read_text("utf-8"))
            raise
        finally:
            server.terminate()


def _url(log: Path, server: "subprocess.Popen[bytes]") -> str:
    """Return where a server says that it is, as soon as it does."""
    end = time.monotonic() + _ANSWERS_WITHIN_S
    while server.poll() is None and time.monotonic() < end:
        if found := _URL.search(log.read_text("utf-8")):
            return found[0]
        time.sleep(0.05)
    raise RuntimeError("the server did not start")


def _listen(
    url: str,
    asked: Sequence[tuple[str, str]],
    up: "multiprocessing.synchronize.Event",
    stop: "multiprocessing.synchronize.Event",
    heard: "multiprocessing.Queue[tuple[str, float]]",
) -> None:
    """Open all streams, say when they are up, and what the first of them hears of new jobs."""
    asyncio.run(_listen_to_all(url, asked, up, stop, heard))


async def _listen_to_all(
    url: str,
    asked: Sequence[tuple[str, str]],
    up: "multiprocessing.synchronize.Event",
    stop: "multiprocessing.synchronize.Event",
    heard: "multiprocessing.Queue[tuple[str, float]]",
) -> None:
    opened = [await _opened(url, path, token) for path, token in asked]
    up.set()
    (first, _), *others = opened
    tasks = [asyncio.create_task(_hear(first, heard))]
    tasks += [asyncio.create_task(_skip(reader)) for reader, _ in others]
    await asyncio.to_thread(stop.wait)
    if any(task.done() for task in tasks):
        raise RuntimeError("a stream ended by itself")
    for task in tasks:
        task.cancel()
    for _, writer in opened:
        writer.close()


async def _opened(
    url: str, path: str, token: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a stream that has begun; without its writer it would be closed."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    writer.write(
        f"GET /api/v1/{path} HTTP/1.1\r\nHost: {place.netloc}\r\n"
        f"Authorization: Bearer {token}\r\n\r\n".encode()
    )
    async with asyncio.timeout(_ANSWERS_WITHIN_S):
        answered = await reader.readuntil(b"event: hello")
    if b" 200 " not in answered.partition(b"\r\n")[0]:
        raise RuntimeError(answered.decode())
    return reader, writer


async def _hear(
    reader: asyncio.StreamReader, heard: "multiprocessing.Queue[tuple[str, float]]"
) -> None:
    name = b""
    while line := await reader.readline():
        if line.startswith(b"event: "):
            name = line[7:].strip()
        elif line.startswith(b"data: ") and name == b"job.created":
            heard.put((json.loads(line[6:])["job_id"], time.monotonic()))


async def _skip(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


if __name__ == "__main__":
    main()
