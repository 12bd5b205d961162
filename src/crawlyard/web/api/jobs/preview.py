"""What a job would do, before there is one."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Body

from crawlyard.engine.urls import MAX_URL
from crawlyard.errors import Invalid
from crawlyard.services.jobs.preview import MOST_TESTED
from crawlyard.web.api.jobs.jobs import request_of
from crawlyard.web.asking import SiteOf, WritesJobs
from crawlyard.web.documenting import problems
from crawlyard.web.preview_shapes import preview_out
from crawlyard.web.routes import Route
from crawlyard.web.wire.jobs.asks import job_schema
from crawlyard.web.wire.jobs.preview import PreviewOut

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=Route)

_TESTED: Mapping[str, Any] = {
    "type": "array",
    "items": {"type": "string", "maxLength": MAX_URL},
    "maxItems": MOST_TESTED,
    "description": "URLs of which to say whether they would be fetched, and by which rule not.",
}
_SCHEMA = job_schema()
_BODY = {
    "requestBody": {
        "content": {
            "application/json": {
                "schema": {
                    **_SCHEMA,
                    "properties": {**_SCHEMA["properties"], "test_urls": _TESTED},
                    "examples": [
                        {
                            "urls": ["https://docs.example.org/"],
                            "test_urls": ["https://docs.example.org/private/"],
                        }
                    ],
                }
            }
        }
    }
}


@router.post(
    "/preview",
    responses=problems(401, 403, 404, 422, 429),
    openapi_extra=_BODY,
)
async def preview(
    body: Annotated[dict[str, Any], Body()], actor: WritesJobs, site: SiteOf
) -> PreviewOut:
    """Say what a job would do: its settings, robots.txt, sitemaps, and which URLs are in.

    Takes ten seconds at most; no page is fetched, and nothing is written.
    """
    rest = dict(body)
    tested = rest.pop("test_urls", None)
    tested = [] if tested is None else tested
    if not isinstance(tested, list) or not all(isinstance(url, str) for url in tested):
        raise Invalid("test_urls", "expected a list of URLs")
    return preview_out(await site.preview.of(actor, request_of(rest), tested))
