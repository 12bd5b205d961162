"""Endpoints whose answers do not end by themselves: server-sent events."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from crawlyard.core.endpoint import Endpoint
from crawlyard.core.jobs.job_log import Level, LevelWord
from crawlyard.core.stream_topic import Topic
from crawlyard.services.fleet.event_feed import EventFeed
from crawlyard.services.jobs.jobs import Jobs
from crawlyard.web.asking import proved, site_of
from crawlyard.web.endpoints import ByHand, arguments
from crawlyard.web.live.answer import MEDIA_TYPE, EventStream
from crawlyard.web.live.stream import LogWish, Wish


async def _events(request: Request, one: Endpoint, feed: EventFeed) -> Response:
    given = await arguments(request, one)
    topics, job = await feed.audible(given.get("topics"), given.get("job"))
    return await _opened(request, Wish(topics=topics, job=job, after=_place(given)))


async def _events_of_job(request: Request, one: Endpoint, feed: EventFeed) -> Response:
    given = await arguments(request, one)
    topics, job = await feed.audible((Topic.JOBS,), given["job_id"])
    return await _opened(request, Wish(topics=topics, job=job, after=_place(given)))


async def _log(request: Request, one: Endpoint, _jobs: Jobs) -> Response:
    given = await arguments(request, one)
    actor = (await proved(request, site_of(request))).actor
    job = (await site_of(request).yard.jobs.get(actor, given["job_id"])).job
    least = Level[given.get("level", LevelWord.INFO).name]
    log = LogWish(job=job.id, least=least, after=_place(given) or 0)
    return await _opened(request, Wish(log=log))


def _place(given: Mapping[str, Any]) -> int | None:
    """Return where to go on: a browser that comes again repeats the URL of its first time."""
    last: int | None = given.get("last_event_id")
    return given.get("after") if last is None else last


async def _opened(request: Request, wish: Wish) -> Response:
    site = site_of(request)
    caller = await proved(request, site)
    return EventStream(site.live, await site.live.open(caller, wish))


STREAMS: Mapping[str, ByHand] = {
    "events_stream": _events,
    "events_stream_of_job": _events_of_job,
    "jobs_log_stream": _log,
}
"""By the names of their endpoints."""

STREAMED = {name: {MEDIA_TYPE: {"schema": {"type": "string"}}} for name in STREAMS}
"""The content of their answers, for the document."""
