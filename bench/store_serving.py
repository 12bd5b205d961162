"""The installed server as a process of its own, on a store that a benchmark has filled."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crawlyard.config import Settings

_ANSWERS_WITHIN_S = 60.0
_URL = re.compile(r"http://\S+(?=/api/v1)")


@contextmanager
def served(settings: Settings, log: Path, *more: str) -> Iterator[tuple[int, str]]:
    """Run a server for the block; give the id of its process, and its URL.

    Raises:
        RuntimeError: it did not start; *log* says why.
    """
    environment = os.environ | {"CRAWLYARD_DATA_DIR": str(settings.data_dir)}
    if settings.database_url:
        environment["CRAWLYARD_DATABASE_URL"] = settings.database_url
    log.write_bytes(b"")
    with log.open("ab") as written:
        server = subprocess.Popen(  # noqa: S603 - our own words
            (sys.executable, "-m", "crawlyard", "serve", "--port", "0", *more),
            env=environment,
            stdout=written,
            stderr=written,
        )
    try:
        yield server.pid, _url(log, server)
    finally:
        server.terminate()
        server.wait()


def _url(log: Path, server: "subprocess.Popen[bytes]") -> str:
    """Return where a server says that it is, as soon as it does."""
    end = time.monotonic() + _ANSWERS_WITHIN_S
    while server.poll() is None and time.monotonic() < end:
        if match := _URL.search(log.read_text("utf-8")):
            return match[0]
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start: {log.read_text('utf-8')[-2000:]}")
