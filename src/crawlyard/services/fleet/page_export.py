"""The pages of all jobs as one file, as they come."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING

from crawlyard.core.access.user import Actor
from crawlyard.core.answers.base import as_dict
from crawlyard.core.answers.fleet.archive import FoundPageOut
from crawlyard.core.crawl.page import Body
from crawlyard.export.base import Format, Record, chunks
from crawlyard.export.csv import Csv
from crawlyard.export.jsonl import JsonLines, dumps
from crawlyard.export.plan import check_installed
from crawlyard.lazy import lazily
from crawlyard.services.jobs.exporting import readable
from crawlyard.services.jobs.page_search import Archive
from crawlyard.store.queries import ArchiveQuery

if TYPE_CHECKING:
    from crawlyard.export import parquet
else:  # it needs an extra
    parquet = lazily("crawlyard.export.parquet")

_COLUMNS = ("job_id", "job_name", "extracted_json")
_LEFT_OUT = frozenset({"object", "parts", "html", "headers"})


def exported(
    archive: Archive,
    actor: Actor,
    query: ArchiveQuery,
    words: tuple[str, ...],
    form: Format,
    *,
    text: bool,
) -> AsyncIterator[bytes]:
    """Return the pages that are asked for as JSON Lines, CSV or Parquet, in pieces.

    Raises:
        Invalid: what writes the format is not installed; nothing was read.
    """
    check_installed(form)
    records = _records(archive, actor, query, words, form, text=text)
    if form is Format.PARQUET:
        return parquet.chunks(records, parquet.Parquet(text=text, before=_COLUMNS))
    return chunks(records, Csv(text=text, before=_COLUMNS) if form is Format.CSV else JsonLines())


async def _records(
    archive: Archive,
    actor: Actor,
    query: ArchiveQuery,
    words: tuple[str, ...],
    form: Format,
    *,
    text: bool,
) -> AsyncGenerator[Record]:
    kinds = [Body.TEXT] if text else []
    async with aclosing(archive.records(actor, query, words, kinds)) as found:
        async for page, bodies in found:
            shape = FoundPageOut.found(page, **readable(bodies))
            record = as_dict(shape, without=_LEFT_OUT)
            if form is not Format.JSONL:  # what is extracted has other names in each job
                record["extracted_json"] = dumps(record["extracted"])
            yield record
