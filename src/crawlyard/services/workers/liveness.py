"""Liveness: signals that this worker is alive, and detects dead workers.

A pid can be reused by another process. A file lock is reliable: the kernel releases it the moment
its holder dies, however it dies.
"""

import fcntl
import os
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Self

from crawlyard.messaging.dispatcher import Dispatcher, Presence


class HostLocks:
    """The file lock of one worker, and checks of the locks of others on its host."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._folder = folder
        self._file = folder / f"{worker}.lock"
        self._fd = -1

    def __enter__(self) -> Self:
        """Take the lock and hold it until the block or the process ends."""
        self._folder.mkdir(parents=True, exist_ok=True)
        while True:
            self._fd = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX)  # waits if a sweep holds it for a moment
            if self._file.exists():
                break
            os.close(self._fd)  # a sweep removed the file between `open` and `flock`
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the lock and remove its file."""
        self._file.unlink(missing_ok=True)
        os.close(self._fd)

    def traceable(self, workers: Collection[str]) -> set[str]:
        """Return those of *workers* that have or had their lock on this host."""
        return {worker for worker in workers if (self._folder / f"{worker}.lock").exists()}

    def dead(self, workers: Collection[str]) -> set[str]:
        """Return those of *workers* that ran on this host and are dead."""
        return {w for w in self.traceable(workers) if _is_free(self._folder / f"{w}.lock")}

    def sweep(self, holders: Collection[str]) -> None:
        """Remove the files of dead workers, except for *holders*, which still own leases."""
        needed = {self._file, *(self._folder / f"{worker}.lock" for worker in holders)}
        for file in self._folder.glob("*.lock"):
            if file not in needed and _is_free(file):
                file.unlink(missing_ok=True)


def _is_free(file: Path) -> bool:
    try:
        fd = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except PermissionError:
        return False  # it belongs to another user; if that worker is dead, its leases lapse
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


class Liveness:
    """Combines two kinds of locks: files on the same host, and the dispatcher's presence."""

    def __init__(self, worker: str, dispatcher: Dispatcher, files: HostLocks | None) -> None:
        self._worker = worker
        self._dispatcher = dispatcher
        self._files = files
        self._presence: Presence | None = None

    @asynccontextmanager
    async def presence(self, changed: Callable[[], None]) -> AsyncIterator[None]:
        """Show that this worker is alive until the end of the block.

        *changed* is called when `holding` has changed or another worker has died.
        """
        with self._files or nullcontext():
            async with self._dispatcher.presence(self._worker, changed) as self._presence:
                yield

    @property
    def holding(self) -> bool:
        """True if other workers can see that this worker is alive."""
        return self._presence is not None and self._presence.holding

    @property
    def fleet(self) -> int:
        """The number of workers known to be alive, including this one."""
        return 1 if self._presence is None else self._presence.fleet

    def traceable(self, workers: Collection[str]) -> set[str]:
        """Return the *workers* whose liveness can be determined."""
        near = self._files.traceable(workers) if self._files is not None else set()
        far = self._presence.filter_known(workers) if self._presence is not None else set()
        return near | far

    def dead(self, workers: Collection[str]) -> set[str]:
        """Return those of *workers* that ran and are dead."""
        near, here = set[str](), set[str]()
        if self._files is not None:
            near, here = self._files.dead(workers), self._files.traceable(workers)
        far = self._presence.dead(workers) if self._presence is not None else set()
        # a worker whose file is locked is alive even if it lost its connection; it just sends
        # no requests
        return near | (far - here)

    def sweep(self, holders: Collection[str]) -> None:
        """Clean up after dead workers, except for *holders*, which still own leases."""
        if self._files is not None:
            self._files.sweep(holders)
