"""Running the installed command and reading its output while it runs."""

import json
import os
import pty
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.fork_server import Forked
from tests.site import read_log

PAGES = 24  # of the site that is crawled once and then read by many tests
MANY = 200  # of the site that takes four seconds or more
MINUTE = 60  # more than any command here takes; a hang fails instead of blocking the suite

Run = subprocess.CompletedProcess[str]
Process = subprocess.Popen[str]

_KEPT = ("PATH", "HOME", "LANG", "PYTHONPATH")  # the last names the source tree under test


def environment(**more: str) -> dict[str, str]:
    """Return an environment without Crawlyard's settings and without a terminal."""
    inherited = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return inherited | {"PYTHONUTF8": "1"} | more


def start_module(module: str, *words: str, forked: bool = True, **options: Any) -> Process:
    """Start ``python -m MODULE …``, as a fork of a loaded process or as a new interpreter."""
    if forked:
        return Forked([module, *words], text=True, **options)
    return Process([sys.executable, "-m", module, *words], text=True, **options)


@dataclass(frozen=True, slots=True)
class Shell:
    """A folder in which commands are run."""

    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)
    forks: bool = True

    @property
    def environment(self) -> dict[str, str]:
        """The environment of commands, without this user's configuration."""
        return environment(**({"XDG_CONFIG_HOME": str(self.folder / ".config")} | dict(self.env)))

    @property
    def over_http(self) -> bool:
        """True if commands send requests to a server."""
        return "CRAWLYARD_SERVER" in self.env

    @property
    def fresh(self) -> "Shell":
        """The same shell with a new interpreter for each command."""
        return replace(self, forks=False)

    def start(self, *words: str, env: Mapping[str, str] | None = None, **streams: int) -> Process:
        env = self.environment | dict(env or {})
        return start_module(
            "crawlyard", *words, forked=self.forks, cwd=self.folder, env=env, **streams
        )

    def run(
        self,
        *words: str,
        stdin: str = "",
        stdout: int = subprocess.PIPE,
        env: Mapping[str, str] | None = None,
    ) -> Run:
        """Run ``crawlyard …`` to its end."""
        streams = {"stdin": subprocess.PIPE, "stdout": stdout, "stderr": subprocess.PIPE}
        with self.start(*words, env=env, **streams) as process:
            try:
                out, err = process.communicate(stdin, timeout=MINUTE)
            finally:
                process.kill()
        return Run(words, process.returncode, out, err)

    @contextmanager
    def started(self, *words: str) -> Iterator[Process]:
        """Run ``crawlyard …`` beside the block."""
        pipe = subprocess.PIPE
        with self.start(*words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe) as process:
            try:
                yield process
            finally:
                process.kill()

    def json(self, *words: str) -> object:
        """Return the JSON output of a command."""
        ran = self.run(*words, "--json")
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    def job(self, *options: str) -> Mapping[str, object]:
        """Return the newest job as JSON."""
        job = self.json("jobs", "show", "last", *options)
        assert isinstance(job, dict)
        return job


def on_terminal(shell: Shell, *words: str, typed: str = "", **env: str) -> tuple[int, str]:
    """Run a command on a terminal of 80 columns; return its exit code and output."""
    leader, follower = pty.openpty()
    env = {"COLUMNS": "80", "LINES": "24", "TERM": "xterm-256color"} | env
    process = shell.start(*words, env=env, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    os.write(leader, typed.encode())
    output = b""
    while True:
        try:
            output += os.read(leader, 65536)
        except OSError:  # Linux, once the last process has closed the terminal
            break
    os.close(leader)
    return process.wait(timeout=MINUTE), output.decode()


def until_stored(shell: Shell) -> None:
    """Return once the last job has recorded pages."""
    deadline = time.monotonic() + MINUTE
    while shell.run("jobs", "pages", "last", "-q").stdout == "":
        assert time.monotonic() < deadline, shell.run("jobs", "show", "last").stdout


GRANTS = '{"addresses": true, "private": true, "ignore_robots": true}'
"""The grants of the owner of a yard's files, to set them on a server."""


@contextmanager
def serving(here: Shell, token: str, *options: str) -> Iterator[Shell]:
    """Serve the yard of *here*, and yield a shell whose commands use that server."""
    with here.started("serve", "--port", "0", *options) as process:
        url = until(process, "serving ").split()[1].removesuffix("/api/v1")
        access = {"CRAWLYARD_SERVER": url, "CRAWLYARD_TOKEN": token}
        with draining_stderr(process):
            yield Shell(here.folder, {**here.env, **access})
            process.terminate()
            process.wait(timeout=MINUTE)


@contextmanager
def draining_stderr(process: Process) -> Iterator[None]:
    """Read stderr of a process beside the block, so that it never blocks on a full pipe."""
    assert process.stderr is not None
    reader = threading.Thread(target=process.stderr.read, daemon=True)
    reader.start()
    yield
    process.wait(timeout=MINUTE)
    reader.join(timeout=MINUTE)


@contextmanager
def demo_site(*options: str) -> Iterator[str]:
    """Serve the demo site in a process of its own, and yield its URL."""
    with start_module("crawlyard.demo", *options, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip().removesuffix("/")
        finally:
            process.terminate()


def until(process: Process, words: str) -> str:
    """Read stderr up to the line that contains *words*, and return that line.

    If there is none within a minute, kill the process and fail with its last output.
    """
    assert process.stderr is not None
    last_lines: deque[str] = deque(maxlen=30)
    timer = threading.Timer(MINUTE, process.kill)
    timer.start()
    try:
        for line in process.stderr:
            last_lines.append(line)
            if words in line:
                return line
    finally:
        timer.cancel()
    pytest.fail(f"no {words!r} within {MINUTE} s; the last output:\n{''.join(last_lines)}")


def wait_for_exit(process: Process) -> tuple[int, str, str]:
    """Wait for the process to end; return its exit code, stdout and the rest of stderr."""
    out, err = process.communicate(timeout=MINUTE)
    return process.returncode, out, err


def records(path: Path) -> list[Any]:
    """Return the records of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


SLOW = ("--allow-private", "--delay", "0")
FAST = (*SLOW, "--per-host", "8")


def pages_requested_twice(shell: Shell) -> list[str]:
    """Return the pages of the slow site that were requested more than once."""
    hits = read_log(shell.folder / "hits.jsonl")
    counts = Counter(hit.path for hit in hits if hit.path != "/robots.txt")
    return [path for path, times in counts.items() if times > 1]
