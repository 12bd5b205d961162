"""Writing to stdout, whose reader may close it and whose disk may be full."""

import contextlib
import os
import sys
from collections.abc import Iterator

from crawlyard.cli.render.words import printable_lines

NAME = "stdout"


def write(data: bytes) -> None:
    """Write *data*, whole characters of UTF-8, to stdout.

    Control characters are escaped on a terminal, as most of the output was
    crawled. A file or a pipe gets the data unchanged.

    Raises:
        BrokenPipeError: the reader has closed it.
        OSError: with "stdout" as the file name (disk full, say).
    """
    if sys.stdout.isatty():
        text = data.decode(errors="backslashreplace").replace("\r\n", "\n")
        data = printable_lines(text).encode()
    with _name_stdout():
        sys.stdout.buffer.write(data)


def write_line(line: str) -> None:
    """Write one line to stdout.

    Raises:
        BrokenPipeError, OSError: as for `write`.
    """
    write(line.encode(errors="backslashreplace") + b"\n")


@contextlib.contextmanager
def whole_stdout() -> Iterator[None]:
    """Flush stdout after the block; it is no error if the reader closes it early.

    Raises:
        OSError: with "stdout" as the file name (disk full, say).
    """
    try:
        yield
        with _name_stdout():
            sys.stdout.flush()
    except BrokenPipeError:
        _discard()
    except OSError as error:
        if error.filename == NAME:
            _discard()
        raise


def _discard() -> None:
    """Discard buffered output: the interpreter would fail again when it flushes on exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _name_stdout() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, NAME) from error
