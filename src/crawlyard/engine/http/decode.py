"""Streaming decoders for content codings, with a cap on the output.

A megabyte of gzip can hold a gigabyte, so output beyond the cap is never produced.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Protocol

import brotli  # type: ignore[import-untyped]  # it ships no types
from isal import igzip_lib

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_CODINGS = 3
"""Nested codings that are decoded; more are a mistake or an attack."""

_STEP = 8 * 1024
"""Bytes of output requested at a time, and the most that a broken stream loses. A 160 kB page
takes 5 % longer than in one call."""

_SLACK = 64 * 1024  # bytes by which an encoded body may exceed its content
_MAX_HEADER = 64 * 1024  # bytes, per gzip member: file name and comment included
_ZSTD_WINDOW_LOG = 23  # 8 MB, the limit of RFC 9659 for HTTP; a frame could ask for 2 GB


class DecodeError(ValueError):
    """No part of a body could be decoded; the message says which coding failed and how."""


class _Broken(Exception):
    """The stream is malformed."""


_IsalError: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]  # a class; the stub says instance
_FAILURES = (_Broken, _IsalError, brotli.error, zstd.ZstdError)


class _Stage(Protocol):
    """Decoder of one coding."""

    done: bool  # the stream has ended properly

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the output for *data* in pieces of about `_STEP` bytes.

        Raises one of `_FAILURES`; output yielded before that is valid.
        """


class Decoder:
    """Decoder of one body with the codings in its Content-Encoding.

    *header* is the header's value (several lines joined by commas); *cap* limits the output
    in bytes. When *full* is set, no more input is needed and the caller may close the
    connection: the cap is reached or the stream is broken. *truncated* says why the body is
    incomplete, and is empty if it is complete; it is final after `finish`.

    Raises:
        DecodeError: a coding is unknown, or there are too many.
    """

    def __init__(self, header: str | None, cap: int) -> None:
        self._names = _codings(header or "")
        self._stages = tuple(_STAGES[name]() for name in self._names)
        self._cap = cap
        self._output_sizes = [0] * len(self._stages)  # bytes of output, by stage
        self._body = bytearray()  # not a list: a body can come in millions of pieces
        self._fed = False
        self._broken = ""
        self.full = False
        self.truncated = ""

    def feed(self, chunk: bytes) -> None:
        """Decode the next piece of the body; do nothing once *full*."""
        if self.full or not chunk:
            return
        self._fed = True
        try:
            for piece in self._decode(chunk, 0):
                if not self._append(piece):
                    return
        except _FAILURES as error:
            coding = ", ".join(self._names)
            self._broken = f"broken {coding} stream: {error}"
            self.full = True

    def finish(self) -> bytes:
        """Return the decoded body; it is incomplete if *truncated* is set.

        Raises:
            DecodeError: there was a body, but no part of it could be decoded.
        """
        ended_early = next(
            (n for n, stage in zip(self._names, self._stages, strict=True) if not stage.done), None
        )
        if self._broken:
            self.truncated = self._broken
        elif ended_early and self._fed and not self.truncated:
            self.truncated = f"the {ended_early} stream ends early"
        if self.truncated and not self._body:
            raise DecodeError(self.truncated)
        return bytes(self._body)

    def _append(self, piece: bytes) -> bool:
        """Append *piece* to the output; return whether it fits below the cap."""
        remaining = self._cap - len(self._body)
        self._body += piece[:remaining]
        if len(piece) > remaining:
            self._overflow()
        return len(piece) <= remaining

    def _decode(self, data: bytes, at: int) -> Iterator[bytes]:
        """Yield *data* decoded by the stages from *at* on."""
        if at == len(self._stages):
            yield data
            return
        for piece in self._stages[at].feed(data):
            self._output_sizes[at] += len(piece)
            if self._output_sizes[at] > self._cap + _SLACK and at + 1 < len(self._stages):
                # a bomb inside a coding that swallows it would long produce no output
                self._overflow()
                return
            yield from self._decode(piece, at + 1)

    def _overflow(self) -> None:
        self.truncated = f"more than {self._cap:,} bytes decoded"
        self.full = True


