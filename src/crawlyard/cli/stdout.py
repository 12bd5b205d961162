"""Writing to stdout, whose reader may go away and whose disk may be full."""

import contextlib
import os
import sys
from collections.abc import Iterator

from crawlyard.cli.render.words import printable_lines

NAME = "stdout"


def write(data: bytes) -> None:
    """Write *data*, whole characters of UTF-8, to stdout.

    A terminal gets nothing that it would obey: most of what is written here was
    crawled. A file or a pipe gets it as it is.

    Raises:
        BrokenPipeError: its reader has gone.
        OSError: with "stdout" for the name of the file (disk full, say).
    """
    if sys.stdout.isatty():
        text = data.decode(errors="backslashreplace").replace("\r\n", "\n")
        data = printable_lines(text).encode()
    with _named():
        sys.stdout.buffer.write(data)


def write_line(line: str) -> None:
    """Write one line to stdout.

    Raises:
        BrokenPipeError, OSError: as for `write`.
    """
    write(line.encode(errors="backslashreplace") + b"\n")


@contextlib.contextmanager
def whole_stdout() -> Iterator[None]:
    """Flush stdout after the block; a reader that has had enough ends it: that is no error.

    Raises:
        OSError: with "stdout" for the name of the file (disk full, say).
    """
    try:
        yield
        with _named():
            sys.stdout.flush()
    except BrokenPipeError:
        _discard()
    except OSError as error:
        if error.filename == NAME:
            _discard()
        raise


def _discard() -> None:
    """Drop what is left: the interpreter would fail once more when it flushes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, NAME) from error
