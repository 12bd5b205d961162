"""Single pages, and the URLs of a site: requests that wait for their job."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from crawlyard.api.near import NearSurface
from crawlyard.bridges.bridge import surface_of
from crawlyard.bridges.firecrawl.changes import digest_of
from crawlyard.bridges.firecrawl.documents import document_of
from crawlyard.bridges.firecrawl.jobs import body_of, create_job
from crawlyard.bridges.firecrawl.options import (
    CHANGES,
    MAP,
    SCRAPE,
    Form,
    form_of,
    formats_in,
    scrape_form,
    url_of,
)
from crawlyard.clock import SystemClock
from crawlyard.core.crawl.page_answers import StoredPageOut
from crawlyard.core.jobs.answers import JobOut
from crawlyard.core.jobs.lifecycle import ENDED, StateReason

_WAIT_S = 30.0
_MOST_WAIT_S = 300.0
_RETRY_S = 5
_MAP_LIMIT = 5_000
_UNREAD = timedelta(minutes=10)
"""How long the document of a scrape that had timed out is returned instead of a new one."""

_ENDED = tuple(map(str, ENDED))

_CODES = {"dns": "SCRAPE_DNS_RESOLUTION_ERROR", "tls": "SCRAPE_SSL_ERROR"}


async def scrape(request: Request) -> Response:
    """Return one page; a repeated request continues the scrape that is in progress."""
    options = await body_of(request)
    url, yard = url_of(options), surface_of(request)
    wait_s, max_age_ms = options.get("timeout") or _WAIT_S * 1000, options.get("maxAge") or 0
    form: Form = {
        "urls": [url],
        "scope": "any",
        "max_depth": 0,
        "limits": {"pages": 1},
        **scrape_form(options, SCRAPE),
    }
    wait_s = min(wait_s / 1000, _MOST_WAIT_S)
    tag = f"scrape:{await digest_of(yard, form)}"
    max_age_s = 0 if CHANGES in formats_in(form["tags"]) else max_age_ms / 1000
    earlier = await _earlier(yard, tag, wait_s, max_age_s)
    job = earlier or await create_job(yard, {**form, "tags": [tag, *form["tags"]]})
    if job.state not in ENDED:
        job = await yard.jobs.wait(job.id, timeout_s=wait_s, states=_ENDED, without_worker=True)
    if job.state not in ENDED:
        return _timeout(job)
    pages = await yard.results.pages(job.id, include=("text",), limit=1)
    page = pages.items[0] if pages.items else None
    if page is None or page.status is None:
        return _failure(job, page)
    document = await document_of(yard, job.id, page, formats_in(job.spec.tags))
    if earlier is not None:
        document["metadata"] |= {"cacheState": "hit", "cachedAt": page.fetched_at.isoformat()}
    return JSONResponse({"success": True, "data": document})


async def _earlier(yard: NearSurface, tag: str, wait_s: float, max_age_s: float) -> JobOut | None:
    """Return the last scrape of the user with this *tag* if it answers the request."""
    jobs = (await yard.jobs.list(tag=tag, owner="me", limit=1)).items
    if not jobs or jobs[0].state not in ENDED:
        return jobs[0] if jobs else None
    job, now = jobs[0], SystemClock().now()
    if job.state != "completed" or job.ended_at is None:
        return None
    timed_out = job.ended_at - job.created_at > timedelta(seconds=wait_s)
    is_unread = timed_out and now - job.ended_at < _UNREAD
    is_fresh = now - job.created_at < timedelta(seconds=max_age_s)
    return job if is_unread or (is_fresh and await _is_public(yard, job)) else None


async def _is_public(yard: NearSurface, job: JobOut) -> bool:
    """Return whether the page of a scrape was requested without credentials.

    Headers count as such, and so do cookies, also those that the site has set meanwhile.
    """
    pages = (await yard.results.pages(job.id, limit=1)).items
    return not job.spec.headers and not any(page.session for page in pages)


def _timeout(job: JobOut) -> Response:
    content = {
        "success": False,
        "code": "SCRAPE_TIMEOUT",
        "error": f"job {job.id} is still {job.state}; send the same request again",
        "details": {"state": "processing_continues", "retryAfterSeconds": _RETRY_S},
    }
    return JSONResponse(content, 408, {"Retry-After": str(_RETRY_S)})


def _failure(job: JobOut, page: StoredPageOut | None) -> Response:
    error = page.error if page is not None else None
    kind = str(error.kind) if error is not None else ""
    content = {
        "success": False,
        "code": _CODES.get(kind, "SCRAPE_FAILED"),
        "error": (error.detail if error is not None else "") or job.detail or job.outcome,
    }
    no_browser = job.state_reason == StateReason.NO_RENDERER
    return JSONResponse(content, 403 if error is None and not no_browser else 500)


async def map_site(request: Request) -> Response:
    """Return the URLs that a page links to, and those in the sitemaps of its host."""
    options = await body_of(request)
    url, yard = url_of(options), surface_of(request)
    form: dict[str, Any] = {
        "urls": [url],
        "sitemaps": ["robots"],
        "scope": "domain",
        "max_depth": 1,
        "limits": {"pages": 1},
        "text": "none",
        "tags": ["firecrawl:map"],
        **form_of(options, MAP),
    }
    limit = options.get("limit") or _MAP_LIMIT
    wait_s = min((options.get("timeout") or _WAIT_S * 1000) / 1000, _MOST_WAIT_S)
    job = await create_job(yard, form)
    job = await yard.jobs.wait(job.id, timeout_s=wait_s, states=_ENDED, without_worker=True)
    if job.state not in ENDED:
        await yard.jobs.cancel(job.id, "the map took too long")
        return JSONResponse({"success": False, "error": f"no map after {wait_s:g} s"}, 408)
    pages = (await yard.results.pages(job.id, limit=1)).items
    links = {page.url: {"title": page.title, "description": page.description} for page in pages}
    keeps_query, cursor = options.get("ignoreQueryParameters") is False, None
    while len(links) < limit:
        part = await yard.results.frontier(job.id, limit=200, cursor=cursor)
        for each in part.items:
            links.setdefault(each.url if keeps_query else _without_query(each.url), {})
        cursor = part.next_cursor
        if cursor is None:
            break
    listed = [{"url": link, **more} for link, more in list(links.items())[:limit]]
    return JSONResponse({"success": True, "links": listed})


def _without_query(url: str) -> str:
    return urlunsplit(urlsplit(url)._replace(query=""))
