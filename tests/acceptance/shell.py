"""Running the installed command, and reading what it says while it runs."""

import json
import os
import pty
import subprocess
import sys
import threading
from collections import Counter
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

_KEPT = ("PATH", "HOME", "LANG", "PYTHONPATH")  # the last names the tree that is tested


def environment(**more: str) -> dict[str, str]:
    """Return an environment without settings of ours, and no terminal's."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return kept | {"PYTHONUTF8": "1"} | more


def begun(module: str, *words: str, forked: bool = True, **given: Any) -> Process:
    """Begin ``python -m MODULE …``: a fork of what is loaded already, or from nothing."""
    if forked:
        return Forked([module, *words], text=True, **given)
    return Process([sys.executable, "-m", module, *words], text=True, **given)


@dataclass(frozen=True, slots=True)
class Shell:
    """A folder in which commands are run."""

    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)  # of all of them
    forks: bool = True

    @property
    def environment(self) -> dict[str, str]:
        """Return what commands see: nothing that this machine keeps for its user."""
        return environment(**({"XDG_CONFIG_HOME": str(self.folder / ".config")} | dict(self.env)))

    @property
    def over_http(self) -> bool:
        """Tell whether commands ask a server."""
        return "CRAWLYARD_SERVER" in self.env

    @property
    def fresh(self) -> "Shell":
        """Return a shell whose commands start from nothing, and load what they need."""
        return replace(self, forks=False)

    def begun(self, *words: str, env: Mapping[str, str] | None = None, **streams: int) -> Process:
        """Begin ``crawlyard …``."""
        env = self.environment | dict(env or {})
        return begun("crawlyard", *words, forked=self.forks, cwd=self.folder, env=env, **streams)

    def run(
        self,
        *words: str,
        stdin: str = "",
        stdout: int = subprocess.PIPE,
        env: Mapping[str, str] | None = None,
    ) -> Run:
        """Run ``crawlyard …`` to its end."""
        streams = {"stdin": subprocess.PIPE, "stdout": stdout, "stderr": subprocess.PIPE}
        with self.begun(*words, env=env, **streams) as process:
            try:
                out, err = process.communicate(stdin, timeout=MINUTE)
            finally:
                process.kill()
        return Run(words, process.returncode, out, err)

    @contextmanager
    def started(self, *words: str) -> Iterator[Process]:
        """Run ``crawlyard …`` beside the block."""
        pipe = subprocess.PIPE
        with self.begun(*words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe) as process:
            try:
                yield process
            finally:
                process.kill()

    def json(self, *words: str) -> object:
        """Return what a command writes as JSON."""
        ran = self.run(*words, "--json")
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    def job(self, *options: str) -> Mapping[str, object]:
        """Return the last job."""
        found = self.json("jobs", "show", "last", *options)
        assert isinstance(found, dict)
        return found


def on_terminal(shell: Shell, *words: str, typed: str = "", **env: str) -> tuple[int, str]:
    """Run a command on a terminal of 80 columns; return its exit code and all that it shows."""
    leader, follower = pty.openpty()
    env = {"COLUMNS": "80", "LINES": "24", "TERM": "xterm-256color"} | env
    process = shell.begun(*words, env=env, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    os.write(leader, typed.encode())
    seen = b""
    while True:
        try:
            seen += os.read(leader, 65536)
        except OSError:  # Linux says so when the last process has closed the terminal
            break
    os.close(leader)
    return process.wait(timeout=MINUTE), seen.decode()


def until_stored(shell: Shell) -> None:
    """Return once the last job has recorded pages."""
    while shell.run("jobs", "pages", "last", "-q").stdout == "":
        pass


GRANTS = '{"addresses": true, "private": true, "ignore_robots": true}'
"""What a yard grants to who owns its files, for a server to grant it as well."""


@contextmanager
def serving(here: Shell, token: str, *options: str) -> Iterator[Shell]:
    """Serve the yard of *here*, and yield a shell whose commands ask that server."""
    with here.started("serve", "--port", "0", *options) as process:
        url = until(process, "serving ").split()[1].removesuffix("/api/v1")
        asking = {"CRAWLYARD_SERVER": url, "CRAWLYARD_TOKEN": token}
        with emptied(process):
            yield Shell(here.folder, {**here.env, **asking})
            process.terminate()
            process.wait(timeout=MINUTE)


@contextmanager
def emptied(process: Process) -> Iterator[None]:
    """Read what a process writes on stderr, so that it never waits for a reader."""
    assert process.stderr is not None
    reader = threading.Thread(target=process.stderr.read, daemon=True)
    reader.start()
    yield
    process.wait(timeout=MINUTE)
    reader.join(timeout=MINUTE)


@contextmanager
def a_site(*options: str) -> Iterator[str]:
    """Serve the demo site in a process of its own, and yield its URL."""
    with begun("crawlyard.demo", *options, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip().removesuffix("/")
        finally:
            process.terminate()


def until(process: Process, words: str) -> str:
    """Read stderr up to the line that has *words* in it, and return that."""
    assert process.stderr is not None
    read: list[str] = []
    for line in process.stderr:
        read.append(line)
        if words in line:
            return line
    pytest.fail(f"ended without {words!r}: {''.join(read)}")


def rest(process: Process) -> tuple[int, str, str]:
    """Wait for the end; return exit code, stdout and what was still to come on stderr."""
    out, err = process.communicate(timeout=MINUTE)
    return process.returncode, out, err


def records(path: Path) -> list[Any]:
    """Return what a file of JSON Lines holds."""
    return [json.loads(line) for line in path.read_text().splitlines()]


SLOW = ("--allow-private", "--delay", "0")
FAST = (*SLOW, "--per-host", "8")


def asked_twice(shell: Shell) -> list[str]:
    """Return the pages that the slow site was asked for more than once."""
    hits = read_log(shell.folder / "hits.jsonl")
    asked = Counter(hit.path for hit in hits if hit.path != "/robots.txt")
    return [path for path, times in asked.items() if times > 1]
