"""Commands as processes that start at once: forks of a process that has loaded everything.

`Forked` is a `subprocess.Popen` of ``python -m MODULE WORDS…``. The process is forked by a server,
this file run as a script, in which all of crawlyard is loaded but nothing was ever run; from then
on it does what a new one would: `runpy` runs the module, and the interpreter ends by itself.
It does not cover how a command starts.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

_INT = 4  # bytes of a number on the wire


class Forked(subprocess.Popen[str]):
    """A process forked by the server, which reports its exit status."""

    def _execute_child(self, args: Any, *rest: Any) -> None:
        cwd, env, pipes = rest[4] or Path.cwd(), rest[5] or os.environ, rest[9:15]
        module, *words = args
        child_ends = pipes[0], pipes[3], pipes[5]  # -1: ours
        fds = [own if fd == -1 else fd for own, fd in enumerate(child_ends)]
        self._server, server = socket.socketpair()
        with server:
            socket.send_fds(_server(), [b"."], [server.fileno(), *fds])
        self._server.sendall(json.dumps([module, words, str(cwd), dict(env)]).encode())
        self._server.shutdown(socket.SHUT_WR)
        self.pid = self._receive_number()
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _try_wait(self, flags: int) -> tuple[int, int]:
        if not select.select([self._server], [], [], 0 if flags else None)[0]:
            return 0, 0
        status = self._receive_number()
        self._server.close()
        return self.pid, status

    def _internal_poll(self, **_: object) -> int | None:
        if self._child_created and self.returncode is None:
            pid, status = self._try_wait(os.WNOHANG)
            if pid:
                self._handle_exitstatus(status)  # type: ignore[attr-defined]
        return self.returncode

    def _receive_number(self) -> int:
        number = self._server.recv(_INT, socket.MSG_WAITALL)
        if len(number) < _INT:
            raise RuntimeError("the fork server has ended; see its stderr")
        return int.from_bytes(number, "big")


@functools.cache
def _server() -> socket.socket:
    """Start the server, which ends with this process, and return the socket for requests."""
    ours, its = socket.socketpair()
    with its:
        process = subprocess.Popen(
            [sys.executable, __file__, str(its.fileno())],
            pass_fds=[its.fileno()],
            env=os.environ | {"PYTHONUTF8": "1"},
        )

    @atexit.register
    def end() -> None:
        ours.close()
        process.wait()

    return ours


def _serve(requests: socket.socket) -> list[Any]:
    """Fork a process per request; in that process, return its command."""
    running: dict[int, socket.socket] = {}
    woken, wakes = socket.socketpair()
    woken.setblocking(False)
    wakes.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to us as well
    signal.set_wakeup_fd(wakes.fileno())
    while True:
        ready = select.select([requests, woken], [], [])[0]
        if woken in ready:
            woken.recv(4096)
            _report_ends(running)
        if requests in ready:
            message, (fds) = socket.recv_fds(requests, 1, 4)[:2]
            if not message:
                _end(running)
            client = socket.socket(fileno=fds[0])
            with client.makefile() as lines:
                command: list[Any] = json.load(lines)
            pid = os.fork()
            if pid == 0:
                for each in (requests, woken, wakes, client, *running.values()):
                    each.close()
                return [*command, fds[1:]]
            running[pid] = client
            client.sendall(pid.to_bytes(_INT, "big"))
            for fd in fds[1:]:
                os.close(fd)


def _report_ends(running: dict[int, socket.socket]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with running.pop(pid) as client:
            try:
                client.sendall(status.to_bytes(_INT, "big"))
            except BrokenPipeError:
                continue  # its client has ended


def _end(running: Mapping[int, socket.socket]) -> NoReturn:
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)


def _load() -> None:
    """Import all of crawlyard, lazy modules included."""
    package = importlib.import_module("crawlyard")
    for module in pkgutil.walk_packages(package.__path__, "crawlyard."):
        if not module.name.endswith(("__main__", "migrations.env", "export.parquet")):
            vars(importlib.import_module(module.name))  # loads it if it is lazy
    # building the options of a command group takes as long as running one of its commands
    app: Any = importlib.import_module("crawlyard.cli.main")
    typer: Any = importlib.import_module("typer.main")
    app.tree, typer.get_command = map(functools.cache, (app.tree, typer.get_command))
    for first in ("", *importlib.import_module("crawlyard.cli.commands").BRANCHES):
        typer.get_command(app.tree(first))
    gc.collect()
    gc.freeze()


def _become(module: str, words: list[str], cwd: str, env: dict[str, str], fds: list[int]) -> None:
    """Shed the state of the server and run a module as a new process would."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for own, fd in enumerate(fds):
        os.dup2(fd, own)
        os.close(fd)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    stdin = open(0, errors="surrogateescape", closefd=False)  # noqa: SIM115 - to the end
    stdout = open(1, "w", errors="surrogateescape", closefd=False)  # noqa: SIM115
    stderr = open(2, "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.stdin, sys.stdout, sys.stderr = stdin, stdout, stderr
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = stdin, stdout, stderr  # type: ignore[misc]
    sys.path[0], sys.argv = cwd, [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _load()
    _become(*_serve(socket.socket(fileno=int(sys.argv[1]))))
