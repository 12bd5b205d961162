"""Which workers of this host are alive: each holds a lock on a file of its own.

A pid can lie (it is given to another process); a lock cannot: the kernel frees it at
the instant its holder dies, however it dies.
"""

import fcntl
import os
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Self


class HostLocks:
    """The lock of one worker, and a look at the others'."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._folder = folder
        self._file = folder / f"{worker}.lock"
        self._fd = -1

    def __enter__(self) -> Self:
        """Take the lock; it is held until the end of the block or of the process."""
        self._folder.mkdir(parents=True, exist_ok=True)
        while True:
            self._fd = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX)  # a sweep holds it for a moment
            if self._file.exists():
                break
            os.close(self._fd)  # a sweep came between the two lines above
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the lock go and remove its file."""
        self._file.unlink(missing_ok=True)
        os.close(self._fd)

    def known(self, workers: Collection[str]) -> set[str]:
        """Return those of *workers* that have, or had, their lock on this host."""
        return {worker for worker in workers if (self._folder / f"{worker}.lock").exists()}

    def dead(self, workers: Collection[str]) -> set[str]:
        """Return those of *workers* that ran on this host and do no more."""
        return {w for w in self.known(workers) if _is_free(self._folder / f"{w}.lock")}

    def sweep(self, holders: Collection[str]) -> None:
        """Remove the files of dead workers, but not of *holders*: leases are theirs still."""
        kept = {self._file, *(self._folder / f"{worker}.lock" for worker in holders)}
        for file in self._folder.glob("*.lock"):
            if file not in kept and _is_free(file):
                file.unlink(missing_ok=True)


def _is_free(file: Path) -> bool:
    try:
        fd = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except PermissionError:
        return False  # of another user: its leases lapse if it is dead
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True
