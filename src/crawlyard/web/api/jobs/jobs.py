"""Jobs: submitted, found, changed, moved."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response

from crawlyard.core.access.user import Actor
from crawlyard.core.jobs.checkpoint import Shard, Standing
from crawlyard.errors import Invalid
from crawlyard.services.jobs.requests import JobRequest
from crawlyard.web.asking import ReadsJobs, SiteOf, WritesJobs
from crawlyard.web.documenting import NOT_MODIFIED, problems
from crawlyard.web.etags import expected_version
from crawlyard.web.expanding import JobExpansion, ties_of
from crawlyard.web.job_shapes import job_if_changed, job_out
from crawlyard.web.rehearsing import DryRun, told, would
from crawlyard.web.routes import Route
from crawlyard.web.site import Site
from crawlyard.web.wire.jobs.asks import RetryAsk, WhyAsk, job_schema
from crawlyard.web.wire.jobs.expanded import ExpandedJobOut
from crawlyard.web.wire.jobs.job_plan import JobPlanOut
from crawlyard.web.wire.jobs.jobs import JobOut

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=Route)

_NO_REASON = WhyAsk()
_AS_NEW = RetryAsk()
_BODY = {"requestBody": {"content": {"application/json": {"schema": job_schema()}}}}


@router.post(
    "",
    status_code=201,
    response_model=JobOut,
    responses=problems(401, 403, 404, 422, 429) | would(JobPlanOut),
    openapi_extra=_BODY,
)
async def create(
    body: Annotated[dict[str, Any], Body()],
    actor: WritesJobs,
    site: SiteOf,
    response: Response,
    *,
    dry_run: DryRun = False,
) -> JobOut | Response:
    """Submit a job: a spec of your own, or a template with parameters and what differs."""
    if dry_run:
        plan = await site.requests.plan(actor, request_of(body))
        new = Standing(job=plan.job, shard=Shard())
        waits = (await site.why.waits([new])).get(plan.job.id, ())
        return told(JobPlanOut.of(plan.job, waits, plan.form, plan.sources, plan.cut))
    job = await site.requests.submit(actor, request_of(body))
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    return await _out(site, actor, job.id, response)


@router.get(
    "/{job_id}",
    response_model=JobOut | ExpandedJobOut,
    responses=problems(401, 403, 404, 422) | NOT_MODIFIED,
)
async def get(
    job_id: str,
    actor: ReadsJobs,
    site: SiteOf,
    expand: JobExpansion,
    request: Request,
    response: Response,
) -> JobOut | Response:
    """Return a job, and how far it has come."""
    standing = await site.yard.jobs.get(actor, job_id)
    ties = await ties_of(site, actor, standing.job, expand)
    return await job_if_changed(site, standing, request, response, ties)


@router.post("/{job_id}/pause", status_code=202, responses=problems(401, 403, 404, 409, 412, 422))
async def pause(
    job_id: str,
    actor: WritesJobs,
    site: SiteOf,
    request: Request,
    response: Response,
    ask: WhyAsk = _NO_REASON,
) -> JobOut:
    """Hold a job: what is in flight is finished, its frontier is kept."""
    before = await site.yard.jobs.get(actor, job_id)
    version = expected_version(request, before.job.version)
    job = await site.yard.jobs.pause(actor, job_id, ask.reason, version=version)
    return await _moved(site, actor, before, job.version, response)


@router.post("/{job_id}/cancel", status_code=202, responses=problems(401, 403, 404, 409, 412, 422))
async def cancel(
    job_id: str,
    actor: WritesJobs,
    site: SiteOf,
    request: Request,
    response: Response,
    ask: WhyAsk = _NO_REASON,
) -> JobOut:
    """End a job; its pages are kept."""
    before = await site.yard.jobs.get(actor, job_id)
    version = expected_version(request, before.job.version)
    job = await site.yard.jobs.cancel(actor, job_id, ask.reason, version=version)
    return await _moved(site, actor, before, job.version, response)


@router.post("/{job_id}/resume", status_code=202, responses=problems(401, 403, 404, 409, 412))
async def resume(
    job_id: str, actor: WritesJobs, site: SiteOf, request: Request, response: Response
) -> JobOut:
    """Queue a paused job again, or an ended one that has something left; nothing is refetched."""
    before = await site.yard.jobs.get(actor, job_id)
    version = expected_version(request, before.job.version)
    await site.yard.jobs.resume(actor, job_id, version=version)
    return await _out(site, actor, job_id, response)


@router.post(
    "/{job_id}/retry", status_code=202, responses=problems(401, 403, 404, 409, 412, 422, 429)
)
async def retry(
    job_id: str,
    actor: WritesJobs,
    site: SiteOf,
    request: Request,
    response: Response,
    ask: RetryAsk = _AS_NEW,
) -> JobOut:
    """Try a job again: as a new one, or the same with its failed URLs, or now."""
    before = await site.yard.jobs.get(actor, job_id)
    version = expected_version(request, before.job.version)
    if ask.scope == "failed":
        await site.yard.jobs.retry_failed(actor, job_id, ask.kinds, version=version)
        return await _out(site, actor, job_id, response)
    if ask.scope == "now":
        job = await site.yard.jobs.retry_now(actor, job_id, version=version)
        return await _moved(site, actor, before, job.version, response)
    job = await site.yard.jobs.retry(actor, job_id, version=version)
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    return await _out(site, actor, job.id, response)


def request_of(body: Mapping[str, Any]) -> JobRequest:
    """Return what the body of a request for a job says.

    Raises:
        Invalid: one of the fields that are not the form's is not what is expected.
    """
    rest = dict(body)
    template, version = rest.pop("template", None), rest.pop("template_version", None)
    params, start = rest.pop("params", None), rest.pop("start_at", None)
    params = {} if params is None else params
    if template is not None and not isinstance(template, str):
        raise Invalid("template", "expected a template's id or name")
    if version is not None and (not isinstance(version, int) or isinstance(version, bool)):
        raise Invalid("template_version", f"expected a whole number, got {version!r}")
    if not isinstance(params, Mapping):
        raise Invalid("params", "expected an object of names and values")
    return JobRequest(
        form=rest,
        template=template,
        template_version=version,
        params=params,
        start_at=None if start is None else instant_of("start_at", start),
    )


def instant_of(field: str, value: object) -> datetime:
    """Return an instant as RFC 3339 writes it.

    Raises:
        Invalid: it is none, or has no offset.
    """
    expected = "expected an instant such as 2027-01-01T08:00:00Z"
    try:
        instant = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise Invalid(field, f"{expected}, got {value!r}"[:200])
    return instant


async def _out(site: Site, actor: Actor, job_id: str, response: Response) -> JobOut:
    standing = await site.yard.jobs.get(actor, job_id)
    return await job_out(site, standing, response)


async def _moved(
    site: Site, actor: Actor, before: Standing, version: int, response: Response
) -> JobOut:
    if version == before.job.version:
        response.status_code = 200  # it was so already
    return await _out(site, actor, before.job.id, response)
