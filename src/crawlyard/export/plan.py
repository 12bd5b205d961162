"""Export plan: what an export of a job's pages contains, and which writer it uses."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection

from msgspec import Struct

from crawlyard.about import install_line
from crawlyard.core.crawl.page import Body
from crawlyard.core.jobs.spec import TextMode
from crawlyard.errors import Invalid
from crawlyard.export import base
from crawlyard.export.base import Format, Record, Writer
from crawlyard.export.csv import Csv
from crawlyard.export.jsonl import JsonLines
from crawlyard.lazy import is_installed, lazily

# it needs an extra
with lazily():
    from crawlyard.export import parquet

NO_TEXT = "expected a job that keeps text (text=markdown); there is nothing else to write"
NO_HTML = "expected a job that keeps HTML (keep_html=true); there is nothing else to archive"


class Plan(Struct, frozen=True, kw_only=True):
    """An export in one format of a job that stores *text*, *html* and its *extracted* values."""

    format: Format
    text: TextMode
    html: bool = False
    extracted: tuple[str, ...] = ()  # names

    @property
    def bodies(self) -> list[Body]:
        """Page contents in a record; CSV has no column for HTML."""
        html = self.html and self.format is not Format.CSV
        text = [Body.TEXT] if self.text is not TextMode.NONE else []
        return text + ([Body.HTML, Body.RENDERED, Body.HEADERS] if html else [])

    @property
    def left_out(self) -> Collection[str]:
        """Record fields that are left out."""
        return frozenset() if Body.HTML in self.bodies else frozenset({"html", "headers"})

    def check(self) -> None:
        """Check that the export is possible.

        Raises:
            Invalid: it needs an extra that is not installed, or data that the job does not store.
        """
        if self.format is Format.PARQUET:
            check_installed(Format.PARQUET)
        if self.format is Format.MARKDOWN and self.text is TextMode.NONE:
            raise Invalid("format", NO_TEXT)
        if self.format is Format.WARC:
            if not self.html:
                raise Invalid("format", NO_HTML)
            check_installed(Format.WARC)

    def writer(self) -> Writer:
        """Return the writer of a text format."""
        if self.format is Format.CSV:
            return Csv(self.extracted, text=Body.TEXT in self.bodies)
        return JsonLines()

    def chunks(self, records: AsyncGenerator[Record]) -> AsyncIterator[bytes]:
        """Yield *records* as they arrive; close them at the end. Not for WARC and Markdown."""
        if self.format is Format.PARQUET:
            text, html = Body.TEXT in self.bodies, Body.HTML in self.bodies
            return parquet.chunks(records, parquet.Parquet(self.extracted, text=text, html=html))
        return base.chunks(records, self.writer())


def check_installed(form: Format) -> None:
    """Check that the package that *form* needs is installed.

    Raises:
        Invalid: it is not; the message says how to install it.
    """
    package = _PACKAGES.get(form)
    if package is not None and not is_installed(package):
        install = install_line(form)  # extras are named after the formats
        raise Invalid("format", f"{form} needs {package}, which is not installed: {install}")


_PACKAGES = {Format.PARQUET: "pyarrow", Format.WARC: "warcio"}
"""The package that writes each format."""
