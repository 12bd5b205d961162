"""Exports of something else than pages: links and chunks of text, as JSON Lines or CSV."""

from collections.abc import Sequence

from crawlyard.core.crawl.link import FoundLink
from crawlyard.errors import Invalid
from crawlyard.export.base import Format, Record, Writer
from crawlyard.export.csv import cell, row
from crawlyard.export.jsonl import JsonLines

LINK_FIELDS: Sequence[str] = FoundLink.__struct_fields__
CHUNK_FIELDS = ("id", "url", "title", "lang", "headings", "words", "text", "fetched_at")


class CsvTable:
    """Writes records with the same fields as rows, under a header; lists are joined by " > "."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)

    def head(self) -> bytes:
        """Return the header row."""
        return row(self._columns)

    def record(self, record: Record) -> bytes:
        """Return the record as one row."""
        values = (record[name] for name in self._columns)
        return row([cell(" > ".join(v) if isinstance(v, list | tuple) else v) for v in values])


def link_writer(form: Format) -> Writer:
    """Return the writer of links in a format.

    Raises:
        Invalid: the format is no text.
    """
    return _writer(form, LINK_FIELDS, "links")


def chunk_writer(form: Format) -> Writer:
    """Return the writer of chunks in a format.

    Raises:
        Invalid: the format is no text.
    """
    return _writer(form, CHUNK_FIELDS, "chunks")


def _writer(form: Format, columns: Sequence[str], things: str) -> Writer:
    if not form.is_text:
        raise Invalid("format", f"expected jsonl or csv of {things}, got {form}")
    return CsvTable(columns) if form is Format.CSV else JsonLines()
