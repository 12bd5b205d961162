"""A job's pages, written to a file or to stdout."""

import shlex
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from crawlyard.cli import stdout
from crawlyard.cli.client import ResultReader
from crawlyard.core.spec import TextMode
from crawlyard.errors import Invalid
from crawlyard.export.base import Format, Record, Written, write
from crawlyard.export.files import check_writable, whole_file
from crawlyard.export.plan import Plan
from crawlyard.store.base import PageQuery
from crawlyard.web.wire.jobs import JobOut, PageOut

STDOUT = "-"
_SUFFIXES = {".jsonl": Format.JSONL, ".ndjson": Format.JSONL, ".csv": Format.CSV}


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Where pages go, and in which format."""

    where: str  # a path, or "-"
    format: Format

    @property
    def to_stdout(self) -> bool:
        """Tell whether stdout gets the pages, and so nothing else."""
        return self.where == STDOUT

    @property
    def options(self) -> str:
        """Return it as the user would type it."""
        told = _SUFFIXES.get(Path(self.where).suffix.lower(), Format.JSONL)
        form = "" if told is self.format else f" --format {self.format}"
        return f"--out {shlex.quote(self.where)}{form}"

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
            Invalid: the format cannot be told from the name of the file.
            OSError: the file cannot be written; better to know before the crawl.
        """
        if where == STDOUT:
            return cls(where=where, format=asked or Format.JSONL)
        path = Path(where)
        told = asked or _SUFFIXES.get(path.suffix.lower())
        if told is None:
            known = ", ".join(_SUFFIXES)
            raise Invalid(
                "--out", f"expected a name that ends in {known}, got {where!r}; or --format"
            )
        check_writable(path)
        return cls(where=where, format=told)


async def save(
    client: ResultReader, job: JobOut, export: Export, *, failed: bool | None = None
) -> Written:
    """Write the page records of *job* where *export* says; *failed* picks those with an error.

    Raises:
        OSError: with the name of the file (disk full, say).
        BrokenPipeError: the reader of stdout has gone.
    """
    plan = Plan(
        format=export.format,
        text=TextMode(job.spec.text),
        html=job.spec.keep_html,
        extracted=tuple(name for name, _ in job.spec.extract),
    )
    records = _records(client.pages(job.id, PageQuery(failed=failed), plan.kept), plan)
    if not export.to_stdout:
        with whole_file(Path(export.where)) as sink:
            return await write(records, plan.writer(), sink)
    return await write(records, plan.writer(), stdout.write)


async def _records(pages: AsyncIterator[PageOut], plan: Plan) -> AsyncIterator[Record]:
    async for page in pages:
        yield page.model_dump(mode="json", exclude=set(plan.left_out))
