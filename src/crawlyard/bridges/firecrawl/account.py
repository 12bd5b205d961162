"""Usage and quota of a user, in the words of Firecrawl's API."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from crawlyard.bridges.bridge import surface_of

UNLIMITED = 1_000_000_000
"""Pages or jobs of a user without a quota: clients expect a number."""


async def _credits(request: Request) -> Response:
    """Answer with the pages of the user's quota: a page is a credit."""
    yard = surface_of(request)
    quota = (await yard.account.me()).user.quota.pages_per_day
    days = (await yard.stats.get(owner="me")).days
    used = days[-1].pages if days else 0
    plan = UNLIMITED if quota is None else quota
    return _data({"remainingCredits": max(0, plan - used), "planCredits": plan})


async def _queue(request: Request) -> Response:
    active, waiting, most = await _jobs(request)
    fields = {"jobsInQueue": active + waiting, "activeJobsInQueue": active}
    fields |= {"waitingJobsInQueue": waiting, "maxConcurrency": most}
    return JSONResponse({"success": True, **fields})


async def _concurrency(request: Request) -> Response:
    active, _, most = await _jobs(request)
    return _data({"concurrency": active, "maxConcurrency": most})


async def _jobs(request: Request) -> tuple[int, int, int]:
    """Return the user's running jobs, those that wait, and how many may run at once."""
    yard = surface_of(request)
    counts = []
    for state in ("running", "pending"):
        jobs = await yard.jobs.list(state=state, owner="me", limit=1, count="exact")
        counts.append(jobs.total or 0)
    most = (await yard.account.me()).user.quota.running
    return counts[0], counts[1], UNLIMITED if most is None else most


def _data(data: object) -> Response:
    return JSONResponse({"success": True, "data": data})


ROUTES = {
    ("GET", "/v2/team/credit-usage"): _credits,
    ("GET", "/v2/team/queue-status"): _queue,
    ("GET", "/v2/concurrency-check"): _concurrency,
}
"""Routes of the account, by method and path."""
