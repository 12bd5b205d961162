"""Exports of a job's pages to a file or to stdout."""

import json
import shlex
import sys
import zlib
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import ExitStack, aclosing, contextmanager
from functools import partial
from pathlib import Path
from typing import cast
from urllib.parse import quote

from msgspec import Struct

from crawlyard.cli import stdout
from crawlyard.cli.session import Session
from crawlyard.core.jobs.answers import JobOut
from crawlyard.core.jobs.spec import TextMode
from crawlyard.core.schedules.answers import ScheduleOut
from crawlyard.errors import Invalid, NotFound
from crawlyard.export.base import (
    GZIP,
    SUFFIXES,
    Format,
    Record,
    Writer,
    Written,
    format_of,
    gzip_sink,
    write,
)
from crawlyard.export.files import Sink, check_writable, whole_file
from crawlyard.export.plan import NO_HTML, NO_TEXT, Plan, check_installed
from crawlyard.export.tables import Table, check_table, table_writer

STDOUT = "-"
_GZIP = 16  # added to the window bits, it makes zlib read gzip


class Export(Struct, frozen=True, kw_only=True):
    """Destination and format of exported pages."""

    where: str  # a path, or "-"
    format: Format

    @property
    def to_stdout(self) -> bool:
        """True if pages go to stdout, so that nothing else may."""
        return self.where == STDOUT

    @property
    def is_plain_warc(self) -> bool:
        """True if it is a WARC without compression, by its name."""
        return self.format is Format.WARC and self.where.lower().endswith(".warc")

    @property
    def options(self) -> str:
        """The options that request this export, as a user types them."""
        default_format = format_of(self.where) or Format.JSONL
        form = "" if default_format is self.format else f" --format {self.format}"
        return f"--out {shlex.quote(self.where)}{form}"

    @property
    def is_gzip(self) -> bool:
        """True if it is compressed text, by its name."""
        return self.format.is_text and self.where.lower().endswith(GZIP)

    def check_kept(self, *, text: bool, html: bool) -> None:
        """Check that a job keeps everything that the format needs.

        Raises:
            Invalid: it does not.
        """
        if self.format is Format.WARC and not html:
            raise Invalid("--out", NO_HTML)
        if self.format is Format.MARKDOWN and not text:
            raise Invalid("--out", NO_TEXT)

    def check_text(self) -> None:
        """Check that records of several jobs can be joined in this format.

        Raises:
            Invalid: it cannot.
        """
        if not self.format.is_text:
            raise Invalid("--format", f"expected jsonl or csv for several runs, got {self.format}")

    def check_installed(self, session: Session) -> None:
        """Check, before a crawl, that required packages are installed; a server checks for itself.

        Raises:
            Invalid: a package is missing.
        """
        if session.worker_for is not None:
            check_installed(self.format)

    @classmethod
    def from_options(cls, where: str, file_format: Format | None) -> "Export | None":
        """Return the export that ``--out`` and ``--format`` request; ``None`` if neither is given.

        Raises:
            Invalid, OSError: as for `of`.
        """
        if where:
            return cls.of(where, file_format)
        if file_format is not None:
            raise Invalid("--format", "requires --out")
        return None

    @classmethod
    def of(cls, where: str, file_format: Format | None) -> "Export":
        """Return an export to *where*, in *file_format* or the format of its suffix.

        Raises:
            Invalid: the file name does not determine the format, or a terminal cannot show it.
            OSError: the file cannot be written; checked before the crawl.
        """
        if where == STDOUT:
            form = file_format or Format.JSONL
            if not form.is_text and sys.stdout.isatty():
                raise Invalid("--out", f"expected a file or a pipe: {form} is not for a terminal")
            return cls(where=where, format=form)
        chosen = file_format or format_of(where)
        if chosen is None:
            suffixes = ", ".join(SUFFIXES)
            raise Invalid(
                "--out", f"expected a name that ends in {suffixes}, got {where!r}; or use --format"
            )
        check_writable(Path(where))
        return cls(where=where, format=chosen)


async def save_runs(
    session: Session,
    runs: Sequence[JobOut],
    export: Export,
    *,
    failed: bool | None = None,
    chunks: int | None = None,
) -> Written:
    """Write the page records of *runs*, newest first, or their chunks: each URL once.

    The columns are those of the newest run.

    Raises:
        OSError, BrokenPipeError: as for `save`.
    """
    plan = _plan(runs[0], export)

    async def union() -> AsyncIterator[Record]:
        urls_of_newer_runs: set[object] = set()
        for job in runs:
            urls: set[object] = set()
            portions = await session.surface.results.export(
                job.id, format_=Format.JSONL, failed=failed, chunks=chunks
            )
            async for record in _records(portions, plan):
                if record["url"] not in urls_of_newer_runs:
                    urls.add(record["url"])
                    yield record
            urls_of_newer_runs |= urls

    with _open_sink(export.where, compressed=export.is_gzip) as sink:
        return await write(union(), _writer(plan, export, chunks=chunks), sink)


async def save_current(
    session: Session,
    schedule: ScheduleOut,
    export: Export,
    *,
    changed: bool,
    chunks: int | None = None,
) -> Written:
    """Write the current pages of *schedule*, or their chunks; with *changed*, only those.

    Raises:
        NotFound: it has no completed run yet.
        Invalid, OSError, BrokenPipeError: as for `save`.
    """
    completed = await session.surface.jobs.list(schedule=schedule.id, state="completed", limit=1)
    if not completed.items:
        raise NotFound(f"schedule {schedule.name} has no completed run yet")
    plan = _plan(await session.surface.jobs.get(completed.items[0].id), export)
    fetch = partial(session.surface.schedules.export, schedule.id, changed=changed, chunks=chunks)
    return await _save(fetch, plan, _writer(plan, export, chunks=chunks), export)


