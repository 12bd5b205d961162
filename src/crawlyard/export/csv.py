"""CSV for spreadsheets: fixed columns, and an escape for cells that look like formulas."""

import csv
import io
import re
from collections.abc import Sequence

from crawlyard.core.crawl.page import Page
from crawlyard.core.fields import fields_of
from crawlyard.export.base import Record
from crawlyard.export.jsonl import dumps

COLUMNS = tuple(path.replace(".", "_") for path in fields_of(Page) if path != "extracted")
"""The columns of every export; one `extracted.NAME` per extraction and `text` may follow."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)*([eE][+-]?[0-9]+)?")
_UNSUPPORTED = re.compile("[\x00\ud800-\udfff]")


class Csv:
    """Writes one row per record (RFC 4180, UTF-8); the values of an extraction are lines of a cell.

    Text cells that a spreadsheet would treat as a formula get a leading ``'``; plain numbers do
    not. NUL and unpaired surrogates become U+FFFD.

    Source: OWASP, «CSV Injection».
    """

    def __init__(
        self,
        extracted: Sequence[str] = (),
        *,
        text: bool = False,
        leading_columns: Sequence[str] = (),
    ) -> None:
        self._extracted = tuple(extracted)
        self._text = text
        self._leading_columns = tuple(leading_columns)

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names, in order."""
        extracted = tuple(f"extracted.{name}" for name in self._extracted)
        return self._leading_columns + COLUMNS + extracted + (("text",) if self._text else ())

    def head(self) -> bytes:
        """Return the header row."""
        return format_row(self.columns)

    def record(self, record: Record) -> bytes:
        """Return a record as a row with all columns."""
        error = record["error"] or {"kind": "", "detail": ""}
        flat = dict(record) | {"error_kind": error["kind"], "error_detail": error["detail"]}
        cells = [format_cell(flat[name]) for name in self._leading_columns + COLUMNS]
        extracted = record["extracted"]
        cells += [format_cell("\n".join(extracted.get(name, ()))) for name in self._extracted]
        if self._text:
            cells.append(format_cell(record["text"]))
        return format_row(cells)


def format_cell(value: object) -> str:
    """Return *value* as cell text; text that looks like a formula is escaped."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        value = dumps(value) if value else ""
    if not isinstance(value, str):
        return str(value)
    clean = value.isascii() and "\0" not in value  # ten times faster than a search without a match
    text = value if clean else _UNSUPPORTED.sub("\ufffd", value)
    if text.startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def format_row(cells: Sequence[str]) -> bytes:
    """Return one line of CSV with its CRLF."""
    line = io.StringIO(newline="")
    csv.writer(line).writerow(cells)
    return line.getvalue().encode()
