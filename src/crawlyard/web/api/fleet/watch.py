"""What jobs say while they run, and the figures of the yard."""

from enum import StrEnum, auto
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from crawlyard.core.jobs.job_log import Level
from crawlyard.web import gauges
from crawlyard.web.asking import (
    FollowsJobs,
    IsAdmin,
    ReadsJobs,
    SiteOf,
)
from crawlyard.web.documenting import problems
from crawlyard.web.live.answer import EventStream, latest, streamed
from crawlyard.web.live.stream import LogWish, Wish
from crawlyard.web.paging import Pages
from crawlyard.web.routes import Route
from crawlyard.web.wire.fleet.watch import CourseOut, LineOut
from crawlyard.web.wire.lists import ListOut

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
