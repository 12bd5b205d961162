"""Workers, hosts, and what jobs say while they run."""

from enum import StrEnum, auto
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from crawlyard.core.watch import Level
from crawlyard.web import gauges
from crawlyard.web.asking import (
    FollowsJobs,
    IsAdmin,
    ReadsJobs,
    ReadsWorkers,
    SiteOf,
    WritesWorkers,
)
from crawlyard.web.documenting import problems
from crawlyard.web.live.answer import EventStream, latest, streamed
from crawlyard.web.live.begin import BEGINS_STREAM
from crawlyard.web.live.stream import LogWish, Wish
from crawlyard.web.paging import Pages, whole
from crawlyard.web.routes import Route
from crawlyard.web.wire.lists import ListOut
from crawlyard.web.wire.watch import CourseOut, HostOut, LineOut, WorkerOut

router = APIRouter(route_class=Route)

_MOST_LINE = 2**31 - 1
_STREAM = streamed("Server-sent events: `hello`, then `job.log` and `ping`, at last `end`")


class LevelWord(StrEnum):
    """How much a line matters at least."""

    DEBUG = auto()
    INFO = auto()
    WARNING = auto()
    ERROR = auto()


AtLeast = Annotated[LevelWord, Query(description="At least this.")]
After = Annotated[int, Query(ge=0, le=_MOST_LINE, description="Lines above this *n*.")]
LastId = Annotated[
    int | None,
    Header(alias="Last-Event-ID", ge=0, le=_MOST_LINE, description="The same, from a browser."),
]


@router.get(
    "/workers",
    name="list",
    tags=["workers"],
    responses=problems(401, 403),
    dependencies=[BEGINS_STREAM],
)
async def workers(actor: ReadsWorkers, site: SiteOf) -> ListOut[WorkerOut]:
    """List the workers, gone ones for a day as well."""
    watching = site.watching
    found = await watching.workers(actor)
    return whole([WorkerOut.of(report, alive=watching.is_alive(report)) for report in found])


@router.get("/workers/{worker_id}", name="get", tags=["workers"], responses=problems(401, 403, 404))
async def worker(worker_id: str, actor: ReadsWorkers, site: SiteOf) -> WorkerOut:
    """Return a worker."""
    report = await site.watching.worker(actor, worker_id)
    return WorkerOut.of(report, alive=site.watching.is_alive(report))


@router.delete(
    "/workers/{worker_id}",
    status_code=204,
    tags=["workers"],
    responses=problems(401, 403, 404, 409),
)
async def forget(worker_id: str, actor: WritesWorkers, site: SiteOf) -> Response:
    """Forget a worker that is gone."""
    await site.watching.forget(actor, worker_id)
    return Response(status_code=204)


@router.get("/hosts", name="list", tags=["hosts"], responses=problems(401, 403))
async def hosts(actor: ReadsJobs, site: SiteOf) -> ListOut[HostOut]:
    """List the hosts that are asked now: how hard, for which jobs, and what they wait for."""
    return whole([HostOut.of(standing) for standing in await site.watching.hosts(actor)])


@router.get("/hosts/{host}", name="get", tags=["hosts"], responses=problems(401, 403, 404))
async def one_host(host: str, actor: ReadsJobs, site: SiteOf) -> HostOut:
    """Return what is done to one host."""
    return HostOut.of(await site.watching.host(actor, host))


@router.get("/jobs/{job_id}/log", tags=["jobs"], responses=problems(401, 403, 404, 422))
async def log(
    job_id: str,
    actor: ReadsJobs,
    site: SiteOf,
    pages: Pages,
    level: AtLeast = LevelWord.INFO,
    q: Annotated[str, Query(max_length=200, description="A part of message or URL.")] = "",
    after: After = 0,
) -> ListOut[LineOut]:
    """List lines of a job's log, the oldest first; the newest 2,000 are kept."""
    begin = int(pages.position[0]) if pages.position else after
    least = Level[level.name]
    found = await site.watching.lines(
        actor, job_id, least=least, after=begin, text=q, limit=pages.more
    )
    return pages.page(found, LineOut.of, lambda line: [line.n])


@router.get(
    "/jobs/{job_id}/log/stream",
    status_code=200,
    tags=["jobs"],
    response_class=EventStream,
    responses=problems(401, 403, 404, 422, 429) | _STREAM,
)
async def log_stream(
    job_id: str,
    caller: FollowsJobs,
    site: SiteOf,
    level: AtLeast = LevelWord.INFO,
    after: After = 0,
    last_event_id: LastId = None,
) -> EventStream:
    """Follow what a job says, as server-sent events, until it has ended.

    `job.log` brings up to 100 lines, and has the *n* of the last one as its id: whoever
    comes again with `Last-Event-ID` (or `after`) misses no line and hears none twice.
    After `resync`, lines that were missed are not kept any more. `end` says that the job
    has ended and all of its log was told: close the stream then, else a browser comes
    again.
    """
    job = (await site.yard.jobs.get(caller.actor, job_id)).job
    begin = latest(after, last_event_id) or 0
    wish = LogWish(job=job.id, least=Level[level.name], after=begin)
    return EventStream(site.live, await site.live.open(caller, Wish(log=wish)))


@router.get("/jobs/{job_id}/metrics", tags=["jobs"], responses=problems(401, 403, 404))
async def metrics(job_id: str, actor: ReadsJobs, site: SiteOf) -> CourseOut:
    """Return how a job went: rate, answers by class, latency, bytes and queue over time."""
    return CourseOut.of(await site.watching.course(actor, job_id))


root = APIRouter(route_class=Route)


@root.get(
    "/metrics",
    name="metrics",
    tags=["monitoring"],
    response_class=Response,
    responses=problems(401, 403) | {200: {"content": {gauges.MEDIA_TYPE: {}}}},
)
async def exposition(actor: IsAdmin, site: SiteOf) -> Response:
    """Return the figures of the yard as Prometheus reads them; for a token of an admin."""
    figures = await site.gauging.figures(actor)
    return Response(gauges.exposed(figures), media_type=gauges.MEDIA_TYPE)
