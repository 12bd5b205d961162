"""A job's pages as one stream."""

from collections.abc import Collection
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from crawlyard.export.base import Format, file_name
from crawlyard.web.asking import ReadsResults, SiteOf, count, proved
from crawlyard.web.documenting import Responses, problems
from crawlyard.web.errors.problems import Problem
from crawlyard.web.exporting import exported
from crawlyard.web.filters.filtering import PageFilter
from crawlyard.web.rates import Bucket
from crawlyard.web.routes import Route

router = APIRouter(prefix="/jobs/{job_id}", tags=["results"], route_class=Route)

MEDIA_TYPES = {
    Format.JSONL: "application/jsonl",
    Format.CSV: "text/csv",
    Format.PARQUET: "application/vnd.apache.parquet",
    Format.WARC: "application/warc",
}

_TEXT = {"type": "string"}
_BINARY = _TEXT | {"format": "binary"}
_ASKED = {
    "application/jsonl": Format.JSONL,
    "application/x-ndjson": Format.JSONL,
    "text/csv": Format.CSV,
    "text/*": Format.CSV,
    "application/vnd.apache.parquet": Format.PARQUET,
    "application/warc": Format.WARC,
    "application/*": Format.JSONL,
    "*/*": Format.JSONL,
}


def stream_of(*forms: Format) -> Responses:
    """Return what the document says of an answer in one of *forms*."""
    content = {MEDIA_TYPES[form]: {"schema": _TEXT if form.is_text else _BINARY} for form in forms}
    return {200: {"description": "The pages", "content": content}}


Wish = Annotated[
    Format | None, Query(alias="format", description="Else as `Accept` says, else `jsonl`.")
]


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses=problems(401, 403, 404, 406, 422, 429) | stream_of(*Format),
)
async def export(
    job_id: str,
    actor: ReadsResults,
    site: SiteOf,
    request: Request,
    asked: PageFilter,
    wish: Wish = None,
) -> StreamingResponse:
    """Stream the pages of a job as JSON Lines, CSV, Parquet or WARC; also while it runs.

    The filters are those of the list of pages. WARC has what was kept of HTML.
    """
    count(request, site, (await proved(request, site)).credential.id, Bucket.EXPORT)
    form = wish or accepted(request.headers.get("accept", ""))
    job = (await site.yard.jobs.get(actor, job_id)).job
    name = file_name(job.spec.name, job.id, form)
    return StreamingResponse(
        exported(site.yard.results, actor, job, asked, form),
        media_type=MEDIA_TYPES[form],
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def accepted(accept: str, forms: Collection[Format] = tuple(Format)) -> Format:
    """Return the first format of *forms* that a header `Accept` names.

    Raises:
        Problem: it names none of them.
    """
    named = [word.partition(";")[0].strip().lower() for word in accept.split(",") if word.strip()]
    for word in named:
        if _ASKED.get(word) in forms:
            return _ASKED[word]
    if named:
        known = ", ".join(MEDIA_TYPES[form] for form in forms)
        raise Problem("not_acceptable", f"expected one of {known}")
    return Format.JSONL
