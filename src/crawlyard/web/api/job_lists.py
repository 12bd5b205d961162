"""Jobs, found and counted."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from msgspec.structs import replace

from crawlyard.store.base import JobQuery
from crawlyard.web.asking import ReadsJobs, SiteOf
from crawlyard.web.documenting import problems
from crawlyard.web.filtering import JobFilter
from crawlyard.web.job_shapes import jobs_out
from crawlyard.web.paging import Pages
from crawlyard.web.routes import Route
from crawlyard.web.wire.job_looks import CountsOut
from crawlyard.web.wire.jobs import JobOut
from crawlyard.web.wire.lists import ListOut

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=Route)

Sort = Annotated[
    Literal["-created_at", "created_at"], Query(description="Newest first, or oldest first.")
]
COUNTED_TO = 10_000
"""Jobs by an estimate of how many there are."""

Count = Annotated[
    Literal["exact", "estimate"] | None,
    Query(
        description="Adds `total`: how many there are in all. An `estimate` counts to "
        f"{COUNTED_TO:,} and no further."
    ),
]

IdPart = Annotated[
    str,
    Query(alias="id", max_length=64, description="A whole id, or what one begins or ends with."),
]


@router.get("", responses=problems(401, 403, 422))
async def list_(
    actor: ReadsJobs,
    site: SiteOf,
    pages: Pages,
    where: JobFilter,
    id_part: IdPart = "",
    sort: Sort = "-created_at",
    count: Count = None,
) -> ListOut[JobOut]:
    """List jobs, newest first unless asked otherwise.

    A walk along the cursor yields each job once, whatever is submitted meanwhile.
    """
    last = str(pages.position[0]) if pages.position else None
    oldest_first = sort == "created_at"
    every = JobQuery(where=where, id_part=id_part.lower(), oldest_first=oldest_first)
    query = replace(
        every,
        after=last if oldest_first else None,
        before=None if oldest_first else last,
    )
    pages.response.headers["X-Event-Seq"] = str(await site.yard.store.events.last())
    found = await site.yard.jobs.find(actor, query, pages.more)
    total = None
    if count == "exact":
        total = sum((await site.yard.jobs.counts(actor, every)).values())
    elif count == "estimate":
        total = await site.yard.jobs.count_to(actor, COUNTED_TO, every)
    shown = {job.id: job for job in await jobs_out(site, found[: pages.limit])}
    return pages.page(
        found,
        lambda one: shown[one.job.id],
        lambda one: [one.job.id],
        total,
    )


@router.get("/counts", responses=problems(401, 403, 422))
async def counts(actor: ReadsJobs, site: SiteOf, where: JobFilter) -> CountsOut:
    """Count jobs by state and by priority; the filters are those of the list."""
    return CountsOut.of(await site.yard.jobs.counts(actor, JobQuery(where=where)))
