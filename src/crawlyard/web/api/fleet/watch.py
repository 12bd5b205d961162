"""What jobs say while they run, and the figures of the yard."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from crawlyard.core.jobs.job_log import Level
from crawlyard.services.jobs.job_looks import LevelWord
from crawlyard.web import gauges
from crawlyard.web.asking import (
    FollowsJobs,
    IsAdmin,
    SiteOf,
)
from crawlyard.web.documenting import problems
from crawlyard.web.live.answer import EventStream, latest, streamed
from crawlyard.web.live.stream import LogWish, Wish
from crawlyard.web.routes import Route

router = APIRouter(route_class=Route)

_MOST_LINE = 2**31 - 1
_STREAM = streamed("Server-sent events: `hello`, then `job.log` and `ping`, at last `end`")


AtLeast = Annotated[LevelWord, Query(description="At least this.")]
After = Annotated[int, Query(ge=0, le=_MOST_LINE, description="Lines above this *n*.")]
LastId = Annotated[
    int | None,
    Header(alias="Last-Event-ID", ge=0, le=_MOST_LINE, description="The same, from a browser."),
]


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
