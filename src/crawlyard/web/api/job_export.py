"""A job's pages as one stream."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from crawlyard.core.user import Actor
from crawlyard.export.base import Format, Record, chunks, file_name
from crawlyard.export.plan import Plan
from crawlyard.services.readable import readable
from crawlyard.store.base import PageQuery
from crawlyard.web.asking import ReadsResults, SiteOf, count, proved
from crawlyard.web.documenting import Responses, problems
from crawlyard.web.filtering import PageFilter
from crawlyard.web.problems import Problem
from crawlyard.web.rates import Bucket
from crawlyard.web.routes import Route
from crawlyard.web.site import Site
from crawlyard.web.wire.jobs import PageOut

router = APIRouter(prefix="/jobs/{job_id}", tags=["results"], route_class=Route)

MEDIA_TYPES = {Format.JSONL: "application/jsonl", Format.CSV: "text/csv"}

_ASKED = {
    "application/jsonl": Format.JSONL,
    "application/x-ndjson": Format.JSONL,
    "text/csv": Format.CSV,
    "text/*": Format.CSV,
    "application/*": Format.JSONL,
    "*/*": Format.JSONL,
}
STREAM: Responses = {
    200: {
        "description": "The pages, one a line",
        "content": {kind: {"schema": {"type": "string"}} for kind in MEDIA_TYPES.values()},
    }
}

Wish = Annotated[
    Format | None, Query(alias="format", description="Else as `Accept` says, else `jsonl`.")
]


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses=problems(401, 403, 404, 406, 422, 429) | STREAM,
)
async def export(
    job_id: str,
    actor: ReadsResults,
    site: SiteOf,
    request: Request,
    asked: PageFilter,
    wish: Wish = None,
) -> StreamingResponse:
    """Stream the pages of a job as JSON Lines or CSV; also while it runs.

    The filters are those of the list of pages.
    """
    count(request, site, (await proved(request, site)).credential.id, Bucket.EXPORT)
    form = wish or accepted(request.headers.get("accept", ""))
    job = (await site.yard.jobs.get(actor, job_id)).job
    plan = Plan(
        format=form,
        text=job.spec.text,
        html=job.spec.keep_html,
        extracted=tuple(name for name, _ in job.spec.extract),
    )
    records = _records(site, actor, job_id, asked, plan)
    name = file_name(job.spec.name, job.id, form)
    return StreamingResponse(
        chunks(records, plan.writer()),
        media_type=MEDIA_TYPES[form],
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


async def _records(
    site: Site, actor: Actor, job_id: str, asked: PageQuery, plan: Plan
) -> AsyncGenerator[Record]:
    async with aclosing(site.yard.results.records(actor, job_id, asked, plan.kept)) as found:
        async for stored, bodies in found:
            page = PageOut.of(stored.page, **readable(bodies))
            yield page.model_dump(mode="json", exclude=set(plan.left_out))


def accepted(accept: str) -> Format:
    """Return the first format that a header `Accept` names.

    Raises:
        Problem: it names none that there is.
    """
    named = [word.partition(";")[0].strip().lower() for word in accept.split(",") if word.strip()]
    for word in named:
        if word in _ASKED:
            return _ASKED[word]
    if named:
        raise Problem("not_acceptable", f"expected one of {', '.join(MEDIA_TYPES.values())}")
    return Format.JSONL
