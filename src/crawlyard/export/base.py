"""What an export format is: a header, and one record after another as bytes."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from enum import StrEnum, auto
from typing import Any, Protocol, TypeAlias

from msgspec import Struct

Record: TypeAlias = Mapping[str, Any]
"""A page as JSON values: what `web.wire.PageOut` dumps."""


class Format(StrEnum):
    """The formats that pages can be exported as."""

    JSONL = auto()
    CSV = auto()
    PARQUET = auto()
    WARC = auto()

    @property
    def is_text(self) -> bool:
        """Tell whether a person can read it."""
        return self in {Format.JSONL, Format.CSV}

    @property
    def suffix(self) -> str:
        """Return what the names of its files end in, with the dot."""
        return ".warc.gz" if self is Format.WARC else f".{self}"


SUFFIXES = {
    ".ndjson": Format.JSONL,
    **{form.suffix: form for form in Format},
    ".warc": Format.WARC,
}
"""The formats by what the names of files end in, in lower case."""


def format_of(name: str) -> Format | None:
    """Return the format that the name of a file tells, ``None`` if it tells none."""
    found = (form for suffix, form in SUFFIXES.items() if name.lower().endswith(suffix))
    return next(found, None)


class Writer(Protocol):
    """Turns records into the bytes of one format."""

    def head(self) -> bytes:
        """Return what goes before the first record; perhaps nothing."""
        ...

    def record(self, record: Record) -> bytes:
        """Return one record; the bytes of several are simply joined."""
        ...


class Written(Struct, frozen=True, kw_only=True):
    """What an export came to."""

    records: int | None  # None: what was written came as it is
    bytes: int


def file_name(title: str, key: str, form: Format) -> str:
    """Return the name of a file for the pages of the job *title* with the id *key*.

    Of ASCII letters, digits, "-" and "." alone, whatever the title says.
    """
    said = re.sub("[^a-z0-9]+", "-", title.lower())[:40].strip("-")
    return f"{said or 'pages'}-{key}{form.suffix}"


CHUNK = 256 * 1024  # bytes that are gathered before one write


async def chunks(records: AsyncGenerator[Record], writer: Writer) -> AsyncIterator[bytes]:
    """Yield *records* as they come, about `CHUNK` bytes at a time; close them at the end."""
    waiting = bytearray(writer.head())
    async with aclosing(records):
        async for record in records:
            waiting += writer.record(record)
            if len(waiting) >= CHUNK:
                yield bytes(waiting)
                waiting.clear()
    if waiting:
        yield bytes(waiting)


async def write(
    records: AsyncIterator[Record], writer: Writer, sink: Callable[[bytes], object]
) -> Written:
    """Write *records* to *sink* as they come, and return how many there were.

    Memory stays at one chunk, whatever the number of records.
    """
    count = total = 0

    async def counted() -> AsyncGenerator[Record]:
        nonlocal count
        async for record in records:
            count += 1
            yield record

    async for data in chunks(counted(), writer):
        total += len(data)
        sink(data)
    return Written(records=count, bytes=total)
