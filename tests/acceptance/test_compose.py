"""The how-to on containers, with the processes of `deploy/compose.yaml` instead of containers.

Each has its command, environment, user, rights and health check; as root, its root file system is
read-only as well. `.ci/container` does the same with images.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import make_url

from crawlyard.store.tables import SCHEMA
from tests.acceptance.shell import MINUTE, environment
from tests.acceptance.test_webhook_docs import free_port
from tests.postgres import PostgresServer
from tests.test_containers import image_environment, own_services, values
from tests.test_docs import blocks

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.redis]

HOWTO = Path(__file__).parents[2] / "docs" / "howto"
OLD = Path(__file__).parents[1] / "conformance" / "old_schemas" / "0121-postgres.sql"
WORKERS: int = own_services()["worker"]["scale"]

_READS = "-all,+dac_read_search"  # the interpreter of the tests may be in a folder of root
_CONFINED = f"""
mount --bind "$1" "$1" && mount -o remount,bind,ro / && shift && exec setpriv --reuid "$1" \
  --regid "$1" --clear-groups --no-new-privs --bounding-set {_READS} --inh-caps {_READS} \
  --ambient-caps {_READS} "${{@:2}}"
"""
"""Runs a command as user $2; all but the folder $1 is read-only for it alone."""


@dataclass(slots=True)
class Container:
    """A running process of a service."""

    process: subprocess.Popen[str]
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=50))
    reader: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as log:
            self.lines.extend(log)

    def until(self, words: str) -> str:
        """Return the first line of the log with these words."""
        deadline = time.monotonic() + MINUTE
        while True:
            for line in [*self.lines]:
                if words in line:
                    return line
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"no {words!r} in:\n{''.join(self.lines)}")
            time.sleep(0.05)

    def wait(self) -> int:
        """Return the exit code once it has ended."""
        self.reader.join(MINUTE)
        return self.process.wait(MINUTE)


@dataclass(frozen=True, slots=True)
class Compose:
    """Docker Compose, as far as the how-to uses it."""

    folder: Path
    database_url: str
    redis_url: str
    server_port: int
    worker_ports: Sequence[int]
    containers: dict[str, Container] = field(default_factory=dict)

    def docker(self, *words: str) -> str:
        """Do what ``docker compose WORDS`` does; return the output."""
        action, *rest = [word for word in words if word not in {"--detach", "--build", "--rm"}]
        match action, rest:
            case "up", []:
                self.run("migrate", *own_services()["migrate"]["command"])
                if not self.containers:
                    self.start()
            case ("down", []) | ("stop", ["server", "worker"]):
                self.stop()
            case "build", []:
                pass
            case "exec", ["server", "crawlyard", *command]:
                return self.run("server", *command)
            case "run", ["server", *command]:
                return self.run("server", *command)
            case "cp", [source, "."]:
                copies = self.folder / "copies"
                copies.mkdir()
                shutil.copy(self._inside(source.partition(":")[2]), copies)
            case "exec", ["postgres", "dropdb" | "createdb" as program, *_]:
                self._administer(program)
            case _:
                pytest.fail(f"docker compose {shlex.join(words)} is not known here")
        return ""

    def start(self) -> None:
        """Start the server and the workers."""
        self.containers["server"] = self._start("server", own_services()["server"]["command"])
        for number in range(WORKERS):
            self.start_worker(number)

    def start_worker(self, number: int) -> Container:
        name = f"worker-{number}"
        self.containers[name] = self._start(name, own_services()["worker"]["command"])
        return self.containers[name]

    def stop(self) -> None:
        for name, container in self.containers.items():
            container.until("serving " if name == "server" else "runs up to")
        for container in self.containers.values():
            container.process.terminate()
        codes = {name: container.wait() for name, container in self.containers.items()}
        self.containers.clear()
        assert set(codes.values()) == {0}, codes

    def kill(self) -> None:
        for container in self.containers.values():
            container.process.kill()
            container.wait()

    def run(self, name: str, *command: str) -> str:
        ran = self._run(name, command)
        assert ran.returncode == 0, f"{shlex.join(command)}: {ran.stderr}"
        return ran.stdout

    def health(self) -> dict[str, int]:
        """Return the exit codes of the health checks of all services that run."""
        codes = {}
        for name in self.containers:
            service = own_services()[name.partition("-")[0]]
            _, _, *command = service["healthcheck"]["test"]
            codes[name] = self._run(name, command).returncode
        return codes

    def until_healthy(self) -> None:
        deadline = time.monotonic() + MINUTE
        while set((codes := self.health()).values()) != {0}:
            assert time.monotonic() < deadline, codes

    def _inside(self, path: str) -> Path:
        """Return the place of a file of the volume."""
        return self.folder / Path(path).relative_to(image_environment()["CRAWLYARD_DATA_DIR"])

    def _start(self, name: str, command: Sequence[str]) -> Container:
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        words, variables = self._process(name, command)
        return Container(
            subprocess.Popen(
                words,
                env=variables,
                cwd=self.folder,
                stdin=null,
                stdout=null,
                stderr=pipe,
                text=True,
            )
        )

    def _run(self, name: str, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        words, variables = self._process(name, command)
        return subprocess.run(
            words,
            env=variables,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=MINUTE,
        )

    def _process(self, name: str, command: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """Return the words and the environment of a process of a service."""
        service, _, number = name.partition("-")
        data_dir = image_environment()["CRAWLYARD_DATA_DIR"]
        places = {
            "postgresql://crawlyard:crawlyard@postgres/crawlyard": self.database_url,
            "redis://redis:6379/0": self.redis_url,
            data_dir: str(self.folder),
            # containers have addresses of their own, these processes do not
            "8700": str(self.server_port),
            "9701": str(self.worker_ports[int(number or 0)]),
        }
        variables = image_environment() | own_services()[service]["environment"]
        del variables["PATH"]
        pattern = re.compile("|".join(map(re.escape, places)))

        def here(text: str) -> str:
            return pattern.sub(lambda match: places[match[0]], text)

        own = environment(HOME=str(self.folder), TMPDIR=str(self.folder))
        own |= {variable: here(value or "") for variable, value in variables.items()}
        port = ("--port", str(self.server_port)) if command[0] == "serve" else ()
        words = [sys.executable, "-m", "crawlyard", *map(here, command), *port]
        if os.geteuid() != 0:
            return words, own
        user = values("crawlyard", "USER")[0].partition(":")[0]
        confined = ("bash", "-euc", _CONFINED, "container", str(self.folder), user)
        return ["unshare", "--mount", "--propagation", "private", *confined, *words], own

    def _administer(self, program: str) -> None:
        url = make_url(self.database_url)
        name = sql.Identifier(url.database or "")
        statements = {
            "dropdb": sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name),
            "createdb": sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(name),
        }
        admin_url = url.set(database="postgres").render_as_string(hide_password=False)
        with psycopg.connect(admin_url, autocommit=True) as admin:
            admin.execute(statements[program])


@pytest.fixture
def compose(
    empty_postgres_url: str, postgres_server: PostgresServer, redis_url: str
) -> Iterator[Compose]:
    postgres_server.folder.chmod(0o755)  # its socket is for every user
    with tempfile.TemporaryDirectory(prefix="crawlyard-compose-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            user, _, group = values("crawlyard", "USER")[0].partition(":")
            os.chown(folder, int(user), int(group))
        server_port, *worker_ports = (free_port() for _ in range(1 + WORKERS))
        compose = Compose(folder, empty_postgres_url, redis_url, server_port, worker_ports)
        try:
            yield compose
        finally:
            compose.kill()


def lines() -> Iterator[list[str]]:
    """Yield the words of each `docker compose` line of the how-to."""
    for block in blocks((HOWTO / "containers.md").read_text("utf-8"), "sh"):
        for line in block.splitlines():
            docker, _, rest = line.partition(" compose ")
            if docker == "docker":
                yield shlex.split(rest)


def test_the_page_is_followed_line_by_line(compose: Compose, site: str) -> None:
    for words in lines():
        there = [site if word.startswith("https://") else word for word in words]
        fast = ("--allow-private", "--delay", "0") if "crawl" in words else ()
        compose.docker(*there, *fast)

    compose.until_healthy()
    state = compose.run("server", "jobs", "show", "last", "--fields", "state", "-o", "csv")
    assert state.split() == ["state", "completed"]
    assert (compose.folder / "copies" / "yard.backup").stat().st_size > 0
    compose.stop()


def test_services_wait_until_the_database_of_an_older_version_is_upgraded(
    compose: Compose,
) -> None:
    with psycopg.connect(compose.database_url) as server:
        server.execute(OLD.read_bytes())
    compose.start()
    notices = [container.until("waiting for it") for container in compose.containers.values()]
    waiting = compose.health()

    compose.docker("up")
    compose.run("server", "tokens", "create", "admin")
    compose.until_healthy()

    assert len(notices) == 1 + WORKERS
    expected = f"has schema 0121, and this Crawlyard needs {SCHEMA}: crawlyard db upgrade"
    assert all(expected in notice for notice in notices)
    assert set(waiting.values()) == {6}
    compose.stop()


def test_workers_of_an_older_version_end_once_when_the_schema_becomes_newer(
    compose: Compose,
) -> None:
    compose.docker("up")
    compose.run("server", "tokens", "create", "admin")
    compose.until_healthy()
    with psycopg.connect(compose.database_url) as server:
        server.execute("UPDATE alembic_version SET version_num = '9999'")

    workers = [compose.containers.pop(f"worker-{number}") for number in range(WORKERS)]
    codes = [worker.wait() for worker in workers]
    again = compose.start_worker(0)
    again.until("waiting for it")

    assert codes == [6] * WORKERS
    assert all("supports only" in "".join(worker.lines) for worker in workers)
    assert compose.health() == {"server": 6, "worker-0": 6}
