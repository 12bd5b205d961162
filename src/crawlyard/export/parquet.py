"""Parquet for analysis: typed columns, one row group at a time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial
from operator import itemgetter
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # it ships no types

from crawlyard.core.crawl.link import FoundLink
from crawlyard.core.crawl.page import Page
from crawlyard.core.fields import fields_of
from crawlyard.export.base import Record
from crawlyard.export.jsonl import dumps

MOST_ROWS = 20_000
MOST_CHARACTERS = 8 << 20
"""Size of all text in a row group. Both limits together bound memory for any pages."""

_COMPRESSION = "zstd"
_ROW_OVERHEAD = 200  # characters counted for a row, in addition to its text

_STRING_LIST = pa.list_(pa.field("element", pa.string()))
_HEADER_LIST = pa.list_(
    pa.field("element", pa.struct([("name", pa.string()), ("value", pa.string())]))
)

_NARROW_TYPES = {"status": pa.int16(), "depth": pa.int32(), "links": pa.int32()}
_TYPES = {int: pa.int64(), bool: pa.bool_(), datetime: pa.timestamp("ms", tz="UTC")}

COLUMNS = {
    path.replace(".", "_"): _NARROW_TYPES.get(path) or _TYPES.get(field.kind, pa.string())
    for path, field in fields_of(Page).items()
    if path != "extracted"
}
"""The columns of every export; one `extracted.NAME` per extraction, text and html may follow."""

CHUNK_COLUMNS = {
    **dict.fromkeys(("id", "url", "title", "lang"), pa.string()),
    "headings": _STRING_LIST,
    "words": pa.int32(),
    "text": pa.string(),
    "fetched_at": _TYPES[datetime],
}

LINK_COLUMNS = dict.fromkeys(FoundLink.__struct_fields__, pa.string())


class Parquet:
    """Collects records, and returns the bytes of a row group when one is full.

    If a page has no error, its two error columns are null.
    """

    def __init__(
        self,
        extracted: Sequence[str] = (),
        *,
        text: bool = False,
        html: bool = False,
        before: Sequence[str] = (),  # text columns before those of pages
        columns: Mapping[str, pa.DataType] | None = None,  # for records other than pages
    ) -> None:
        optional = {"text": text, "html": html, "headers": html}
        optional_columns = [name for name, is_included in optional.items() if is_included]
        page_columns = (
            *((name, pa.string()) for name in before),
            *COLUMNS.items(),
            *((f"extracted.{name}", _STRING_LIST) for name in extracted),
            *(
                (name, _HEADER_LIST if name == "headers" else pa.string())
                for name in optional_columns
            ),
        )
        self._schema = pa.schema(page_columns if columns is None else columns.items())
        self._readers: dict[str, Callable[[Record], Any]] = {
            **{name: itemgetter(name) for name in self._schema.names},
            **_READERS,
            **{f"extracted.{name}": partial(_extracted_values, name) for name in extracted},
        }
        self._records: list[Record] = []
        self._characters = 0
        self._sink = _Sink()
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression=_COMPRESSION)

    @property
    def is_full(self) -> bool:
        """True if a row group should be written."""
        return len(self._records) >= MOST_ROWS or self._characters >= MOST_CHARACTERS

    def add(self, record: Record) -> None:
        """Add a record to the next row group."""
        self._records.append(record)
        self._characters += _ROW_OVERHEAD + _count_characters(record.values())

    def take_group(self) -> bytes:
        """Return the row group of the records added since the last call."""
        if self._records:
            # by column, as a dict per row takes a fifth of the whole time
            columns = {
                name: list(map(self._readers[name], self._records)) for name in self._schema.names
            }
            table = pa.Table.from_pydict(columns, schema=self._schema)
            self._writer.write_table(table, row_group_size=len(self._records))
            self._records, self._characters = [], 0
        return self._sink.take()

    def finish(self) -> bytes:
        """Return the row group of the remaining records, and the file footer."""
        data = self.take_group()
        self._writer.close()
        return data + self._sink.take()


async def chunks(records: AsyncGenerator[Record], writer: Parquet) -> AsyncIterator[bytes]:
    """Yield *records* as they arrive, one row group at a time; close them at the end."""
    async with aclosing(records):
        async for record in records:
            writer.add(record)
            if writer.is_full:
                yield await asyncio.to_thread(writer.take_group)
    yield await asyncio.to_thread(writer.finish)


def _count_characters(values: Iterable[Any]) -> int:
    """Return the number of characters in *values*, including nested ones."""
    size = 0
    for value in values:
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, list | dict):
            size += _count_characters(value.values() if isinstance(value, dict) else value)
    return size


def _header_pairs(record: Record) -> list[dict[str, str]] | None:
    headers = record["headers"]
    return headers and [{"name": name, "value": value} for name, value in headers]


def _extracted_values(name: str, record: Record) -> Sequence[str]:
    values: Sequence[str] = record["extracted"].get(name, ())
    return values


def _parse_instant(name: str, record: Record) -> datetime | None:
    value = record[name]
    return None if value is None else datetime.fromisoformat(value)


_READERS: Mapping[str, Callable[[Record], Any]] = {
    "error_kind": lambda record: record["error"] and record["error"]["kind"],
    "error_detail": lambda record: record["error"] and record["error"]["detail"],
    "headers": _header_pairs,
    # its fields differ from page to page
    "structured": lambda record: dumps(record["structured"]) if record["structured"] else None,
    **{
        path: partial(_parse_instant, path)
        for path, field in fields_of(Page).items()
        if field.kind is datetime
    },
}
"""Readers of columns that are not fields of a record, or whose values are text in it."""


class _Sink:
    """A file object for pyarrow, whose bytes are taken out as they arrive."""

    closed = False

    def __init__(self) -> None:
        self._data = bytearray()
        self._position = 0

    def write(self, data: bytes) -> int:
        self._data += data
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def take(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        return data
