"""Pipe dispatcher: wake-ups between processes that share a SQLite file, by a named pipe each.

A byte through its pipe wakes a worker at once, and waiting costs nothing: no timer, no polling
of the file. Tried and rejected: polling the file's data_version 100 or 200 times a second,
which costs each idle worker 1.5 to 2.8 % of a core and wakes it at every checkpoint.
"""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from crawlyard.messaging.dispatcher import Listener, WakeSignal
from crawlyard.messaging.local_dispatcher import LocalDispatcher, LocalWakeSignal

_SUFFIX = ".wake"


class PipeDispatcher(LocalDispatcher):
    """Dispatcher whose workers other processes can wake too, through pipes in *folder*."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def wake_all(self) -> None:
        """Wake the workers of all processes, this one included; callable from any thread.

        A pipe without a reader belongs to a dead worker and is removed.
        """
        try:
            names = os.listdir(self._folder)  # noqa: PTH208 - runs at every commit, and glob takes 50 µs
        except OSError:
            return  # no worker has created the folder yet
        for pipe in [self._folder / name for name in names if name.endswith(_SUFFIX)]:
            try:
                writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    with contextlib.suppress(OSError):  # already gone, or not ours to remove
                        pipe.unlink()
                continue
            with contextlib.suppress(OSError):  # full of unread wake-ups
                os.write(writer, b"!")
            os.close(writer)

    @asynccontextmanager
    async def wake_signal(self, listener: Listener) -> AsyncIterator[WakeSignal]:
        """Return a signal given by each announcement in this process, and by each `tell`."""
        signal = LocalWakeSignal()
        self._signals.add(signal)
        try:
            with _pipe(self._folder / f"{listener.worker}{_SUFFIX}", signal):
                yield signal
        finally:
            self._signals.discard(signal)


@contextlib.contextmanager
def _pipe(path: Path, signal: LocalWakeSignal) -> Iterator[None]:
    """Give *signal* for each byte through the pipe at *path*, for the block.

    If the file system has no pipes, only polling remains.
    """
    try:
        reader = _open_pipe(path)
    except OSError:
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_reader(reader, _wake_reader, reader, signal)
    try:
        yield
    finally:
        loop.remove_reader(reader)
        path.unlink(missing_ok=True)
        os.close(reader)


def _open_pipe(path: Path) -> int:
    """Create and open a pipe, naming it last so that `tell` doesn't take it for a dead worker's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_suffix(".new")
    os.mkfifo(hidden, 0o600)
    # for writing too, so that it never reaches end of file when writers close it
    reader = os.open(hidden, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    hidden.rename(path)
    return reader


def _wake_reader(reader: int, signal: LocalWakeSignal) -> None:
    with contextlib.suppress(BlockingIOError):
        os.read(reader, 4096)
    signal.wake()
