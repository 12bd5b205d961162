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

from crawlyard.messaging.dispatcher import Bell, Listener
from crawlyard.messaging.local_dispatcher import LocalBell, LocalDispatcher

_SUFFIX = ".wake"


class PipeDispatcher(LocalDispatcher):
    """Dispatcher whose bells other processes can ring too, through pipes in *folder*."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def tell(self) -> None:
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
    async def bell(self, listener: Listener) -> AsyncIterator[Bell]:
        """Return a bell that every announcement in this process, and every `tell`, rings."""
        bell = LocalBell()
        self._bells.add(bell)
        try:
            with _pipe(self._folder / f"{listener.worker}{_SUFFIX}", bell):
                yield bell
        finally:
            self._bells.discard(bell)


@contextlib.contextmanager
def _pipe(path: Path, bell: LocalBell) -> Iterator[None]:
    """Ring *bell* for each byte through the pipe at *path*, for the block.

    If the file system has no pipes, only polling remains.
    """
    try:
        reader = _opened(path)
    except OSError:
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_reader(reader, _rung, reader, bell)
    try:
        yield
    finally:
        loop.remove_reader(reader)
        path.unlink(missing_ok=True)
        os.close(reader)


def _opened(path: Path) -> int:
    """Create and open a pipe, naming it last so that `tell` doesn't take it for a dead worker's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_suffix(".new")
    os.mkfifo(hidden, 0o600)
    # for writing too, so that it never reaches end of file when writers close it
    reader = os.open(hidden, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    hidden.rename(path)
    return reader


def _rung(reader: int, bell: LocalBell) -> None:
    with contextlib.suppress(BlockingIOError):
        os.read(reader, 4096)
    bell.ring()
