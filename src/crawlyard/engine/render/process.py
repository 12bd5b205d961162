"""Browser process: starts, measures and ends it, under a supervisor."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import Struct

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.engine.http.fetch import FetchFailed

WITHOUT_NETWORK = True
"""Give browsers a network namespace with nothing in it, where the kernel allows it."""

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_END_S = 5.0
_SHARED = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "CHROMIUM_FLAGS", "TMPDIR")
"""Variables that a browser gets; others may be secrets of the instance."""

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class ProcessUsage(Struct, frozen=True, kw_only=True):
    """CPU time and memory of the processes of a browser."""

    cpu_s: float = 0.0
    rss_bytes: int = 0


class BrowserProcess:
    """One browser, its supervisor and the ends of its pipe."""

    def __init__(self, process: Process, report: Mapping[str, Any], *, forks: bool) -> None:
        self._process = process
        self._forks = forks
        self._output: str | None = None  # the end of its output, once it has ended
        self.pid: int = report["pid"]
        self.directory = Path(report["dir"])
        self.isolated: bool = report[
            "isolated"
        ]  # the kernel gave it a network namespace of its own

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        variables: Mapping[str, str],
        pipe: Sequence[int] = (),
        *,
        forks: bool,
    ) -> "BrowserProcess":
        """Start *command* with environment *variables*; it gets the *pipe* descriptors as 3 and 4.

        *forks*: it has child processes, which are measure with it.

        Raises:
            FetchFailed: it cannot be started.
        """
        environment = {name: os.environ[name] for name in _SHARED if name in os.environ}
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(_SUPERVISOR)),
                *map(json.dumps, (list(command), list(pipe), WITHOUT_NETWORK)),
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                env={**environment, **variables},
                pass_fds=pipe,
                start_new_session=True,  # Ctrl-C reaches only us
            )
        except OSError as error:
            detail = f"cannot start a process for the browser: {error}"
            raise FetchFailed(ErrorKind.RENDER, detail, transient=True) from error
        try:
            line = await process.stdout.readline() if process.stdout else b""
            return cls(process, json.loads(line), forks=forks)
        except BaseException as error:
            await _stop(process)
            if isinstance(error, ValueError):
                detail = "the supervisor of the browser did not start"
                raise FetchFailed(ErrorKind.RENDER, detail, transient=True) from error
            raise

    @property
    def alive(self) -> bool:
        """True if it runs, as far as is known."""
        return self._process.returncode is None

    async def dies_within(self, seconds: float) -> bool:
        """Return whether it ends by itself within *seconds*."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._last_report()
        return self._output is not None

    def usage(self) -> ProcessUsage:
        """Measure it, with its child processes."""
        return measure(self.pid, forks=self._forks)

    async def end(self) -> str:
        """Kill it and its children; return the end of its output."""
        await _stop(self._process)
        return (await self._last_report()).strip()

    async def _last_report(self) -> str:
        if self._output is None:
            line = await self._process.stdout.readline() if self._process.stdout else b""
            self._output = str(json.loads(line)["log"]) if line else ""
        return self._output


async def _stop(process: Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(_END_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def measure(pid: int, *, forks: bool) -> ProcessUsage:
    """Measure a process; with *forks*, its descendants too."""
    stats = _stats(None if forks else (pid,))
    tree, waiting = [], [pid]
    while waiting:
        parent = waiting.pop()
        tree.append(parent)
        waiting += [child for child, stat in stats.items() if stat.parent == parent]
    in_tree = [stats[pid] for pid in tree if pid in stats]
    cpu_s, rss_bytes = sum(stat.cpu_s for stat in in_tree), sum(stat.rss for stat in in_tree)
    return ProcessUsage(cpu_s=cpu_s, rss_bytes=rss_bytes)


def memory_share(pid: int) -> int | None:
    """Return the memory of a process in bytes, with 1/n of what n processes share.

    ``None`` if the system does not say. Source: proc_pid_smaps(5); takes 1 ms for 60 MB.
    """
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return None


class _Stat(Struct, frozen=True):
    parent: int
    cpu_s: float  # its own, and that of children it has waited for
    rss: int


def _stats(pids: Iterable[int] | None) -> dict[int, _Stat]:
    if pids is None:
        pids = map(int, filter(str.isdecimal, os.listdir("/proc")))  # noqa: PTH208 - names alone
    return {pid: stat for pid in pids if (stat := _stat(pid)) is not None}


def _stat(pid: int) -> _Stat | None:
    """Parse ``/proc/PID/stat``; ``None`` if the process has ended. Source: proc_pid_stat(5)."""
    try:  # not by `Path`, which takes three times as long, for each process of the machine
        descriptor = os.open(b"/proc/%d/stat" % pid, os.O_RDONLY)
    except OSError:
        return None
    try:
        text = os.read(descriptor, 4096)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    fields = text.rpartition(b")")[2].split()  # its name may have blanks; from the third field on
    ticks = sum(map(int, fields[11:15]))
    return _Stat(parent=int(fields[1]), cpu_s=ticks / _TICKS, rss=int(fields[21]) * _PAGE)
