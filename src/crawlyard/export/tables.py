"""Exports of links and of chunks of text."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence

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


def link_writer(form: Format) -> Writer:
    """Return the writer of links in a text format."""
    return _writer(form, LINK_FIELDS)


def chunk_writer(form: Format) -> Writer:
    """Return the writer of chunks in a format.

    Raises:
        Invalid: the format is not a text format.
    """
    if not form.is_text:
        raise Invalid("format", f"expected jsonl or csv of chunks, got {form}")
    return _writer(form, CHUNK_FIELDS)


def _writer(form: Format, columns: Sequence[str]) -> Writer:
    return CsvTable(columns) if form is Format.CSV else JsonLines()


def check_links(form: Format) -> None:
    """Check that links can be written in a format.

    Raises:
        Invalid: they cannot, or the format needs an extra that is not installed.
    """
    if form in {Format.WARC, Format.MARKDOWN}:
        raise Invalid("format", f"expected jsonl, csv or parquet of links, got {form}")
    check_installed(form)


def link_chunks(links: AsyncGenerator[Record], form: Format) -> AsyncIterator[bytes]:
    """Yield *links* as they arrive, in a format that `check_links` allows; then close them."""
    if form is Format.PARQUET:
        return parquet.chunks(links, parquet.Parquet(columns=parquet.LINK_COLUMNS))
    return base.chunks(links, link_writer(form))
