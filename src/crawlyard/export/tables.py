"""Exports of links and of chunks of text."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from enum import StrEnum, auto

from crawlyard.core.crawl.link import FoundLink
from crawlyard.errors import Invalid
from crawlyard.export import base
from crawlyard.export.base import Format, Record, Writer
from crawlyard.export.csv import format_cell, format_row
from crawlyard.export.jsonl import JsonLines
from crawlyard.export.plan import check_installed
from crawlyard.lazy import lazily

# it needs an extra
with lazily():
    from crawlyard.export import parquet

LINK_FIELDS: Sequence[str] = FoundLink.__struct_fields__
CHUNK_FIELDS = ("id", "url", "title", "lang", "headings", "words", "text", "fetched_at")


class CsvTable:
    """Writes records with the same fields as rows, under a header; lists are joined by " > "."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)

    def head(self) -> bytes:
        """Return the header row."""
        return format_row(self._columns)

    def record(self, record: Record) -> bytes:
        """Return a record as a row; lists are joined."""
        values = (record[name] for name in self._columns)
        return format_row(
            [format_cell(" > ".join(v) if isinstance(v, list | tuple) else v) for v in values]
        )


class Table(StrEnum):
    """Records that are exported in place of pages."""

    LINKS = auto()
    CHUNKS = auto()

    @property
    def columns(self) -> Sequence[str]:
        """The fields of its records."""
        return LINK_FIELDS if self is Table.LINKS else CHUNK_FIELDS


def check_table(table: Table, form: Format) -> None:
    """Check that a table can be written in a format.

    Raises:
        Invalid: it cannot, or the format needs an extra that is not installed.
    """
    if form in {Format.WARC, Format.MARKDOWN}:
        raise Invalid("format", f"expected jsonl, csv or parquet of {table}, got {form}")
    check_installed(form)


def table_writer(table: Table, form: Format) -> Writer:
    """Return the writer of a table in a text format."""
    return CsvTable(table.columns) if form is Format.CSV else JsonLines()


def table_chunks(
    table: Table, records: AsyncGenerator[Record], form: Format
) -> AsyncIterator[bytes]:
    """Yield *records* as they arrive, in a format that `check_table` allows; then close them."""
    if form is Format.PARQUET:
        columns = parquet.LINK_COLUMNS if table is Table.LINKS else parquet.CHUNK_COLUMNS
        return parquet.chunks(records, parquet.Parquet(columns=columns))
    return base.chunks(records, table_writer(table, form))
