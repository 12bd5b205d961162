"""Atomic file writes: files that appear complete or not at all."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, TypeAlias

from crawlyard.errors import Conflict

Sink: TypeAlias = Callable[[bytes], object]


@contextlib.contextmanager
def whole_file(path: Path, mode: int = 0o666) -> Iterator[Sink]:
    """Yield a function that writes to *path*; the file appears when the block ends without error.

    Data is written to ``.NAME.partial`` in the same folder, which is then renamed, so that a killed
    process leaves the old file in place. Anything but a regular file (a pipe, a device) is written
    directly. Symbolic links are followed. *mode* is the mode of a new file, reduced by the umask.

    Raises:
        OSError: with the name of the file, for any failure (disk full, for example).
        Conflict: another process is writing the same file.
    """
    target = path.resolve()
    if target.exists() and not S_ISREG(target.stat().st_mode):
        with _naming(path):
            direct = target.open("wb", buffering=0)
        with direct:
            yield _sink(direct, path)
        return
    partial = target.with_name(f".{target.name}.partial")
    file = _open_locked(partial, path, mode)
    try:
        yield _sink(file, path)
        with _naming(path):
            file.flush()
            os.fsync(file.fileno())
            partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        # unwritten data is lost already, so closing need not report it again
        with contextlib.suppress(OSError):
            file.close()


def check_writable(path: Path) -> None:
    """Check that *path* can be written, so that a crawl does not fail only at its end.

    Raises:
        OSError: with the name of the file.
    """
    target = path.resolve()
    with _naming(path):
        if target.is_dir():
            raise IsADirectoryError(None, "is a folder")
        if not target.parent.is_dir():
            raise FileNotFoundError(None, f"folder {path.parent} does not exist")
        if not os.access(target.parent if not target.exists() else target, os.W_OK):
            raise PermissionError(None, "not writable")


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Add *path* to an `OSError` raised in the block: a failed write does not name its file."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader has gone away: not a failure of the file
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _sink(file: BinaryIO, path: Path) -> Sink:
    def write(data: bytes) -> None:
        with _naming(path):
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]  # unbuffered files may accept only a part

    return write


def _open_locked(partial: Path, path: Path, mode: int) -> BinaryIO:
    """Return *partial* opened empty and locked for this process."""
    with _naming(path):
        opened = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
        file = os.fdopen(opened, "wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # the last lock holder may just have renamed the file: then we opened its result
        ours = partial.exists() and os.path.samestat(partial.stat(), os.fstat(opened))
    except BlockingIOError:
        ours = False
    if not ours:
        file.close()
        raise Conflict(f"another process is writing {path}")
    file.truncate()
    return file
