"""Pages over all jobs: listed, searched, and as one stream."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from msgspec.structs import replace

from crawlyard.core.access.user import Actor
from crawlyard.core.answers.base import as_dict
from crawlyard.core.answers.fleet.archive import FoundPageOut, FoundPagesOut, SearchedOut
from crawlyard.core.crawl.page import Body
from crawlyard.export.base import Format, Record, chunks
from crawlyard.export.csv import Csv
from crawlyard.export.jsonl import JsonLines, dumps
from crawlyard.export.plan import check_installed
from crawlyard.lazy import lazily
from crawlyard.services.jobs.body_text import readable
from crawlyard.web.asking import ReadsResults, SiteOf, count, proved
from crawlyard.web.by_hand import MEDIA_TYPES, accepted, files_of
from crawlyard.web.documenting import problems
from crawlyard.web.filters.archive_filter import ArchiveFilter, Sought
from crawlyard.web.paging import Pages
from crawlyard.web.rates import Bucket
from crawlyard.web.routes import Route
from crawlyard.web.site import Site

if TYPE_CHECKING:
    from crawlyard.export import parquet
else:  # it needs an extra
    parquet = lazily("crawlyard.export.parquet")

router = APIRouter(prefix="/pages", tags=["results"], route_class=Route)

_OF_JOB = ("job_id", "job_name")
_FORMATS = (Format.JSONL, Format.CSV, Format.PARQUET)
_LEFT_OUT = frozenset({"object", "parts", "html", "headers"})

Wish = Annotated[
    Literal[Format.JSONL, Format.CSV, Format.PARQUET] | None,
    Query(alias="format", description="Else as `Accept` says, else `jsonl`."),
]
WithText = Annotated[bool, Query(description="With the text of each page, where it is kept.")]


@router.get("", name="find", responses=problems(401, 403, 422))
async def find(
    actor: ReadsResults, site: SiteOf, pages: Pages, sought: ArchiveFilter
) -> FoundPagesOut:
    """List the pages of all jobs that you may see, the last that was stored first.

    Nothing is indexed for `q`, nor for most filters: an answer looks at 20,000 pages, or for
    0.4 s, and brings what it has found by then, be it nothing. `searched` says how far it
    has looked, and `next_cursor` goes on from there.
    """
    before = int(pages.position[0]) if pages.position else None
    query = replace(sought.query, before=before)
    found = await site.archive.search(actor, query, pages.limit, sought.words)
    cursor = None if found.further is None else pages.following([found.further])
    return FoundPagesOut(
        items=[FoundPageOut.found(page) for page in found.pages],
        next_cursor=cursor,
        has_more=cursor is not None,
        searched=SearchedOut.of(found),
    )


@router.get(
    "/export",
    name="find_all",
    response_class=StreamingResponse,
    responses=problems(401, 403, 406, 422, 429)
    | {200: {"description": "The pages", "content": files_of(*_FORMATS)}},
)
async def export(
    actor: ReadsResults,
    site: SiteOf,
    request: Request,
    sought: ArchiveFilter,
    *,
    wish: Wish = None,
    text: WithText = False,
) -> StreamingResponse:
    """Stream the pages of all jobs that you may see as JSON Lines, CSV or Parquet.

    The filters are those of the list; all that is stored is looked at, however long it takes.
    """
    count(request, site, (await proved(request, site)).credential.id, Bucket.EXPORT)
    form = wish or accepted(request.headers.get("accept", ""), _FORMATS)
    check_installed(form)
    records = _records(site, actor, sought, form, text=text)
    return StreamingResponse(
        _written(records, form, text=text),
        media_type=MEDIA_TYPES[form],
        headers={"Content-Disposition": f'attachment; filename="pages{form.suffix}"'},
    )


def _written(records: AsyncGenerator[Record], form: Format, *, text: bool) -> AsyncIterator[bytes]:
    columns = (*_OF_JOB, "extracted_json")
    if form is Format.PARQUET:
        return parquet.chunks(records, parquet.Parquet(text=text, before=columns))
    return chunks(records, Csv(text=text, before=columns) if form is Format.CSV else JsonLines())


async def _records(
    site: Site, actor: Actor, sought: Sought, form: Format, *, text: bool
) -> AsyncGenerator[Record]:
    kinds = [Body.TEXT] if text else []
    records = site.archive.records(actor, sought.query, sought.words, kinds)
    async with aclosing(records) as found:
        async for page, bodies in found:
            shape = FoundPageOut.found(page, **readable(bodies))
            record = as_dict(shape, without=_LEFT_OUT)
            if form is not Format.JSONL:  # what is extracted has other names in each job
                record["extracted_json"] = dumps(record["extracted"])
            yield record
