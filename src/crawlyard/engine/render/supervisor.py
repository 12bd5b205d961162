"""Supervisor: the parent of one browser, which ends it with all its children in any case.

Runs as a program of its own, without modules of ours: it costs 10 MB and 20 ms. It lives as long as
its stdin is open, so that a worker killed by SIGKILL leaves no browser behind. Processes that a
browser detaches from itself become its children, because it is their subreaper.
"""

import ctypes
import json
import os
import select
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_LONGEST_SOCKET = 107  # bytes of the path of a Unix socket
_MAX_OUTPUT = 600

_libc = ctypes.CDLL(None, use_errno=True)


def supervise(command: Sequence[str], pipe: Sequence[int], *, without_network: bool) -> None:
    """Run *command* until it ends or stdin is closed, and report in two lines of JSON.

    *pipe* are two descriptors that it gets as 3 and 4. ``{dir}`` in the command is a directory of
    its own, which is removed at the end.
    """
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    home = _directory()
    try:
        isolated = without_network and _leave_network()
        pid = _start([part.replace("{dir}", home) for part in command], pipe, home)
        for descriptor in pipe:
            os.close(descriptor)
        _report({"pid": pid, "dir": home, "isolated": isolated})
        _wait(pid)
        _kill_all()
        _report({"log": _output(home)})
    finally:
        _kill_all()
        shutil.rmtree(home, ignore_errors=True)


def _directory() -> str:
    is_short = len(tempfile.gettempdir()) < _LONGEST_SOCKET - 30
    return tempfile.mkdtemp(prefix="crawlyard-", dir=None if is_short else "/tmp")  # noqa: S108


def _leave_network() -> bool:
    """Move into an empty network namespace; return whether the kernel allows that."""
    if _libc.unshare(_NEW_NET) == 0:
        return True
    uid, gid = os.getuid(), os.getgid()
    if _libc.unshare(_NEW_USER | _NEW_NET) != 0:
        return False
    with suppress(OSError):
        Path("/proc/self/setgroups").write_text("deny", "ascii")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", "ascii")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", "ascii")
    return True


def _start(command: list[str], pipe: Sequence[int], home: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        with suppress(OSError):  # if memory runs out, the browser is killed first
            Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
        nothing = os.open(os.devnull, os.O_RDONLY)
        log = os.open(f"{home}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        descriptors = [os.dup(descriptor) for descriptor in (nothing, log, log, *pipe)]
        moved = [os.dup2(descriptor, 100 + number) for number, descriptor in enumerate(descriptors)]
        for number, descriptor in enumerate(moved):
            os.dup2(descriptor, number)
        os.closerange(len(moved), 1024)
        os.chdir(home)
        os.execve(command[0], command, {**os.environ, "HOME": home, "TMPDIR": home})  # noqa: S606
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _wait(pid: int) -> None:
    """Wait until the process ends or stdin is closed."""
    poll = select.poll()
    browser = os.pidfd_open(pid)
    poll.register(browser, select.POLLIN)
    poll.register(0, select.POLLIN | select.POLLHUP)
    while not (ready := dict(poll.poll())).get(browser):
        if 0 in ready and not os.read(0, 1024):
            break


def _kill_all() -> None:
    """Kill all children, and grandchildren as they become ours, until none is left."""
    me = str(os.getpid())
    while True:
        for pid in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208 - names alone
            with suppress(OSError):
                stat = Path("/proc", pid, "stat").read_text("utf-8", "replace")
                if stat.rpartition(")")[2].split()[1] == me:
                    os.kill(int(pid), signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _output(home: str) -> str:
    with suppress(OSError), Path(home, "log").open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - _MAX_OUTPUT))
        return log.read().decode("utf-8", "replace")
    return ""


def _report(report: object) -> None:
    with suppress(OSError):  # the worker may be gone
        os.write(1, json.dumps(report).encode() + b"\n")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _command, _pipe, _without = map(json.loads, sys.argv[1:])
    supervise(_command, _pipe, without_network=_without)
