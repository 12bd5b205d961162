"""The page of a share link: one job, without an account, as HTML that needs no script."""

from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from crawlyard.core.crawl.changes import ChangeKind
from crawlyard.core.crawl.page import RuleKind
from crawlyard.core.jobs.answers import first_url
from crawlyard.core.jobs.outcome import outcome_of
from crawlyard.core.jobs.progress import progress_of_standing
from crawlyard.core.quantity import count_noun, duration_text
from crawlyard.core.templates.secrets import hide_urls
from crawlyard.core.words import ERRORS, STATES, format_phrase
from crawlyard.errors import Forbidden, NotFound, Unauthenticated
from crawlyard.export.base import Format, file_name
from crawlyard.services.access.shares import SharedJob, find_shared
from crawlyard.services.results.exporting import export_pages, pages_of
from crawlyard.store.queries import ChangeQuery, PageQuery
from crawlyard.web.auth import address_of, count_request, site_of
from crawlyard.web.by_hand import MEDIA_TYPES, file_response
from crawlyard.web.pages import HEADERS, message_page, render, theme_of
from crawlyard.web.problems import Problem
from crawlyard.web.rates import Bucket
from crawlyard.web.routes import OneMethod

_ROWS = 100
_REFRESH_S = 5  # while the job is not over
_PRIVATE = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
}
_TABS = ("pages", "problems", "changes")
_DOWNLOADS = {"jsonl": Format.JSONL, "csv": Format.CSV}
_SEEN = frozenset(ChangeKind) - {ChangeKind.SAME, ChangeKind.NOISE, ChangeKind.UNKNOWN}


async def _show_job(request: Request) -> Response:
    """Show the job of a link: its state, and one of the tabs."""
    shared = await _find(request)
    count_request(request, site_of(request), shared.caller.credential.id, Bucket.READ)
    tab = request.query_params.get("tab", _TABS[0])
    if tab not in _TABS:
        raise NotFound("there is no such tab")
    lists: dict[str, Any] = {"rows": (), "next_page": "", "robots": 0}
    if not shared.hides_pages:
        lists |= await _READERS[tab](request, shared)
    html = render(
        "shared.html",
        **_facts(shared) | lists,
        **theme_of(request),
        tab=tab,
        tabs=_TABS,
        hides_pages=shared.hides_pages,
        downloads=tuple(_DOWNLOADS) if shared.downloads and not shared.hides_pages else (),
        path=request.url.path,
        refresh_s=0 if shared.job.state.ended else _REFRESH_S,
    )
    return HTMLResponse(html, headers=HEADERS | _PRIVATE)


async def _download(request: Request) -> Response:
    """Send the pages of the job as a file, without stored HTML."""
    shared = await _find(request)
    form = _DOWNLOADS.get(request.path_params["form"])
    if form is None or not shared.downloads or shared.hides_pages:
        raise NotFound("this link has no such file")
    count_request(request, site_of(request), shared.caller.credential.id, Bucket.EXPORT)
    job, store = shared.job, site_of(request).yard.store
    chunks = export_pages(pages_of(store, job, PageQuery()), form, html=False)
    response = file_response(chunks, MEDIA_TYPES[form], file_name(job.spec.name, job.id, form))
    response.headers.update(_PRIVATE)
    return response


async def _find(request: Request) -> SharedJob:
    """Return the job of a link; count each wrong token as an attempt to sign in.

    Raises:
        NotFound: the link shows nothing; the reason is not told.
        Problem: too many wrong tokens.
    """
    site = site_of(request)
    try:
        return await find_shared(site.yard.services, request.path_params["token"])
    except (Unauthenticated, Forbidden, NotFound):
        count_request(request, site, address_of(request), Bucket.LOGIN)
        raise NotFound("this link shows nothing") from None


