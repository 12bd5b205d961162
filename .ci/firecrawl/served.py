"""A server and its worker as processes that can be killed, a proxy before it, and a site."""

import json
import os
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_connection, create_server

PYTHON = os.environ["PYTHON"]
DOCS = os.environ["CRAWLYARD_TEST_DOCS"]


def _free_port() -> int:
    with create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing of connections that a killed process leaves."""


def _in_background(handler: type[BaseHTTPRequestHandler]) -> str:
    server = _Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


@contextmanager
def receiving() -> Iterator[tuple[str, list[tuple[Message, bytes]]]]:
    """Yield the URL of a receiver of webhooks, and the headers and bodies that it gets."""
    messages: list[tuple[Message, bytes]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            messages.append((self.headers, self.rfile.read(length)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    yield f"{_in_background(Receiver)}/hook", messages


class _Pages(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args: object) -> None:
        super().__init__(*args, directory=DOCS)

    def log_message(self, *_: object) -> None:
        pass


class _Upstream:
    """The server behind the proxy, and its outages."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._down_since = 0.0  # 0: it is up

    def answers(self) -> bool:
        """Return whether the server answers; in an outage, wait for it after the first request.

        Clients repeat a request for 1.5 seconds, and it takes longer to start on a busy machine.
        """
        waits = self._down_since > 0
        while True:
            try:
                create_connection(("127.0.0.1", self._port)).close()
            except OSError:
                self._down_since = self._down_since or time.monotonic()
                if not waits or time.monotonic() - self._down_since > 30:
                    return False
                time.sleep(0.1)
            else:
                self._down_since = 0.0
                return True


def _proxy_to(port: int) -> str:
    server = _Upstream(port)

    class Proxy(BaseHTTPRequestHandler):
        """Passes requests on, and answers 502 to the first one while nothing listens."""

        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            upstream = HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                if not server.answers():
                    raise ConnectionRefusedError
                upstream.request(self.command, self.path, body, dict(self.headers))
                answer = upstream.getresponse()
                status, body, headers = answer.status, answer.read(), answer.headers
            except (OSError, HTTPException):
                status, body, headers = 502, b"bad gateway", {}
            finally:
                upstream.close()
            self.send_response(status)
            for name in ("Content-Type", "Content-Encoding"):
                if name in headers:
                    self.send_header(name, headers[name])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_DELETE = _pass_on

        def log_message(self, *_: object) -> None:
            pass

    return _in_background(Proxy)


class Served:
    """A server and a worker on one database, in the current directory."""

    def __init__(self) -> None:
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.proxy = _proxy_to(self.port)
        self.site = _in_background(_Pages)
        here = Path.cwd()
        self._log = (here / "yard.log").open("wb")
        self._env = os.environ | {
            "CRAWLYARD_DATA_DIR": str(here / "data"),
            "CRAWLYARD_BRIDGES": "firecrawl",
            "CRAWLYARD_LEASE_S": "6",
        }
        self.token = self._tell("tokens", "create", "firecrawl", "-q")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def _tell(self, *words: str) -> str:
        done = subprocess.run(
            [PYTHON, "-m", "crawlyard", *words],
            env=self._env,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout.strip()

    def start(self, name: str) -> None:
        """Start the ``server`` or the ``worker``."""
        words = {"server": ["serve", "--port", str(self.port), "--no-worker"], "worker": ["work"]}
        command = [PYTHON, "-m", "crawlyard", *words[name]]
        self._processes[name] = subprocess.Popen(
            command, env=self._env, stdout=self._log, stderr=self._log, start_new_session=True
        )
        if name == "server":
            self._wait_until_served()

    def kill(self, name: str) -> None:
        """Kill the ``server`` or the ``worker`` with all its processes."""
        process = self._processes.pop(name)
        os.killpg(process.pid, 9)
        process.wait()

    def end(self) -> None:
        """Kill what still runs."""
        for name in tuple(self._processes):
            self.kill(name)

    def allow_this_site(self) -> None:
        """Let users name addresses of the server's own network."""
        grants = {"addresses": True, "private": False, "ignore_robots": False}
        status = self.ask("PUT", "/api/v1/settings/grants", grants, **{"If-Match": "*"})
        if status != 200:
            raise SystemExit(f"the grants are answered with {status}")

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> int:
        """Return the status of an answer."""
        request = urllib.request.Request(
            self.url + path,
            None if body is None else json.dumps(body).encode(),
            {
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
                **headers,
            },
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def _wait_until_served(self) -> None:
        for _ in range(100):
            try:
                self.ask("GET", "/healthz")
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise SystemExit(Path("yard.log").read_text())


@contextmanager
def serve() -> Iterator[Served]:
    """Serve for the block."""
    served = Served()
    try:
        served.start("server")
        served.start("worker")
        served.allow_this_site()
        yield served
    finally:
        served.end()
