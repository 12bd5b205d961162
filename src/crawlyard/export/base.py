"""Export formats: the writer interface, file names, and streaming in chunks."""

import asyncio
import contextlib
import re
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from enum import StrEnum, auto
from typing import Any, Protocol, TypeAlias

from msgspec import Struct

Record: TypeAlias = Mapping[str, Any]
"""A page as JSON values; see `record_of` in `core.crawl.page_answers`."""


class Format(StrEnum):
    """The export formats for pages."""

    JSONL = auto()
    CSV = auto()
    PARQUET = auto()
    WARC = auto()
    MARKDOWN = auto()

    @property
    def is_text(self) -> bool:
        """True for the formats that are lines of text."""
        return self in {Format.JSONL, Format.CSV}

    @property
    def suffix(self) -> str:
        """Suffix of its file names, including the dot."""
        return {Format.WARC: ".warc.gz", Format.MARKDOWN: ".zip"}.get(self, f".{self}")


GZIP = ".gz"

SUFFIXES = {
    ".ndjson": Format.JSONL,
    **{form.suffix: form for form in Format},
    **{f"{form.suffix}{GZIP}": form for form in Format if form.is_text},
    ".warc": Format.WARC,
}
"""Formats by file name suffix, in lower case."""


def format_of(name: str) -> Format | None:
    """Return the format of a file name, ``None`` if the suffix is unknown."""
    formats = (form for suffix, form in SUFFIXES.items() if name.lower().endswith(suffix))
    return next(formats, None)


class Writer(Protocol):
    """Turns records into the bytes of one format."""

    def head(self) -> bytes:
        """Return the bytes before the first record, which may be empty."""
        ...

    def record(self, record: Record) -> bytes:
        """Return the bytes of one record; several records are concatenated."""
        ...


class Written(Struct, frozen=True, kw_only=True):
    """The result of an export."""

    records: int | None  # None: bytes were copied without decoding them
    bytes: int


def file_name(title: str, key: str, form: Format, *, gzip: bool = False) -> str:
    """Return a file name for the pages of the job *title* with the id *key*.

    It contains only ASCII letters, digits, "-" and ".".
    """
    words = re.sub("[^a-z0-9]+", "-", title.lower())[:40].strip("-")
    return f"{words or 'pages'}-{key}{form.suffix}{GZIP if gzip else ''}"


CHUNK = 256 * 1024  # bytes collected before one write
_GZIP = 16  # added to the bits of the window, it makes zlib write gzip


async def chunks(records: AsyncGenerator[Record], writer: Writer) -> AsyncIterator[bytes]:
    """Yield *records* as they arrive, in chunks of about `CHUNK` bytes; close them at the end."""
    waiting = bytearray(writer.head())
    async with aclosing(records):
        async for record in records:
            waiting += writer.record(record)
            if len(waiting) >= CHUNK:
                yield bytes(waiting)
                waiting.clear()
    if waiting:
        yield bytes(waiting)


async def gzip_chunks(portions: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the concatenated *portions* as one gzip file."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | _GZIP)
    async for portion in portions:
        yield await asyncio.to_thread(packer.compress, portion)
    yield packer.flush()


@contextlib.contextmanager
def gzip_sink(sink: Callable[[bytes], object]) -> Iterator[Callable[[bytes], object]]:
    """Yield a function that writes to *sink*, compressed as one gzip file."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | _GZIP)
    yield lambda data: sink(packer.compress(data))
    sink(packer.flush())


async def write(
    records: AsyncIterator[Record], writer: Writer, sink: Callable[[bytes], object]
) -> Written:
    """Write *records* to *sink* as they arrive; return their number and size.

    Memory use stays at one chunk for any number of records.
    """
    count = total = 0

    async def count_records() -> AsyncGenerator[Record]:
        nonlocal count
        async for record in records:
            count += 1
            yield record

    async for data in chunks(count_records(), writer):
        total += len(data)
        sink(data)
    return Written(records=count, bytes=total)
