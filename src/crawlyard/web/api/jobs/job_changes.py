"""Jobs, changed and deleted."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response

from crawlyard.core.access.user import Actor
from crawlyard.core.jobs.edits import EDITABLE, changes_of
from crawlyard.core.jobs.spec_json import FIELDS
from crawlyard.web.asking import SiteOf, WritesJobs
from crawlyard.web.documenting import problems
from crawlyard.web.etags import expected_version
from crawlyard.web.job_shapes import job_out
from crawlyard.web.rehearsing import DryRun, told, would
from crawlyard.web.routes import Route
from crawlyard.web.site import Site
from crawlyard.web.wire.jobs.asks import form_schema
from crawlyard.web.wire.jobs.job_looks import DeletionOut
from crawlyard.web.wire.jobs.jobs import JobOut

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=Route)


def _schema() -> dict[str, Any]:
    """Return the JSON Schema of a change: the fields of the form that may change, or null."""
    form = form_schema()["properties"]
    names = {path.partition(".")[0] for path in FIELDS if path in EDITABLE}
    own = {name: form[name] for name in form if name in names}
    own["limits"] = own["limits"] | {"type": ["object", "null"]}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": own,
        "examples": [{"priority": "high", "limits": {"pages": 20_000}}],
    }


_BODY = {
    "requestBody": {
        "content": {
            kind: {"schema": _schema()}
            for kind in ("application/merge-patch+json", "application/json")
        },
        "required": True,
    }
}


@router.patch("/{job_id}", responses=problems(401, 403, 404, 409, 412, 422), openapi_extra=_BODY)
async def patch(
    job_id: str,
    body: Annotated[dict[str, Any], Body()],
    actor: WritesJobs,
    site: SiteOf,
    request: Request,
    response: Response,
) -> JobOut:
    """Change a job; a running one takes it up within a second.

    The body is a JSON Merge Patch (RFC 7396) of the form of a job: null is the default,
    which is no ceiling for limits.
    """
    changes = changes_of(body)
    version = await _expected(site, actor, job_id, request)
    await site.yard.jobs.edit(actor, job_id, changes, version)
    standing = await site.yard.jobs.get(actor, job_id)
    return await job_out(site, standing, response)


@router.delete(
    "/{job_id}",
    status_code=204,
    response_model=None,
    responses=problems(401, 403, 404, 409, 412) | would(DeletionOut),
)
async def delete(
    job_id: str, actor: WritesJobs, site: SiteOf, request: Request, *, dry_run: DryRun = False
) -> Response:
    """Delete a job that has ended, or is paused, with its pages; their space is freed later."""
    version = await _expected(site, actor, job_id, request)
    if dry_run:
        return told(DeletionOut.of(await site.yard.jobs.deletable(actor, job_id, version)))
    await site.yard.jobs.delete(actor, job_id, version)
    site.yard.janitor.wake()
    return Response(status_code=204)


async def _expected(site: Site, actor: Actor, job_id: str, request: Request) -> int | None:
    standing = await site.yard.jobs.get(actor, job_id)
    return expected_version(request, standing.job.version)
