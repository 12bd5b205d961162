"""Stop deadline: a process that takes longer to stop exits with an error."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from crawlyard.cli.render.words import printable

if TYPE_CHECKING:
    from crawlyard.services.workers.worker import Worker

GRACE_S = 60.0
"""Time beyond that of requests in flight (`shutdown_s`): twice the wait of a stop for a
SQLite file that others write to, or for a Postgres that does not respond."""

PARENT_S = 5.0
"""Extra time of a process that waits for the worker processes it supervises."""

_TELLING_S = 1.0
_MOST_NAMED = 10
_OURS = "crawlyard"


class Deadline:
    """Ends the process if a stop takes longer than *within_s*.

    Then the leases of its jobs expire, and other workers take them over. It waits in a
    thread, because the event loop itself may hang.
    """

    def __init__(self, within_s: float, *, end: Callable[[int], object] = os._exit) -> None:
        self._within_s = within_s
        self._end = end
        self._last_acts: list[Callable[[], object]] = []
        self._timer: threading.Timer | None = None

    def watch(self, worker: "Worker") -> "Worker":
        """Return *worker*, whose stops have this deadline from now on."""
        worker.on_stop = self.begin
        self.before_the_end(worker.kill_children)
        return worker

    def before_the_end(self, act: Callable[[], object]) -> None:
        """Call *act* before the process exits, for example to end its child processes."""
        self._last_acts.append(act)

    def begin(self, more_s: float = 0.0) -> None:
        """Start the countdown, unless it has started."""
        if self._timer is not None:
            return
        within_s = self._within_s + more_s
        args = (within_s, asyncio.get_running_loop())
        self._timer = threading.Timer(within_s, self._end_process, args)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        """Cancel the deadline: the stop is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end_process(self, within_s: float, loop: asyncio.AbstractEventLoop) -> None:
        try:
            for act in self._last_acts:
                with suppress(Exception):
                    act()
            telling = threading.Thread(target=_report, args=(within_s, loop), daemon=True)
            telling.start()
            telling.join(_TELLING_S)  # stderr may be a pipe that is never read
        finally:
            self._end(1)


def _report(within_s: float, loop: asyncio.AbstractEventLoop) -> None:
    exits = f"stopping took longer than {within_s:g} s; this process exits now"
    with suppress(Exception):
        sys.stderr.write(f"error: {exits}. Other workers will take over its jobs\n")
        sys.stderr.flush()
        running = printable(", ".join(_running_tasks(loop)) or "no task of the event loop")
        sys.stderr.write(f"  still running: {running}\n")
        sys.stderr.flush()


def _running_tasks(loop: asyncio.AbstractEventLoop) -> list[str]:
    """Return the running tasks, each with the place in our code where it waits."""
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    return [_describe_task(task) for task in tasks[:_MOST_NAMED]]


def _describe_task(task: "asyncio.Task[Any]") -> str:
    work: Any = task.get_coro()
    name = task.get_name()
    if name.startswith("Task-"):
        name = getattr(work, "__qualname__", name)
    where = ""
    while work is not None:
        frame = getattr(work, "cr_frame", None) or getattr(work, "ag_frame", None)
        module = frame.f_globals.get("__name__", "") if frame is not None else ""
        if not where or module.startswith(_OURS):
            where = f"{module}:{frame.f_lineno}" if frame is not None else where
        work = getattr(work, "cr_await", None) or getattr(work, "ag_await", None)
    return f"{name} ({where})"
