"""Files that appear whole or not at all."""

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
    """Yield what writes to *path*; the file has its name once the block has ended well.

    It is written beside as ``.NAME.partial`` and then renamed, so that a killed
    process leaves what was there before. What is no plain file (a pipe, a device) is
    written directly. A link is followed. *mode* is who may read and write a new file,
    less what the umask takes away.

    Raises:
        OSError: with the name of the file, whatever went wrong (disk full, say).
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
    file = _locked(partial, path, mode)
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
        # what could not be written is lost already: closing need not say it again
        with contextlib.suppress(OSError):
            file.close()


def check_writable(path: Path) -> None:
    """Find out early that *path* cannot be written: before a crawl, not after it.

    Raises:
        OSError: with the name of the file.
    """
    target = path.resolve()
    with _naming(path):
        if target.is_dir():
            raise IsADirectoryError(None, "is a folder")
        if not target.parent.is_dir():
            raise FileNotFoundError(None, f"there is no folder {path.parent}")
        if not os.access(target.parent if not target.exists() else target, os.W_OK):
            raise PermissionError(None, "may not be written")


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let an `OSError` of the block name *path*: a failed write does not say of which file."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader has gone: no failure of the file
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _sink(file: BinaryIO, path: Path) -> Sink:
    def write(data: bytes) -> None:
        with _naming(path):
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]  # unbuffered files may take a part

    return write


def _locked(partial: Path, path: Path, mode: int) -> BinaryIO:
    """Return *partial* opened empty, for this process alone."""
    with _naming(path):
        opened = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
        file = os.fdopen(opened, "wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # whoever held the lock may just have renamed the file: what we opened is his result
        ours = partial.exists() and os.path.samestat(partial.stat(), os.fstat(opened))
    except BlockingIOError:
        ours = False
    if not ours:
        file.close()
        raise Conflict(f"another process is writing {path}")
    file.truncate()
    return file
