"""Workers: who runs jobs, and what is wanted of each."""

from fastapi import APIRouter, Response

from crawlyard.core.answers.fleet.watch import WorkerOut
from crawlyard.core.answers.lists import ListOut
from crawlyard.core.overview.worker_status import WorkerReport
from crawlyard.web.asking import ReadsWorkers, SiteOf, WritesWorkers
from crawlyard.web.documenting import problems
from crawlyard.web.live.begin import BEGINS_STREAM
from crawlyard.web.paging import whole
from crawlyard.web.routes import Route
from crawlyard.web.site import Site

router = APIRouter(prefix="/workers", tags=["workers"], route_class=Route)

_DONE = problems(401, 403, 404, 409)


@router.get("", name="list", responses=problems(401, 403), dependencies=[BEGINS_STREAM])
async def workers(actor: ReadsWorkers, site: SiteOf) -> ListOut[WorkerOut]:
    """List the workers, gone ones for a day as well."""
    return whole([_out(site, report) for report in await site.watching.workers(actor)])


@router.get("/{worker_id}", name="get", responses=problems(401, 403, 404))
async def worker(worker_id: str, actor: ReadsWorkers, site: SiteOf) -> WorkerOut:
    """Return a worker."""
    return _out(site, await site.watching.worker(actor, worker_id))


@router.delete("/{worker_id}", status_code=204, responses=problems(401, 403, 404, 409))
async def forget(worker_id: str, actor: WritesWorkers, site: SiteOf) -> Response:
    """Forget a worker that is gone."""
    await site.watching.forget(actor, worker_id)
    return Response(status_code=204)


@router.post("/{worker_id}/quiet", status_code=202, responses=_DONE)
async def quiet(
    worker_id: str, actor: WritesWorkers, site: SiteOf, response: Response
) -> WorkerOut:
    """Let a worker claim no more jobs, and go on with those it has."""
    before = await site.watching.worker(actor, worker_id)
    return _wanted(site, before, await site.fleet.quiet(actor, worker_id), response)


@router.post("/{worker_id}/resume", status_code=202, responses=_DONE)
async def resume(
    worker_id: str, actor: WritesWorkers, site: SiteOf, response: Response
) -> WorkerOut:
    """Let a quiet worker claim jobs again."""
    before = await site.watching.worker(actor, worker_id)
    return _wanted(site, before, await site.fleet.resume(actor, worker_id), response)


@router.post("/{worker_id}/stop", status_code=202, responses=_DONE)
async def stop(worker_id: str, actor: WritesWorkers, site: SiteOf, response: Response) -> WorkerOut:
    """Let a worker give its jobs back and end; others go on with them where they stand."""
    before = await site.watching.worker(actor, worker_id)
    return _wanted(site, before, await site.fleet.stop(actor, worker_id), response)


def _wanted(site: Site, before: WorkerReport, after: WorkerReport, response: Response) -> WorkerOut:
    if before.wish is after.wish:
        response.status_code = 200
    return _out(site, after)


def _out(site: Site, report: WorkerReport) -> WorkerOut:
    return WorkerOut.of(report, alive=site.watching.is_alive(report))
