"""Links of a job's pages as JSON Lines, CSV or Parquet."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING

from crawlyard.core.crawl.link import FoundLink
from crawlyard.errors import Invalid
from crawlyard.export import base
from crawlyard.export.base import Format, Record, Writer
from crawlyard.export.csv import cell, row
from crawlyard.export.jsonl import JsonLines
from crawlyard.export.plan import check_installed
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.export import parquet
else:  # it needs an extra
    parquet = lazily("crawlyard.export.parquet")

_COLUMNS = FoundLink.__struct_fields__


class LinksCsv:
    """Writes one row per link; cells are those of `export.csv`."""

    def head(self) -> bytes:
        """Return the header row."""
        return row(_COLUMNS)

    def record(self, record: Record) -> bytes:
        """Return the link as one row."""
        return row([cell(record[name]) for name in _COLUMNS])


def link_writer(form: Format) -> Writer:
    """Return the writer of links in a text format."""
    return LinksCsv() if form is Format.CSV else JsonLines()


def check(form: Format) -> None:
    """Check that links can be written in a format.

    Raises:
        Invalid: they cannot, or it needs an extra that is not installed.
    """
    if form is Format.WARC:
        raise Invalid("format", f"expected jsonl, csv or parquet of links, got {form}")
    check_installed(form)


def chunks(links: AsyncGenerator[Record], form: Format) -> AsyncIterator[bytes]:
    """Yield *links* as they arrive, in a format that `check` allows; close them at the end."""
    if form is Format.PARQUET:
        return parquet.chunks(links, parquet.Parquet(columns=parquet.LINK_COLUMNS))
    return base.chunks(links, link_writer(form))
