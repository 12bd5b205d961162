"""Links of a job's pages as JSON Lines or CSV."""

from crawlyard.core.crawl.link import FoundLink
from crawlyard.errors import Invalid
from crawlyard.export.base import Format, Record, Writer
from crawlyard.export.csv import cell, row
from crawlyard.export.jsonl import JsonLines

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
    """Return the writer of links in a format.

    Raises:
        Invalid: the format is no text.
    """
    if not form.is_text:
        raise Invalid("format", f"expected jsonl or csv of links, got {form}")
    return LinksCsv() if form is Format.CSV else JsonLines()
