"""Parquet for analysis: typed columns, one row group at a time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # it ships no types

from crawlyard.core.crawl.page import Page
from crawlyard.core.fields import fields_of
from crawlyard.export.base import Record
from crawlyard.export.jsonl import dumps

MOST_ROWS = 20_000
MOST_CHARACTERS = 8 << 20
"""Of all text in a row group. With both limits, memory is bounded whatever the pages contain."""

_COMPRESSION = "zstd"
_EVERY_ROW = 200  # characters counted for a row, in addition to its text

_TEXTS = pa.list_(pa.field("element", pa.string()))
_HEADERS = pa.list_(pa.field("element", pa.struct([("name", pa.string()), ("value", pa.string())])))

_NARROW = {"status": pa.int16(), "depth": pa.int32(), "links": pa.int32()}
_TYPES = {int: pa.int64(), bool: pa.bool_(), datetime: pa.timestamp("ms", tz="UTC")}

COLUMNS = {
    path.replace(".", "_"): _NARROW.get(path) or _TYPES.get(field.kind, pa.string())
    for path, field in fields_of(Page).items()
    if path != "extracted"
}
"""The columns of every export; one `extracted.NAME` per extraction, text and html may follow."""


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
        before: Sequence[str] = (),
    ) -> None:
        self._extracted = tuple(extracted)
        self._before = tuple(before)  # text fields before all others
        asked = {"text": text, "html": html, "headers": html}
        self._more = tuple(name for name, wanted in asked.items() if wanted)
        self._rows: list[dict[str, Any]] = []
        self._characters = 0
        self._sink = _Sink()
        self._schema = pa.schema(self._fields())
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression=_COMPRESSION)

    def _fields(self) -> list[tuple[str, Any]]:
        before = [(name, pa.string()) for name in self._before]
        own = [(f"extracted.{name}", _TEXTS) for name in self._extracted]
        kinds = {"text": pa.string(), "html": pa.string(), "headers": _HEADERS}
        return [*before, *COLUMNS.items(), *own, *((name, kinds[name]) for name in self._more)]

    @property
    def full(self) -> bool:
        """Return whether a row group should be written."""
        return len(self._rows) >= MOST_ROWS or self._characters >= MOST_CHARACTERS

    def add(self, record: Record) -> None:
        """Add one record."""
        error = record["error"] or {"kind": None, "detail": None}
        row = {name: record[name] for name in (*self._before, *_PLAIN)}
        row |= {"error_kind": error["kind"], "error_detail": error["detail"]}
        row |= {name: dumps(row[name]) if row[name] else None for name in _JSON}
        row["fetched_at"] = datetime.fromisoformat(record["fetched_at"])
        found = record["extracted"]
        row |= {f"extracted.{n}": list(found.get(n, ())) for n in self._extracted}
        for name in self._more:
            row[name] = record[name] if name != "headers" else _pairs(record[name])
        self._rows.append(row)
        self._characters += _EVERY_ROW + _size(row.values())

    def group(self) -> bytes:
        """Return the bytes of the records added since the last call."""
        if self._rows:
            table = pa.Table.from_pylist(self._rows, schema=self._schema)
            self._writer.write_table(table, row_group_size=len(self._rows))
            self._rows, self._characters = [], 0
        return self._sink.taken()

    def end(self) -> bytes:
        """Return the bytes of the remaining records and of the file footer."""
        data = self.group()
        self._writer.close()
        return data + self._sink.taken()


async def chunks(records: AsyncGenerator[Record], writer: Parquet) -> AsyncIterator[bytes]:
    """Yield *records* as they arrive, one row group at a time; close them at the end."""
    async with aclosing(records):
        async for record in records:
            writer.add(record)
            if writer.full:
                yield await asyncio.to_thread(writer.group)
    yield await asyncio.to_thread(writer.end)


_JSON = ("structured",)
"""Objects whose fields differ from page to page, as text."""

_PLAIN = tuple(n for n in COLUMNS if n not in {"fetched_at", "error_kind", "error_detail"})


def _size(values: Iterable[Any]) -> int:
    """Return how many characters *values* contain, including nested ones."""
    size = 0
    for value in values:
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, list | dict):
            size += _size(value.values() if isinstance(value, dict) else value)
    return size


def _pairs(headers: Sequence[tuple[str, str]] | None) -> list[dict[str, str]] | None:
    if headers is None:
        return None
    return [{"name": name, "value": value} for name, value in headers]


class _Sink:
    """A file object that Parquet is written to, and whose bytes are taken out as they arrive."""

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

    def taken(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        return data
