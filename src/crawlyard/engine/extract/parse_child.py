"""Child process that extracts pages: reads batches from its input, and writes replies.

A message is its length in 8 bytes, big-endian, and MessagePack.
"""

import gc
import json
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec
from msgspec import Struct

from crawlyard.engine.extract.page import ExtractError, PageSource, extract

LARGE = 2 * 1024 * 1024
"""Pages with more bytes are parsed in a child process."""

MAX_RETAINED = 64 * 1024 * 1024
"""Bytes that a process may retain after a batch; with more, it is replaced."""

LENGTH = 8  # bytes of the length before each message

S = TypeVar("S", bound=Struct)


class ParseRequest(Struct, frozen=True, array_like=True):
    """A page to extract."""

    source: bytes  # a `PageSource`, as `pack` encodes it
    body: bytes


class ParseBatch(Struct, frozen=True, array_like=True):
    """Pages to extract, one after another."""

    requests: tuple[ParseRequest, ...]
    limit_s: float  # for each page


class ParseReply(Struct, frozen=True, array_like=True):
    """The data of one page, or why there is none."""

    page: bytes  # an `Extracted`, as `pack` encodes it
    error: str


class ParseReplies(Struct, frozen=True, array_like=True):
    """Replies to a batch, in its order."""

    replies: tuple[ParseReply, ...]
    is_last: bool  # the process retains too much memory to be used again


def pack(value: Struct) -> bytes:
    """Encode *value* as MessagePack; as JSON if it has what that cannot encode.

    Those are lone surrogates, in headers that are not UTF-8, and integers of over 64 bits, in
    structured data.
    """
    try:
        return msgspec.msgpack.encode(value)
    except (UnicodeEncodeError, OverflowError):
        return json.dumps(msgspec.to_builtins(value)).encode()


def unpack(data: bytes, kind: type[S]) -> S:
    """Return what `pack` encoded."""
    if data.startswith(b"{"):  # in MessagePack a number
        return msgspec.convert(json.loads(data), kind)
    return msgspec.msgpack.decode(data, type=kind)


def frame(message: Struct) -> bytes:
    """Return a message with its length, as the streams carry it."""
    data = msgspec.msgpack.encode(message)
    return len(data).to_bytes(LENGTH, "big") + data


def memory_for(size: int) -> int:
    """Return the bytes of memory that the process which parses a page of *size* bytes may take."""
    return 16 * 1024 * 1024 + 28 * max(size, LARGE)


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Extract the batches read from *requests* and write their replies, until end of file."""
    start = _used_bytes()
    gc.freeze()
    while head := requests.read(LENGTH):
        batch = msgspec.msgpack.decode(requests.read(int.from_bytes(head, "big")), type=ParseBatch)
        pages = tuple(_reply(request, batch.limit_s, start) for request in batch.requests)
        gc.collect()  # a parsed document is a reference cycle
        size = sum(len(reply.page) for reply in pages)
        is_last = _used_bytes() - start - 2 * size > MAX_RETAINED
        replies.write(frame(ParseReplies(pages, is_last)))
        replies.flush()


def _reply(request: ParseRequest, limit_s: float, start: int) -> ParseReply:
    """Extract a page; *start* is the memory that this process used before its first one."""
    if hasattr(signal, "setitimer"):
        # if the parent is killed meanwhile, nothing else would end a parse that hangs
        signal.setitimer(signal.ITIMER_REAL, limit_s + 1)
    source = unpack(request.source, PageSource)
    most = start + memory_for(len(request.body)) if start and not source.is_pdf else 0
    try:
        with _limited_memory(most):
            page = extract(request.body, source)
    except ExtractError as error:
        return ParseReply(b"", str(error))
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
    return ParseReply(pack(page), "")


def _used_bytes() -> int:
    """Return the address space of this process, 0 if the system does not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").partition(" ")[0])
    except OSError:
        return 0
    return pages * resource.getpagesize()


@contextmanager
def _limited_memory(most: int) -> Iterator[None]:
    """Make allocations raise MemoryError beyond *most* bytes of address space; 0: no limit."""
    if not most:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
