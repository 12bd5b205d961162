"""Jobs, found and counted."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from msgspec.structs import replace

from crawlyard.store.queries import COUNTED_TO, JobQuery
from crawlyard.web.asking import ReadsJobs, SiteOf
from crawlyard.web.documenting import problems
from crawlyard.web.filters.filtering import JobFilter
from crawlyard.web.job_shapes import jobs_out
from crawlyard.web.paging import Pages
from crawlyard.web.routes import Route
from crawlyard.web.wire.jobs.job_looks import CountsOut
from crawlyard.web.wire.jobs.jobs import JobOut
from crawlyard.web.wire.lists import ListOut

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=Route)

Sort = Annotated[
    Literal["-created_at", "created_at"], Query(description="Newest first, or oldest first.")
]

Count = Annotated[
    Literal["exact", "estimate"] | None,
    Query(
        description="Adds `total`: how many there are in all. An `estimate` counts to "
        f"{COUNTED_TO:,} and no further: a total of {COUNTED_TO:,} means that many or more."
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
    if count is not None:
        most = COUNTED_TO if count == "estimate" else None
        total = sum((await site.yard.jobs.counts(actor, every, most)).values())
        total = min(most or total, total)
    shown = {job.id: job for job in await jobs_out(site, found[: pages.limit])}
    return pages.page(
        found,
        lambda one: shown[one.job.id],
        lambda one: [one.job.id],
        total,
    )


@router.get("/counts", responses=problems(401, 403, 422))
async def counts(actor: ReadsJobs, site: SiteOf, where: JobFilter) -> CountsOut:
    """Count jobs by state and by priority; the filters are those of the list.

    Counts by owner, state and priority alone are exact. By anything else, a count stops at
    10,000: such a total means that many or more, in each state and priority as well.
    `GET /jobs?count=exact` counts all.
    """
    query = JobQuery(where=where)
    most = query.counted_to
    return CountsOut.of(await site.yard.jobs.counts(actor, query, most), most)
