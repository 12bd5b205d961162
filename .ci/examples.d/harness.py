"""Harness of the examples: a yard, a site and a network that loses one response."""

import asyncio
import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx

from crawlyard import sync

EXAMPLES = Path(__file__).parents[2] / "examples"
PAGES = 20
T = TypeVar("T")
CRAWLYARD = [sys.executable, "-m", "crawlyard"]


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until(condition: Callable[[], T], what: str, within_s: float = 300) -> T:
    """Return the first true value of a condition."""
    give_up_at = time.monotonic() + within_s
    while time.monotonic() < give_up_at:
        if value := condition():
            return value
        time.sleep(0.5)
    raise TimeoutError(what)


class Yard:
    """A server and a worker in processes of their own, and the site that they crawl."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen] = []
        os.environ["CRAWLYARD_DATA_DIR"] = str(Path("data").absolute())
        # the examples run `crawlyard` and `python3` of this environment
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        token = run("tokens", "create", "examples", "-q").strip()
        run("settings", "grants", "--private", "--addresses")
        port = free_port()
        self.server = f"http://127.0.0.1:{port}"
        self.start("-m", "crawlyard", "serve", "--port", str(port), "--no-worker")
        self.worker = self.start_worker()
        os.environ.update(CRAWLYARD_SERVER=self.server, CRAWLYARD_TOKEN=token)
        until(self._answers, "the server does not start")

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.server}/readyz").is_success
        return False

    def start(self, *arguments: str, log: str = "yard.log") -> subprocess.Popen:
        """Start a process of this Python, and stop it at the end."""
        with Path(log).open("ab") as file:
            process = subprocess.Popen([sys.executable, *arguments], stdout=file, stderr=file)
        self._processes.append(process)
        return process

    def start_worker(self) -> subprocess.Popen:
        """Start a worker of the yard."""
        environment = {k: v for k, v in os.environ.items() if k != "CRAWLYARD_SERVER"}
        with Path("yard.log").open("ab") as file:
            process = subprocess.Popen(
                [*CRAWLYARD, "work"], stdout=file, stderr=file, env=environment
            )
        self._processes.append(process)
        return process

    def serve_site(self, *options: str) -> str:
        """Serve a site, by default one without broken pages; return its URL."""
        options = options or ("--pages", str(PAGES), "--plain")
        name = f"site-{len(self._processes)}.log"
        self.start("-m", "crawlyard.demo", *options, log=name)
        return until(lambda: Path(name).read_text(), "the site does not start").split()[0]

    def copy(self, name: str, site: str, **changes: str) -> Path:
        """Copy an example, with what a reader changes at its top."""
        text = (EXAMPLES / name).read_text()
        text = re.sub(r"https://(docs|shop)\.example\.org/", site, text)
        text = text.replace("max_pages=MAX_PAGES", "max_pages=MAX_PAGES, allow_private=True")
        text = text.replace("max_pages=500", "max_pages=500, allow_private=True")
        text = text.replace("--max-pages 500", "--max-pages 500 --allow-private")
        for constant, value in changes.items():
            text, count = re.subn(rf"(?m)^{constant} = .*$", f"{constant} = {value}", text)
            assert count == 1, (constant, count)
        copy = Path(Path(name).name)
        copy.write_text(text)
        copy.chmod(0o755)
        sys.path.insert(0, str(copy.parent.absolute()))
        return copy

    def kill_worker_midway(self) -> threading.Thread:
        """Kill the worker once it has stored some pages, and start another."""

        def kill() -> None:
            with sync.connect(self.server) as yard:
                until(
                    lambda: any(job.progress.pages >= 3 for job in yard.jobs.list().items),
                    "no pages",
                )
            self.worker.send_signal(signal.SIGKILL)
            self.worker.wait()
            self.worker = self.start_worker()

        thread = threading.Thread(target=kill, daemon=True)
        thread.start()
        return thread

    def jobs(self) -> list:
        """Return all jobs, without the network that loses responses."""
        with sync.connect(self.server) as yard:
            return [yard.jobs.get(job.id) for job in sync.every(yard.jobs.list)]

    def check_crawled_once(self) -> int:
        """Check that there is one job, that it survived a worker, and has every page once."""
        [job] = self.jobs()
        assert job.state == "completed", job
        with sync.connect(self.server) as yard:
            attempts = yard.jobs.attempts(job.id).items
            urls = [page.url for page in yard.jobs.pages(job.id)]
        assert len(attempts) == 2, attempts
        assert len(set(urls)) == len(urls) >= PAGES, urls
        return len(urls)

    def stop(self) -> None:
        """Stop all processes."""
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


class LossyNetwork:
    """A proxy before the server that loses each response to the first request for a crawl.

    The client repeats the request with the same Idempotency-Key and gives up, so the attempt of
    the engine fails although the job exists.
    """

    def __init__(self, server: str) -> None:
        self._port = int(server.rpartition(":")[2])
        self.url = f"http://127.0.0.1:{free_port()}"
        self.key = b""
        self.keys: set[bytes] = set()
        threading.Thread(target=asyncio.run, args=(self._serve(),), daemon=True).start()

    async def _serve(self) -> None:
        port = int(self.url.rpartition(":")[2])
        async with await asyncio.start_server(self._relay, "127.0.0.1", port) as server:
            await server.serve_forever()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, out = await asyncio.open_connection("127.0.0.1", self._port)
        lose = asyncio.Event()

        async def requests() -> None:
            while data := await reader.read(65536):
                if data.startswith(b"POST /api/v1/jobs HTTP"):
                    found = re.search(rb"(?i)idempotency-key: (\S+)", data)
                    self.key = self.key or found[1]
                    self.keys.add(found[1])
                    if found[1] == self.key:
                        lose.set()
                out.write(data)
            out.close()

        async def responses() -> None:
            while data := await there.read(65536):
                if lose.is_set():
                    break
                writer.write(data)
            writer.close()

        with contextlib.suppress(ConnectionError):
            await asyncio.gather(requests(), responses())


def run(*arguments: str) -> str:
    """Run a command of Crawlyard, and return its output."""
    return subprocess.run(
        [*CRAWLYARD, *arguments], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


@contextlib.contextmanager
def a_yard() -> Iterator[Yard]:
    """Run a yard in the working directory."""
    yard = Yard()
    try:
        yield yard
    finally:
        yard.stop()


@contextlib.contextmanager
def an_unreliable_yard() -> Iterator[tuple[Yard, LossyNetwork]]:
    """Run a yard whose worker dies midway, behind a network that loses a response."""
    with a_yard() as yard:
        network = LossyNetwork(yard.server)
        os.environ["CRAWLYARD_SERVER"] = network.url
        os.environ["WEBHOOK_SECRET"] = "whsec_" + b64encode(secrets.token_bytes(24)).decode()
        midway = yard.kill_worker_midway()
        yield yard, network
        midway.join(1)
        assert len(network.keys) >= 2, "the engine did not retry"
        print(f"one job, {yard.check_crawled_once()} pages, {len(network.keys)} attempts to start")