class _Gzip:
    """One or more gzip members (RFC 1952).

    Checksums are ignored, as in browsers: a page with a wrong one is still a page.
    """

    def __init__(self) -> None:
        self.done = False
        self._header = b""  # incomplete header
        self._stream: igzip_lib.IgzipDecompressor | None = None
        self._skip = 0  # bytes of the trailer still to come

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._skip:
                skipped = data[: self._skip]
                self._skip -= len(skipped)
                data = data[len(skipped) :]
                continue
            if self._stream is None:
                data, self._header = self._header + data, b""
                if self.done and not data.startswith(_GZIP_MAGIC[: len(data)]):
                    return  # padding after the last member
                start = _gzip_header(data)
                if start is None:
                    self._header = data
                    return
                data = data[start:]
                self._stream = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_DEFLATE)
                self.done = False
            yield from _drain(self._stream, data)
            if not self._stream.eof:
                return
            data, self._stream = self._stream.unused_data, None
            self.done = True
            self._skip = 8


class _Deflate:
    """A zlib stream (RFC 1950) or, as some servers send it, raw deflate (RFC 1951)."""

    def __init__(self) -> None:
        self.done = False
        self._header = b""
        self._stream: igzip_lib.IgzipDecompressor | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self.done:
            return
        if self._stream is None:
            data = self._header + data
            if len(data) < 2:
                self._header = data
                return
            if data[0] & 0x8F == 0x08 and int.from_bytes(data[:2], "big") % 31 == 0:
                if data[1] & 0x20:
                    raise _Broken("it needs a dictionary")
                data = data[2:]
            self._stream = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_DEFLATE)
        yield from _drain(self._stream, data)
        self.done = self._stream.eof


class _Brotli:
    """A brotli stream (RFC 7932)."""

    def __init__(self) -> None:
        self.done = False
        self._stream = brotli.Decompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self.done:
            return
        piece: bytes = self._stream.process(data, output_buffer_limit=_STEP)
        # output may remain after all input is consumed
        while piece:
            yield piece
            if self._stream.is_finished():
                break
            piece = self._stream.process(b"", output_buffer_limit=_STEP)
        self.done = self._stream.is_finished()


class _Zstd:
    """One or more zstd frames (RFC 8878)."""

    def __init__(self) -> None:
        self.done = False
        self._stream = self._frame()

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self.done:
                self._stream, self.done = self._frame(), False
            yield from _drain(self._stream, data)
            if not self._stream.eof:
                return
            self.done = True
            data = self._stream.unused_data

    @staticmethod
    def _frame() -> zstd.ZstdDecompressor:
        options = {int(zstd.DecompressionParameter.window_log_max): _ZSTD_WINDOW_LOG}
        return zstd.ZstdDecompressor(options=options)


class _Stream(Protocol):
    """Common interface of the isal and zstd decompressors."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _drain(stream: _Stream, data: bytes) -> Iterator[bytes]:
    """Yield all output of *stream* for *data*."""
    yield stream.decompress(data, _STEP)
    while not (stream.eof or stream.needs_input):
        yield stream.decompress(b"", _STEP)


_GZIP_MAGIC = b"\x1f\x8b\x08"


def _gzip_header(data: bytes) -> int | None:
    """Return the length of the header that *data* begins with, ``None`` if it is incomplete.

    Source: RFC 1952 §2.3.
    """
    if not data.startswith(_GZIP_MAGIC[: len(data)]):
        raise _Broken("its header is missing")
    if len(data) < 10:
        return None
    flags, at = data[3], 10
    if flags & 0x04:  # an extra field
        at += 2 + int.from_bytes(data[10:12], "little")
    for flag in (0x08, 0x10):  # a file name, a comment: up to a zero byte
        if flags & flag and at <= len(data):
            end = data.find(0, at)
            at = end + 1 if end >= 0 else len(data) + 1
    if flags & 0x02:  # a checksum of the header
        at += 2
    if at <= len(data):
        return at
    if len(data) > _MAX_HEADER:
        raise _Broken("its header does not end")
    return None


_STAGES: Mapping[str, Callable[[], _Stage]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
}
# Values that some servers send without meaning a coding, charsets among them
_NO_CODING = {"", "identity", "none", "binary", "8bit", "utf-8", "utf8", "iso-8859-1", "us-ascii"}


@lru_cache(maxsize=100)
def _codings(header: str) -> tuple[str, ...]:
    """Return the codings of a Content-Encoding value in the order of decoding."""
    names = [name.strip().lower() for name in header.split(",")]
    names = [name for name in names if name not in _NO_CODING]
    for name in names:
        if name not in _STAGES:
            raise DecodeError(f"unknown content coding {name[:50]!r}")
    if len(names) > MAX_CODINGS:
        raise DecodeError(f"{len(names)} content codings, at most {MAX_CODINGS} are decoded")
    return tuple(reversed(names))
