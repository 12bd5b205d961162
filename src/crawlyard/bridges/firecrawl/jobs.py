"""Crawls and batches: start, status, errors, cancel."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from msgspec import DecodeError
from msgspec.json import decode
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response

from crawlyard.api.near import NearSurface
from crawlyard.bridges.bridge import surface_of
from crawlyard.bridges.firecrawl.changes import series_tag
from crawlyard.bridges.firecrawl.documents import documents_of
from crawlyard.bridges.firecrawl.options import (
    BATCH,
    CHANGES,
    Form,
    crawl_form,
    formats_in,
    scrape_form,
)
from crawlyard.bridges.firecrawl.webhooks import webhooks_of
from crawlyard.core.endpoints.endpoint import Slice
from crawlyard.core.jobs.answers import JobOut
from crawlyard.core.jobs.lifecycle import ENDED, State
from crawlyard.core.webhooks.webhook import MessageFormat
from crawlyard.errors import Forbidden, IllegalMove, Invalid, NotFound, NotPublic

_CRAWL, _BATCH = "firecrawl:crawl", "firecrawl:batch"
_PORTION = 200
_MOST_PORTIONS = 500
"""Of the errors of a job that are read for one answer."""

T = TypeVar("T")

_STATUS = {State.COMPLETED: "completed", State.FAILED: "failed", State.CANCELLED: "cancelled"}


async def body_of(request: Request) -> dict[str, Any]:
    """Return the options of a request.

    Raises:
        Invalid: they are not a JSON object.
    """
    try:
        body = decode(await request.body())
    except DecodeError as error:
        raise Invalid("body", f"expected JSON: {error}") from None
    if not isinstance(body, dict):
        raise Invalid("body", "expected an object")
    return body


async def create_job(yard: NearSurface, form: Form, key: str | None = None) -> JobOut:
    """Create a job; it may connect to its hosts if its owner may name addresses."""
    if CHANGES in formats_in(form["tags"]):
        form = form | {"tags": [*form["tags"], await series_tag(yard, form)]}
    return await save_form(lambda form: yard.jobs.create(form, idempotency_key=key), form)


async def save_form(save: Callable[[Form], Awaitable[T]], form: Form) -> T:
    """Call *save* with a form, which may connect to its hosts if their owner may name addresses.

    Raises:
        Invalid: the form is not valid, or has an address that its owner may not name.
    """
    try:
        return await save(form)
    except Invalid as error:
        first = error.map(_in_own_words)
        addresses = [each for each in error.faults if isinstance(each, NotPublic)]
        if not addresses and all(each.field != _RECEIVER for each in error.faults):
            raise first from None
    receivers = [webhook["url"] for webhook in form.get("webhooks", ())]
    hosts = {urlsplit(url).netloc.rpartition("@")[2] for url in [*form["urls"], *receivers]}
    try:
        return await save({**form, "allow_addresses": sorted(filter(None, hosts))})
    except Forbidden:
        raise first from None
    except Invalid as error:
        if any(fault.field.startswith("allow_addresses") for fault in error.faults):
            raise first from None
        raise error.map(_in_own_words) from None


_RECEIVER = "webhooks.0.url"
_FIELDS = {
    "urls": "url",
    _RECEIVER: "webhook.url",
    "webhooks.0.metadata": "webhook.metadata",
    "webhooks.0.headers": "webhook.headers",
    "include": "includePaths",
    "exclude": "excludePaths",
    "limits.pages": "limit",
    "max_depth": "maxDiscoveryDepth",
    "delay_s": "delay",
    "timeout_s": "timeout",
    "when": "schedule.cron",
    "zone": "schedule.timezone",
}
"""Options by the fields of a job and a schedule that they become."""

_GRANT = "allow it on the server: crawlyard settings grants --addresses"


def _in_own_words(fault: Invalid) -> Invalid:
    """Return *fault* with the name of the option, and with what an admin can do."""
    message = re.sub(r"(allow it with|http needs) allow_addresses=\S+", _GRANT, fault.message)
    return type(fault)(_FIELDS.get(fault.field, fault.field), message)


async def start_crawl(request: Request) -> Response:
    """Create the job of a crawl, and return its id at once."""
    options = await body_of(request)
    webhooks = webhooks_of(request, options, MessageFormat.FIRECRAWL_CRAWL)
    return await _start(request, crawl_form(options) | webhooks, _CRAWL)


async def start_batch(request: Request) -> Response:
    """Start the scrape of a list of URLs; those that are none are returned."""
    options = await body_of(request)
    webhooks = webhooks_of(request, options, MessageFormat.FIRECRAWL_BATCH)
    urls = options.pop("urls", None)
    if not isinstance(urls, list) or not urls:
        raise Invalid("urls", "expected a list of URLs")
    invalid = [url for url in urls if not _is_url(url)]
    if invalid and (options.get("ignoreInvalidURLs") is False or len(invalid) == len(urls)):
        raise Invalid("urls", f"expected http or https URLs, got {invalid[0]!r:.80}")
    form = {
        "urls": [url for url in urls if url not in invalid],
        "scope": "any",
        "max_depth": 0,
        **scrape_form(options, BATCH),
        **webhooks,
    }
    return await _start(request, form, _BATCH, {"invalidURLs": invalid})


def _is_url(url: object) -> bool:
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


async def _start(
    request: Request, form: Form, tag: str, more: Mapping[str, object] | None = None
) -> Response:
    headers = request.headers
    key = headers.get("x-idempotency-key") or headers.get("idempotency-key")
    job = await create_job(surface_of(request), {**form, "tags": [tag, *form["tags"]]}, key)
    url = f"{_own_url(request)}/{job.id}"
    return JSONResponse({"success": True, "id": job.id, "url": url, **(more or {})})


def _own_url(request: Request) -> str:
    """Return the URL of a request, on the host that was asked."""
    return f"{request.url.scheme}://{request.url.netloc}{request.url.path}"


async def job_of(connection: HTTPConnection) -> JobOut:
    """Return the job in the path of a request.

    Raises:
        NotFound: no job of that kind has the id.
    """
    tag = _CRAWL if connection.url.path.startswith("/v2/crawl/") else _BATCH
    job = await surface_of(connection).jobs.get(connection.path_params["job"])
    if tag not in job.spec.tags:
        raise NotFound(f"no {tag.partition(':')[2]} has the id {job.id}")
    return job


def status_of(job: JobOut) -> dict[str, Any]:
    """Return the status of a job, without documents."""
    ended = job.state in ENDED
    done, discovered = job.usage.pages, job.usage.discovered
    total = done if ended else max(done, min(discovered, job.spec.limits.pages or discovered))
    answer: dict[str, Any] = {
        "success": True,
        "status": _STATUS.get(State(job.state), "scraping"),
        "completed": done,
        "total": total,
        "creditsUsed": done,
        "expiresAt": None,
        "data": [],
    }
    if ended and job.state_reason.startswith("limit_"):
        answer["warning"] = job.outcome
    if job.state == State.FAILED:
        answer["error"] = job.detail or job.outcome
    return answer


async def status(request: Request) -> Response:
    """Return the status of a job, and its documents.

    While it runs, there are documents only from a cursor on: clients take a first answer with
    documents for the last one.
    """
    yard, job = surface_of(request), await job_of(request)
    ended, cursor = job.state in ENDED, request.query_params.get("skip")
    if cursor and not re.fullmatch("[0-9]{1,18}", cursor):
        raise Invalid("skip", f"expected that of `next`, got {cursor!r:.80}")
    answer = status_of(job)
    if ended or cursor is not None:
        answer["data"], after = await documents_of(
            yard, job.id, formats_in(job.spec.tags), cursor or None
        )
        if after is None and not ended:  # where documents will follow
            after = cursor_after(answer["data"], cursor)
        if after is not None:
            answer["next"] = f"{_own_url(request)}?skip={after}"
    return JSONResponse(answer)


def cursor_after(documents: Sequence[dict[str, Any]], cursor: str | None) -> str | None:
    """Return a cursor for what follows *documents*, which were read from *cursor* on."""
    return documents[-1]["metadata"]["scrapeId"].rpartition(":")[2] if documents else cursor


async def cancel(request: Request) -> Response:
    """Cancel a job that has not ended."""
    job = await job_of(request)
    if job.state in ENDED:
        raise IllegalMove(f"job {job.id} is {job.state}")
    await surface_of(request).jobs.cancel(job.id, "cancelled over Firecrawl's API")
    return JSONResponse({"success": True, "status": "cancelled"})


async def errors(request: Request) -> Response:
    """Return the URLs of a job that got no response, and those that robots.txt forbids."""
    yard, job = surface_of(request), await job_of(request)
    listed = [
        {
            "id": f"{job.id}:{page.id}",
            "timestamp": page.fetched_at.isoformat(),
            "url": page.url,
            "code": str(page.error.kind).upper(),
            "error": page.error.detail,
        }
        async for page in _each(partial(yard.results.pages, job.id, failed=True))
        if page.error is not None and page.status is None
    ]
    skipped = _each(partial(yard.results.skipped, job.id, rule=("robots",)))
    return JSONResponse({"errors": listed, "robotsBlocked": [each.url async for each in skipped]})


async def _each(list_portion: Callable[..., Awaitable[Slice[T]]]) -> AsyncIterator[T]:
    """Yield the items of a list, portion by portion."""
    cursor = None
    for _ in range(_MOST_PORTIONS):
        portion = await list_portion(limit=_PORTION, cursor=cursor)
        for item in portion.items:
            yield item
        cursor = portion.next_cursor
        if cursor is None:
            break


async def active(request: Request) -> Response:
    """List the crawls of the user that have not ended."""
    states = (State.PENDING, State.RUNNING, State.PAUSED)
    jobs = await surface_of(request).jobs.list(
        state=tuple(map(str, states)), tag=_CRAWL, owner="me", limit=200
    )
    crawls = [{"id": job.id, "teamId": job.owner, "url": job.url} for job in jobs.items]
    return JSONResponse({"success": True, "crawls": crawls})
