"""Serves a folder on loopback: by nginx where it is there, else by the demo's server."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_READY_S = 10.0
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")

# One worker, as it has one core. Pages that have been compressed once are sent so
# (`bench.sites` does that), and with a charset, as most sites have it.
_NGINX = """\
{user}daemon off;
worker_processes 1;
error_log stderr crit;
pid {work}/nginx.pid;
events {{ worker_connections 512; }}
http {{
  {temporary}
  access_log off;
  sendfile on;
  {gzip}{charset}
  keepalive_requests 1000000;
  open_file_cache max=8000;
  default_type application/octet-stream;
  types {{
    text/html html htm; text/css css; application/javascript js; text/plain txt;
    image/png png; image/svg+xml svg; image/gif gif; application/pdf pdf; text/x-python py;
  }}
  server {{ listen 127.0.0.1:{port}; listen 127.0.0.2:{port}; root "{root}"; index index.html; }}
}}
"""


@dataclass(frozen=True, slots=True)
class ServedFolder:
    """A folder that is being served."""

    url: str  # with a slash at its end
    by: str  # the server, with its version if it has one


@contextmanager
def served(
    folder: Path, pin: Sequence[str], work: Path, *, charset: str = "utf-8"
) -> Iterator[ServedFolder]:
    """Serve *folder* until the block ends; *pin* stands before the command of the server.

    nginx serves it on 127.0.0.2 as well, so that it is two hosts.

    Raises:
        RuntimeError: the server did not start.
    """
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if nginx is None:
        command = [sys.executable, "-m", "crawlyard.demo", "--folder", str(folder)]
        by = "the demo's server"
        with _running([*pin, *command]) as server:
            url = server.stdout.readline().decode().strip() if server.stdout else ""
            if not url:
                raise RuntimeError(f"{by} did not start")
            yield ServedFolder(url, by)
        return
    port = _free_port()
    configuration = work / "nginx.conf"
    text = _configuration(folder, work, port, nginx=nginx, charset=charset)
    configuration.write_text(text, encoding="utf-8")
    command = [nginx, "-p", str(work), "-c", str(configuration)]
    with _running([*pin, *command]) as server:
        _until_open(server, port)
        yield ServedFolder(f"http://127.0.0.1:{port}/", _version(nginx))


def _configuration(folder: Path, work: Path, port: int, *, nginx: str, charset: str) -> str:
    built = subprocess.run([nginx, "-V"], capture_output=True, text=True, check=True).stderr  # noqa: S603 - found on the path
    return _NGINX.format(
        gzip="gzip_static on;" if "gzip_static" in built else "",
        charset=f" charset {charset};" if charset else "",
        # nginx of root would read the files as another user, who perhaps may not
        user=f"user {getpass.getuser()};\n" if os.geteuid() == 0 else "",
        work=work,
        temporary=" ".join(f"{name}_temp_path {work}/{name};" for name in _TEMPORARY),
        port=port,
        root=folder.resolve(),
    )


def _version(nginx: str) -> str:
    ran = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True)  # noqa: S603 - found on the path
    return ran.stderr.strip().rpartition(" ")[2].replace("/", " ")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _until_open(server: "subprocess.Popen[bytes]", port: int) -> None:
    end = time.monotonic() + _READY_S
    while server.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("nginx did not start")


@contextmanager
def _running(command: Sequence[str]) -> "Iterator[subprocess.Popen[bytes]]":
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:  # noqa: S603 - our own words
        try:
            yield server
        finally:
            server.terminate()
