"""A job's pages, written to a file or to stdout."""

import shlex
import sys
import zlib
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from msgspec import Struct

from crawlyard.cli import stdout
from crawlyard.cli.jobs.client import Client
from crawlyard.cli.session import Session
from crawlyard.core.answers.jobs.jobs import JobOut
from crawlyard.core.jobs.spec import TextMode
from crawlyard.errors import Invalid
from crawlyard.export.base import SUFFIXES, Format, Written, format_of, write
from crawlyard.export.files import Sink, check_writable, whole_file
from crawlyard.export.plan import NO_HTML, Plan, check_installed
from crawlyard.store.queries import PageQuery

STDOUT = "-"
_GZIP = 16  # added to the bits of the window, it makes zlib read gzip


class Export(Struct, frozen=True, kw_only=True):
    """Where pages go, and in which format."""

    where: str  # a path, or "-"
    format: Format

    @property
    def to_stdout(self) -> bool:
        """Tell whether stdout gets the pages, and so nothing else."""
        return self.where == STDOUT

    @property
    def is_plain_warc(self) -> bool:
        """Tell whether it is a WARC without compression: its name says so."""
        return self.format is Format.WARC and self.where.lower().endswith(".warc")

    @property
    def options(self) -> str:
        """Return it as the user would type it."""
        told = format_of(self.where) or Format.JSONL
        form = "" if told is self.format else f" --format {self.format}"
        return f"--out {shlex.quote(self.where)}{form}"

    def check_kept(self, *, html: bool) -> None:
        """Check that a job keeps what is to be written.

        Raises:
            Invalid: it does not.
        """
        if self.format is Format.WARC and not html:
            raise Invalid("--out", NO_HTML)

    def check_installed(self, session: Session) -> None:
        """Check, before a crawl, that what it needs is there; elsewhere, the server says so.

        Raises:
            Invalid: it is not.
        """
        if session.worker is not None:
            check_installed(self.format)

    @classmethod
    def wished(cls, where: str, asked: Format | None) -> "Export | None":
        """Return what ``--out`` and ``--format`` ask for, ``None`` if they ask for nothing.

        Raises:
            Invalid, OSError: as for `of`.
        """
        if where:
            return cls.of(where, asked)
        if asked is not None:
            raise Invalid("--format", "says how to write --out, which is missing")
        return None

    @classmethod
    def of(cls, where: str, asked: Format | None) -> "Export":
        """Return an export to *where*, in the format *asked* or that its suffix tells.

        Raises:
            Invalid: the format cannot be told from the name of the file, or is not for a terminal.
            OSError: the file cannot be written; better to know before the crawl.
        """
        if where == STDOUT:
            form = asked or Format.JSONL
            if not form.is_text and sys.stdout.isatty():
                raise Invalid("--out", f"expected a file or a pipe: {form} is not for a terminal")
            return cls(where=where, format=form)
        told = asked or format_of(where)
        if told is None:
            known = ", ".join(SUFFIXES)
            raise Invalid(
                "--out", f"expected a name that ends in {known}, got {where!r}; or --format"
            )
        check_writable(Path(where))
        return cls(where=where, format=told)


async def save(
    client: Client, job: JobOut, export: Export, *, failed: bool | None = None
) -> Written:
    """Write the page records of *job* where *export* says; *failed* picks those with an error.

    What is no text is made where the pages are.

    Raises:
        Invalid: it needs an extra that is not installed there, or what the job does not keep.
        OSError: with the name of the file (disk full, say).
        BrokenPipeError: the reader of stdout has gone.
    """
    asked = PageQuery(failed=failed)
    if not export.format.is_text:
        portions = client.export(job.id, asked, export.format)
        return await _copy(uncompressed(portions) if export.is_plain_warc else portions, export)
    plan = Plan(
        format=export.format,
        text=TextMode(job.spec.text),
        html=job.spec.keep_html,
        extracted=tuple(name for name, _ in job.spec.extract),
    )
    records = client.records(job.id, asked, plan)
    with _opened(export) as sink:
        return await write(records, plan.writer(), sink)


async def uncompressed(portions: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield what is in a file of gzip members, such as a WARC is made and sent."""
    member = zlib.decompressobj(zlib.MAX_WBITS | _GZIP)
    async for portion in portions:
        rest = portion
        while rest:
            yield member.decompress(rest)
            rest = member.unused_data
            if member.eof:
                member = zlib.decompressobj(zlib.MAX_WBITS | _GZIP)


async def _copy(portions: AsyncIterator[bytes], export: Export) -> Written:
    total = 0
    with _opened(export) as sink:
        async for portion in portions:
            total += len(portion)
            sink(portion)
    return Written(records=None, bytes=total)


def _opened(export: Export) -> AbstractContextManager[Sink]:
    return nullcontext(stdout.write) if export.to_stdout else whole_file(Path(export.where))
