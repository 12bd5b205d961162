"""Why a URL of a job was fetched, or was not, and how others are kept out."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from crawlyard.engine.urls import MAX_URL
from crawlyard.web.asking import ReadsJobs, SiteOf, WritesJobs
from crawlyard.web.documenting import problems
from crawlyard.web.etags import expected_version
from crawlyard.web.filters.filtering import of_parameter
from crawlyard.web.routes import Route
from crawlyard.web.wire.jobs.exclusions import ExclusionAsk, ExclusionOut
from crawlyard.web.wire.jobs.fate import FateOut

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=Route)

AskedURL = Annotated[
    str,
    Query(
        min_length=1,
        max_length=MAX_URL,
        description="An absolute http or https URL.",
        examples=["https://docs.example.org/a"],
    ),
]


@router.get("/{job_id}/why", responses=problems(401, 403, 404, 422))
async def why(job_id: str, url: AskedURL, actor: ReadsJobs, site: SiteOf) -> FateOut:
    """Say what became of a URL: fetched, failed, waiting, kept out by a rule, or never found."""
    with of_parameter("url"):
        return FateOut.of(await site.why.url(actor, job_id, url))


@router.post(
    "/{job_id}/exclusions",
    status_code=202,
    responses=problems(401, 403, 404, 409, 412, 422)
    | {200: {"model": ExclusionOut, "description": "Nothing was changed"}},
)
async def exclude(
    job_id: str,
    ask: ExclusionAsk,
    actor: WritesJobs,
    site: SiteOf,
    request: Request,
    response: Response,
) -> ExclusionOut:
    """Exclude URLs from a job that has not ended; return how many waiting ones will be skipped.

    A dry run only counts; it and a pattern that the job has already are answered with 200.
    """
    before = (await site.yard.jobs.get(actor, job_id)).job
    version = expected_version(request, before.version)
    excluded = await site.exclusions.add(
        actor, job_id, ask.pattern, dry_run=ask.dry_run, version=version
    )
    if not excluded.changed:
        response.status_code = 200
    return ExclusionOut.of(excluded, dry_run=ask.dry_run)