def _facts(shared: SharedJob) -> dict[str, Any]:
    """Return what is shown of a job beside the tabs."""
    job, usage = shared.job, shared.standing.shard.usage
    progress = progress_of_standing(shared.standing)
    url = first_url(job)
    remaining_s = None if progress.eta is None else progress.eta.p50_s
    facts = {
        "Fetched": f"{progress.done:,} of {count_noun(progress.discovered, 'URL')}",
        "Pages": f"{progress.pages:,}",
        "Failed": f"{progress.failed:,}",
        "Running time": _length(progress.elapsed_s),
        "Time left": "" if remaining_s is None else f"about {_length(remaining_s)}",
        "Created": _time(job.created_at),
        "Started": _time(job.started_at),
        "Ended": _time(job.ended_at),
    }
    return {
        "title": str(hide_urls(job.spec.name)) or url,
        "url": url,
        "state": job.state.value,
        "state_words": STATES[job.state],
        "outcome": outcome_of(job, usage) if job.state.ended else "",
        "done": progress.done,
        "discovered": progress.discovered,
        "bytes": progress.bytes,
        "facts": {name: text for name, text in facts.items() if text},
        "expires": _time(shared.caller.credential.expires_at),
    }


async def _pages(request: Request, shared: SharedJob) -> dict[str, Any]:
    query = PageQuery(after=_after(request))
    pages = await site_of(request).yard.store.pages.pages(shared.job.id, query, _ROWS + 1)
    rows = [
        {
            "url": str(hide_urls(page.url)),
            "title": page.title,
            "status": ERRORS[page.error.kind] if page.error and not page.status else page.status,
            "bytes": page.bytes,
            "fetched": _time(page.fetched_at),
        }
        for page in (stored.page for stored in pages[:_ROWS])
    ]
    more = pages[_ROWS - 1].id if len(pages) > _ROWS else None
    return {"rows": rows, "next_page": _next("pages", more)}


async def _problems(request: Request, shared: SharedJob) -> dict[str, Any]:
    store = site_of(request).yard.store
    groups = await store.pages.errors(shared.job.id, by_status=True)
    skipped = await store.pages.count_skipped(shared.job.id)
    rows = [
        {
            "problem": f"{ERRORS[group.kind]}{f' ({group.status})' if group.status else ''}",
            "count": f"{group.count:,}",
            "samples": [str(hide_urls(url)) for url in group.samples],
        }
        for group in groups
    ]
    robots = sum(group.count for group in skipped if group.kind is RuleKind.ROBOTS)
    return {"rows": rows, "robots": robots}


async def _changes(request: Request, shared: SharedJob) -> dict[str, Any]:
    query = ChangeQuery(job_id=shared.job.id, kinds=_SEEN, after=_after(request))
    changes = await site_of(request).yard.store.changes.changes(query, _ROWS + 1)
    rows = [
        {
            "kind": format_phrase(change.kind),
            "url": str(hide_urls(change.url)),
            "moved_to": str(hide_urls(change.moved_to or "")),
        }
        for change in changes[:_ROWS]
    ]
    more = changes[_ROWS - 1].seq if len(changes) > _ROWS else None
    return {"rows": rows, "next_page": _next("changes", more)}


_READERS: Mapping[str, Callable[..., Coroutine[Any, Any, dict[str, Any]]]] = {
    "pages": _pages,
    "problems": _problems,
    "changes": _changes,
}


def _after(request: Request) -> int:
    text = request.query_params.get("after", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise NotFound("there is no such page of the list")
    return int(text)


def _next(tab: str, after: int | None) -> str:
    return "" if after is None else f"?{urlencode({'tab': tab, 'after': after})}"


def _time(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M} UTC"


def _length(seconds: float) -> str:
    return duration_text(timedelta(seconds=round(seconds)))


def _page(show: Callable[[Request], Coroutine[Any, Any, Response]]) -> Any:
    async def answer(request: Request) -> Response:
        try:
            return await show(request)
        except NotFound:
            detail = "This link does not exist, has expired, or was revoked."
            return message_page(request, 404, "Nothing here", detail, _PRIVATE)
        except Problem as problem:
            problem.headers = {**(problem.headers or {}), **_PRIVATE}
            raise

    return answer


ROUTES = (
    OneMethod("/shared/{token}", _page(_show_job), "GET"),
    OneMethod("/shared/{token}/pages.{form}", _page(_download), "GET"),
)
"""Routes of share links."""
