# psutil is of the extra `bench` and without types: only numbers come from it.
# mypy: disable-error-code="import-not-found,import-untyped"
"""Runs a command and measures the cost of its processes."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_SAMPLE_S = 0.05
_GRACE_S = 10.0  # to write what was found, before it is killed


@dataclass(frozen=True, slots=True)
class ProcessCost:
    """Cost of a command from start to end, imports included."""

    wall_s: float
    cpu_s: float  # user and system, of its process and of the children that it waited for
    peak_bytes: int  # resident, all its processes at once; sampled
    stopped: bool = False  # stopped by the time limit


def run_measured(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    most_s: float = 3600.0,
    exits: Collection[int] = (0,),
) -> ProcessCost:
    """Run *command* in *folder*, all its output into *log*, and return what it took.

    After *most_s* seconds it is asked to stop, as by Ctrl-C.

    Raises:
        RuntimeError: it ended with another code than *exits*; the message has the end of its
            output.
    """
    with log.open("wb") as out:
        started = time.monotonic()
        process = subprocess.Popen(  # noqa: S603 - our own words
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
        sampler = _Sampler(process.pid)
        sampler.start()
        stopper = _Stopper(process.pid, most_s)
        stopper.start()
        # not `wait`: only this tells the CPU time of this child alone
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        stopped = stopper.stop()
        peak_bytes = sampler.stop()
    if process.returncode not in exits and not stopped:
        tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise RuntimeError(f"{command} ended with {process.returncode}:\n{tail}")
    return ProcessCost(wall_s, usage.ru_utime + usage.ru_stime, peak_bytes, stopped)


class _Stopper(threading.Thread):
    """Stops a process that takes too long."""

    def __init__(self, pid: int, most_s: float) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._most_s = most_s
        self._ended = threading.Event()
        self._acted = False

    def run(self) -> None:
        for wait_s, number in ((self._most_s, signal.SIGINT), (_GRACE_S, signal.SIGKILL)):
            if self._ended.wait(wait_s):
                return
            self._acted = True
            with suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def stop(self) -> bool:
        """Leave the process alone from now on; tell whether it was stopped."""
        self._ended.set()
        self.join()
        return self._acted


class _Sampler(threading.Thread):
    """Looks at the memory of a process and its children until it is stopped."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._ended = threading.Event()
        self._peak = 0

    def run(self) -> None:
        try:
            process = psutil.Process(self._pid)
        except psutil.NoSuchProcess:  # it was over at once
            return
        while not self._ended.wait(_SAMPLE_S):
            self._peak = max(self._peak, _resident(process))

    def stop(self) -> int:
        """Return the most bytes that were seen."""
        self._ended.set()
        self.join()
        return self._peak


def _resident(process: psutil.Process) -> int:
    total = 0
    try:
        for each in (process, *process.children(recursive=True)):
            total += int(each.memory_info().rss)
    except psutil.Error:  # it ended meanwhile
        return 0
    return total
