"""Many jobs submitted by one request."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter

from crawlyard.errors import Refused
from crawlyard.services.jobs.requests import JobRequest
from crawlyard.web.api.jobs.jobs import request_of
from crawlyard.web.asking import SiteOf, WritesJobs
from crawlyard.web.documenting import problems
from crawlyard.web.routes import Route
from crawlyard.web.wire.jobs.batch import BatchAsk, BatchOut

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=Route)


@router.post("/batch", responses=problems(401, 403, 422, 429))
async def batch(ask: BatchAsk, actor: WritesJobs, site: SiteOf) -> BatchOut:
    """Submit many jobs; each has an answer, and one that is refused harms no other."""
    requests = [_read(body) for body in ask.jobs]
    return BatchOut.of(await site.requests.submit_many(actor, requests))


def _read(body: Mapping[str, Any]) -> JobRequest | Refused:
    try:
        return request_of(body)
    except Refused as refusal:
        return refusal
