"""What an export of a job's pages has in it, and who writes it."""

from collections.abc import Collection
from dataclasses import dataclass

from crawlyard.core.page import Body
from crawlyard.core.spec import TextMode
from crawlyard.export.base import Format, Writer
from crawlyard.export.csv import Csv
from crawlyard.export.jsonl import JsonLines


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An export in one format, of a job that keeps *text*, *html* and what it has *extracted*."""

    format: Format
    text: TextMode
    html: bool = False
    extracted: tuple[str, ...] = ()  # names

    @property
    def kept(self) -> list[Body]:
        """Return what of a page goes into its record; HTML has no place in CSV."""
        html = self.html and self.format is Format.JSONL
        text = [Body.TEXT] if self.text is not TextMode.NONE else []
        return text + ([Body.HTML, Body.HEADERS] if html else [])

    @property
    def left_out(self) -> Collection[str]:
        """Return the fields of a record that are left out."""
        return frozenset() if Body.HTML in self.kept else frozenset({"html", "headers"})

    def writer(self) -> Writer:
        """Return what writes the records."""
        if self.format is Format.CSV:
            return Csv(self.extracted, text=Body.TEXT in self.kept)
        return JsonLines()