async def save_each(
    session: Session,
    runs: Mapping[str, Sequence[JobOut]],
    folder: Path,
    *,
    failed: bool | None = None,
    chunks: int | None = None,
) -> Written:
    """Write the page records of *runs* of schedules, by name, each as a Parquet file in *folder*.

    It is ``schedule=NAME/job=ID/pages.parquet``, or ``chunks.parquet``. Such folders are read as
    one table with the columns ``schedule`` and ``job``. An existing file is replaced.

    Raises:
        Invalid, OSError: as for `save`.
    """
    total = 0
    for name, some in runs.items():
        # readers of such folders decode percent-encoding
        of = folder / f"schedule={quote(name, safe=' ')}"
        for job in some:
            stem = "pages" if chunks is None else "chunks"
            path = of / f"job={job.id}" / f"{stem}{Format.PARQUET.suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            export = Export(where=str(path), format=Format.PARQUET)
            written = await save(session, job, export, failed=failed, chunks=chunks)
            total += written.bytes
    return Written(records=None, bytes=total)


async def save(
    session: Session,
    job: JobOut,
    export: Export,
    *,
    failed: bool | None = None,
    chunks: int | None = None,
    links: bool = False,
) -> Written:
    """Write the page records of *job* to *export*; *failed* selects those with an error.

    With *chunks* of so many words, or *links*, these are written in place of the pages. Binary
    formats are created where the pages are stored.

    Raises:
        Invalid: it needs a package that is not installed there, or data that the job does not keep.
        OSError: with the name of the file (disk full, say).
        BrokenPipeError: the reader of stdout has closed it.
    """
    plan = _plan(job, export)
    fetch = partial(
        session.surface.results.export, job.id, chunks=chunks, links=links, failed=failed
    )
    return await _save(fetch, plan, _writer(plan, export, chunks=chunks, links=links), export)


async def _save(
    fetch: Callable[..., Awaitable[AsyncIterator[bytes]]],
    plan: Plan,
    writer: Writer,
    export: Export,
) -> Written:
    portions = await fetch(format_=Format.JSONL if export.format.is_text else export.format)
    if not export.format.is_text:
        pieces = decompress(portions) if export.is_plain_warc else portions
        return await save_pieces(pieces, export.where)
    with _open_sink(export.where, compressed=export.is_gzip) as sink:
        if export.format is Format.JSONL:
            return await _copy(portions, sink, lines=True)
        return await write(_records(portions, plan), writer, sink)


def _writer(
    plan: Plan, export: Export, *, chunks: int | None = None, links: bool = False
) -> Writer:
    """Return the writer of pages, or of what is exported in place of them."""
    if not links and chunks is None:
        return plan.writer()
    table = Table.LINKS if links else Table.CHUNKS
    if export.format is not Format.PARQUET:  # it may be installed on the server alone
        check_table(table, export.format)
    return table_writer(table, export.format)


def _plan(job: JobOut, export: Export) -> Plan:
    return Plan(
        format=export.format,
        text=TextMode(job.spec.text),
        html=job.spec.keep_html,
        extracted=tuple(name for name, _ in job.spec.extract),
    )


async def _records(portions: AsyncIterator[bytes], plan: Plan) -> AsyncIterator[Record]:
    """Yield the records in JSON Lines, in the layout of *plan*."""
    rest, left_out = b"", plan.left_out
    async for portion in portions:
        *lines, rest = (rest + portion).split(b"\n")
        for line in lines:
            record = json.loads(line)
            yield {name: value for name, value in record.items() if name not in left_out}


async def decompress(portions: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the contents of a file of gzip members, as in a WARC."""
    member = zlib.decompressobj(zlib.MAX_WBITS | _GZIP)
    async for portion in portions:
        rest = portion
        while rest:
            yield member.decompress(rest)
            rest = member.unused_data
            if member.eof:
                member = zlib.decompressobj(zlib.MAX_WBITS | _GZIP)


async def save_pieces(portions: AsyncIterator[bytes], where: str) -> Written:
    """Write *portions* of a file to the path *where*, or to stdout if it is "-".

    Raises:
        OSError, BrokenPipeError: as for `save`.
    """
    with _open_sink(where) as sink:
        return await _copy(portions, sink)


async def _copy(portions: AsyncIterator[bytes], sink: Sink, *, lines: bool = False) -> Written:
    """Write *portions* as they arrive, then close them; each of their *lines* is a record."""
    count = total = 0
    # a stream of HTTP that is left open would report an error when the event loop ends
    async with aclosing(cast("AsyncGenerator[bytes]", portions)):
        async for portion in portions:
            count += portion.count(b"\n") if lines else 0
            total += len(portion)
            sink(portion)
    return Written(records=count if lines else None, bytes=total)


@contextmanager
def _open_sink(where: str, *, compressed: bool = False) -> Iterator[Sink]:
    with ExitStack() as opened:
        sink: Sink = stdout.write
        if where != STDOUT:
            sink = opened.enter_context(whole_file(Path(where)))
        yield opened.enter_context(gzip_sink(sink)) if compressed else sink
