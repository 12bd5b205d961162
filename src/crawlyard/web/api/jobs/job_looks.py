"""What there is to know about a job: its progress, settings, attempts, shards and events."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from crawlyard.core.jobs.filter import FilterKey, condition
from crawlyard.core.jobs.lifecycle import State
from crawlyard.services.jobs.reader import progress_of_standing
from crawlyard.services.jobs.wait import LONGEST
from crawlyard.web.asking import ReadsJobs, SiteOf
from crawlyard.web.documenting import NOT_MODIFIED, problems
from crawlyard.web.etags import tag_of, unchanged
from crawlyard.web.filters.filtering import Values, of_parameter, words
from crawlyard.web.job_shapes import job_out
from crawlyard.web.paging import Pages, whole
from crawlyard.web.routes import Route
from crawlyard.web.wire.jobs.job_looks import AttemptOut, ConfigOut, JobProgressOut, ShardOut
from crawlyard.web.wire.jobs.jobs import EventOut, JobOut
from crawlyard.web.wire.lists import ListOut

router = APIRouter(prefix="/jobs/{job_id}", tags=["jobs"], route_class=Route)

_LONGEST_S = LONGEST.total_seconds()

Timeout = Annotated[float, Query(ge=0, le=_LONGEST_S, description="Seconds, at most.")]
States = Annotated[
    Values, Query(max_length=20, description="Answer once it is in one of them, or has ended.")
]


@router.get(
    "/progress", response_model=JobProgressOut, responses=problems(401, 403, 404) | NOT_MODIFIED
)
async def progress(
    job_id: str, actor: ReadsJobs, site: SiteOf, request: Request, response: Response
) -> JobProgressOut | Response:
    """Return how far a job has come: small, and 304 while nothing has changed."""
    standing = await site.yard.jobs.get(actor, job_id)
    same = unchanged(request, response, tag_of(standing.job.version, standing.shard.seq))
    return same or JobProgressOut.now(standing, progress_of_standing(standing))


@router.get("/wait", responses=problems(401, 403, 404, 422))
async def wait(
    job_id: str,
    actor: ReadsJobs,
    site: SiteOf,
    request: Request,
    response: Response,
    timeout_s: Timeout = 30.0,
    states: States = None,
) -> JobOut:
    """Wait until a job has ended or its state has changed, and return it as it then is.

    After `timeout_s`, it is returned as it is.
    """
    with of_parameter("states"):
        asked = condition(FilterKey.STATE, words("states", states)).words
    standing = await site.waiting.until(
        actor,
        job_id,
        frozenset(State(word) for word in asked),
        timedelta(seconds=timeout_s),
        request.is_disconnected,
    )
    return await job_out(site, standing, response)


@router.get("/config", responses=problems(401, 403, 404))
async def config(job_id: str, actor: ReadsJobs, site: SiteOf) -> ConfigOut:
    """Return the settings of a job in force, where each comes from, and what its template says."""
    return ConfigOut.of(await site.configs.of(actor, job_id))


@router.get("/attempts", responses=problems(401, 403, 404))
async def attempts(job_id: str, actor: ReadsJobs, site: SiteOf) -> ListOut[AttemptOut]:
    """List each time that a worker had the job, the first in front."""
    found = await site.yard.results.attempts(actor, job_id)
    pages = (await site.yard.jobs.get(actor, job_id)).shard.usage.pages
    return whole(AttemptOut.listed(found, pages))


@router.get("/shards", responses=problems(401, 403, 404))
async def shards(job_id: str, actor: ReadsJobs, site: SiteOf) -> ListOut[ShardOut]:
    """List the parts that a job is spread over, by number; none if one worker has it all."""
    found = await site.yard.results.shards(actor, job_id)
    return whole([ShardOut.of(number, shard) for number, shard in found.items()])


@router.get("/events", responses=problems(401, 403, 404, 422))
async def events(job_id: str, actor: ReadsJobs, site: SiteOf, pages: Pages) -> ListOut[EventOut]:
    """List what has happened to a job, oldest first."""
    after = int(pages.position[0]) if pages.position else 0
    found = await site.yard.results.events(actor, job_id, after, pages.more)
    return pages.page(found, EventOut.of, lambda event: [event.seq])
