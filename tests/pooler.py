"""A PgBouncer of the tests' own, which shares connections between transactions."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import make_url

INSTALL = "apt install pgbouncer"
CONNECTIONS = 2
"""What it has to a database at most, whatever is asked of it."""

_PATIENCE_S = 120.0


class NoPooler(Exception):
    """There is no PgBouncer to be had; the message says how to get one."""


@contextmanager
def a_pooler(postgres_url: str) -> Iterator[str]:
    """Start a PgBouncer before the server of *postgres_url*, and give the same database there.

    Raises:
        NoPooler: it is not installed, or does not start here.
    """
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        raise NoPooler(INSTALL)
    user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="crawlyard-pool-"))
    folder.chmod(0o755)
    if user is not None:
        shutil.chown(folder, user)
    url = make_url(postgres_url)
    options = {
        "host": url.host or url.normalized_query["host"][0],
        "port": url.port or 5432,
        "user": url.username,
        "password": url.password,
    }
    server = " ".join(f"{key}={value}" for key, value in options.items() if value)
    (folder / "pooler.ini").write_text(
        f"[databases]\n* = {server}\n[pgbouncer]\npool_mode = transaction\nauth_type = any\n"
        f"unix_socket_dir = {folder}\nlisten_port = 6432\ndefault_pool_size = {CONNECTIONS}\n"
        f"logfile = {folder}/log\n",
        "utf-8",
    )
    process = subprocess.Popen(
        [program, "-q", folder / "pooler.ini"], user=user, stderr=subprocess.DEVNULL
    )
    where = f"postgresql://{url.username}@/{url.database}?host={folder}&port=6432"
    try:
        _wait(process, where)
        yield where
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(process: "subprocess.Popen[bytes]", where: str) -> None:
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            psycopg.connect(where).close()
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > until:
                raise NoPooler(f"{error}; {INSTALL}") from error
        else:
            return
