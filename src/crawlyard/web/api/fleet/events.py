"""What has happened, and what happens."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Header, Query
from msgspec.structs import replace

from crawlyard.core.access.credential import Caller
from crawlyard.core.answers.jobs.jobs import EventOut
from crawlyard.core.answers.lists import ListOut
from crawlyard.core.event import EventName
from crawlyard.core.stream_topic import Topic, names_of, topics_for
from crawlyard.errors import Forbidden, Invalid
from crawlyard.services.fleet.events import named
from crawlyard.store.queries import EventQuery
from crawlyard.web.asking import Anybody, FollowsJobs, SiteOf
from crawlyard.web.documenting import problems
from crawlyard.web.filters.filtering import Values
from crawlyard.web.live.answer import EventStream, latest, streamed
from crawlyard.web.live.begin import BEGINS_STREAM
from crawlyard.web.live.stream import Wish
from crawlyard.web.paging import Pages
from crawlyard.web.routes import Route
from crawlyard.web.site import Site
from crawlyard.web.wire.schedules.schedule_asks import AskedInstant

router = APIRouter(tags=["events"], route_class=Route)

_MOST_SEQ = 2**63 - 1
_STREAM = streamed("Server-sent events: `hello`, then what happens, and `ping`")

After = Annotated[
    int | None, Query(ge=0, le=_MOST_SEQ, description="The last that you have: `X-Event-Seq`.")
]
Above = Annotated[int, Query(ge=0, le=_MOST_SEQ, description="Only those above this `seq`.")]
LastId = Annotated[
    int | None,
    Header(alias="Last-Event-ID", ge=0, le=_MOST_SEQ, description="The same, from a browser."),
]


class Order(StrEnum):
    """Which events come first."""

    NEWEST = "-seq"
    OLDEST = "seq"


@router.get("/events", responses=problems(401, 403, 422), dependencies=[BEGINS_STREAM])
async def list_(
    caller: Anybody,
    site: SiteOf,
    pages: Pages,
    type_: Annotated[
        Values,
        Query(alias="type", max_length=100, description="Names and patterns, such as `job.*`."),
    ] = None,
    subject: Annotated[
        str | None, Query(max_length=64, description="The id of what they are about.")
    ] = None,
    job: Annotated[str | None, Query(max_length=64, description="The same, of a job.")] = None,
    since: Annotated[AskedInstant | None, Query(description="At or after.")] = None,
    actor: Annotated[str | None, Query(max_length=64, description="Who did it.")] = None,
    owner: Annotated[str | None, Query(max_length=64, description="`me`, or a user.")] = None,
    after: Above = 0,
    sort: Order = Order.NEWEST,
) -> ListOut[EventOut]:
    """List what has happened to what is yours, an admin's all, newest first."""
    if subject is not None and job not in (None, subject):
        raise Invalid("job", "expected it, or subject, not two that differ")
    names = names_of(topics_for(caller.permits, limited=_limited(caller)))
    if type_ or job is not None:
        names &= _named(type_ or ["job.*"], only_jobs=job is not None)
    owner = caller.user.id if owner == "me" else owner
    if owner is not None and not caller.actor.may_see(owner):
        names = frozenset()
    query = EventQuery(
        subject=subject or job,
        owner=owner,
        actor=caller.user.id if actor == "me" else actor,
        names=names,
        since=since,
    )
    least = after
    if sort is Order.NEWEST:
        before = int(pages.position[0]) if pages.position else None
        query = replace(query, newest_first=True, before=before)
    elif pages.position:
        least = int(pages.position[0])
    found = []
    if names:  # a query without any asks for all of them
        found = await site.yard.events.list(caller.actor, query, least, pages.more)
    return pages.page(found, EventOut.of, lambda event: [event.seq])


@router.get(
    "/events/stream",
    status_code=200,
    response_class=EventStream,
    responses=problems(401, 403, 404, 422, 429) | _STREAM,
)
async def stream(
    caller: Anybody,
    site: SiteOf,
    topics: Annotated[
        Values,
        Query(max_length=20, description=f"Some of {', '.join(Topic)}; else all you may hear."),
    ] = None,
    job: Annotated[str | None, Query(max_length=64, description="Of this job alone.")] = None,
    after: After = None,
    last_event_id: LastId = None,
) -> EventStream:
    """Follow what happens, as server-sent events.

    Each event of the log has its number as its id, so that whoever comes again with
    `Last-Event-ID` (or `after`) misses nothing and hears nothing twice; after too long,
    `resync` says that lists are to be read anew. Beside it come `jobs.progress`, `counts`
    and `workers`, which tell how things stand.
    """
    allowed = topics_for(caller.permits, limited=_limited(caller))
    wanted = _topics(topics) if topics else allowed
    if wanted - allowed:
        beyond = ", ".join(sorted(wanted - allowed))
        raise Forbidden(f"what you showed is not good for listening to {beyond}")
    return await _opened(site, caller, wanted, job, latest(after, last_event_id))


@router.get(
    "/jobs/{job_id}/events/stream",
    status_code=200,
    response_class=EventStream,
    responses=problems(401, 403, 404, 422, 429) | _STREAM,
)
async def stream_of_job(
    job_id: str,
    caller: FollowsJobs,
    site: SiteOf,
    after: After = None,
    last_event_id: LastId = None,
) -> EventStream:
    """Follow one job: its events, and its progress while it runs."""
    topics = frozenset({Topic.JOBS})
    return await _opened(site, caller, topics, job_id, latest(after, last_event_id))


async def _opened(
    site: Site, caller: Caller, topics: frozenset[Topic], job: str | None, after: int | None
) -> EventStream:
    if job is not None:
        topics &= {Topic.JOBS}
        if not topics:
            raise Invalid("job", "expected jobs among the topics")
        job = (await site.yard.jobs.get(caller.actor, job)).job.id
    opened = await site.live.open(caller, Wish(topics=topics, job=job, after=after))
    return EventStream(site.live, opened)


def _limited(caller: Caller) -> bool:
    return caller.credential.permits is not None


def _words(given: Sequence[str]) -> list[str]:
    """Return what was given repeatedly, or with commas between."""
    return [word for one in given for part in one.split(",") if (word := part.strip())]


def _topics(given: Sequence[str]) -> frozenset[Topic]:
    words = _words(given)
    unknown = [word for word in words if word not in set(Topic)]
    if unknown or not words:
        raise Invalid("topics", f"expected some of {', '.join(Topic)}, got {unknown!r}"[:300])
    return frozenset(Topic(word) for word in words)


def _named(given: Sequence[str], *, only_jobs: bool) -> frozenset[EventName]:
    try:
        names = named(_words(given))
    except Invalid as error:
        raise Invalid("type", str(error).partition(": ")[2]) from None
    return frozenset(name for name in names if name.kind == "job" or not only_jobs)
