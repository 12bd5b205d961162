"""What an export format is: a header, and one record after another as bytes."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Any, Protocol, TypeAlias

Record: TypeAlias = Mapping[str, Any]
"""A page as JSON values: what `web.wire.PageOut` dumps."""


class Format(StrEnum):
    """The formats that pages can be exported as."""

    JSONL = auto()
    CSV = auto()


class Writer(Protocol):
    """Turns records into the bytes of one format."""

    def head(self) -> bytes:
        """Return what goes before the first record; perhaps nothing."""
        ...

    def record(self, record: Record) -> bytes:
        """Return one record; the bytes of several are simply joined."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What an export came to."""

    records: int
    bytes: int


CHUNK = 256 * 1024  # bytes that are gathered before one write


async def write(
    records: AsyncIterator[Record], writer: Writer, sink: Callable[[bytes], object]
) -> Written:
    """Write *records* to *sink* as they come, and return how many there were.

    Memory stays at one chunk, whatever the number of records.
    """
    waiting = bytearray(writer.head())
    count = total = 0
    async for record in records:
        waiting += writer.record(record)
        count += 1
        if len(waiting) >= CHUNK:
            total += len(waiting)
            sink(bytes(waiting))
            waiting.clear()
    if waiting:
        total += len(waiting)
        sink(bytes(waiting))
    return Written(records=count, bytes=total)
