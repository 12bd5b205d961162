"""Fate of a URL: what happened to it in a job, or what would happen."""

from collections.abc import Sequence

from crawlyard.core.crawl.page import KnownURL, TargetState, UrlOutcome, UrlOutcomeKind
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.spec import JobSpec, Strategy
from crawlyard.core.quantity import counted
from crawlyard.core.words import error_words
from crawlyard.engine.discovery import NAMED_BY_ROBOTS
from crawlyard.engine.scope import Boundary
from crawlyard.engine.urls import canonical, fingerprint
from crawlyard.store.store import Store

_REDIRECT = "redirect to "


async def fate_of(store: Store, job: Job, url: str) -> UrlOutcome:
    """Return what happened to *url* in a job, or what would happen.

    Raises:
        Invalid: *url* is not an http or https URL.
    """
    url = canonical(url)
    known = await store.frontier.find(job.id, fingerprint(url))
    if known is None:
        return await _never_found(store, job, url)
    match known.state:
        case TargetState.DONE | TargetState.FAILED:
            return await _answered(store, job.id, known)
        case TargetState.WAITING:
            return await _waiting(store, job, known)
        case _:
            return _kept_out(known)


async def _answered(store: Store, job_id: str, known: KnownURL) -> UrlOutcome:
    page = await store.inquiries.page_of(job_id, fingerprint(known.url))
    failed = known.state is TargetState.FAILED
    status = page.page.status if page is not None else None
    error = page.page.error if page is not None else None
    if failed and error is not None:
        reason = error_words(error.kind, status)
        detail = f"it failed: {reason}{error.detail and f' ({error.detail})'}"
    else:
        detail = f"it was fetched and answered {status}"
    kind = UrlOutcomeKind.FAILED if failed else UrlOutcomeKind.FETCHED
    return UrlOutcome(url=known.url, kind=kind, detail=detail, known=known, page=page)


async def _waiting(store: Store, job: Job, known: KnownURL) -> UrlOutcome:
    boundary = boundary_of(job.spec, await store.inquiries.roots(job.id))
    rule = boundary.verdict_as(known.via, known.url, known.depth)
    if rule is not None:
        detail = f"it is waiting and will be skipped ({rule})"
        return UrlOutcome(
            url=known.url, kind=UrlOutcomeKind.WAITING, detail=detail, known=known, rule=rule
        )
    deep = job.spec.strategy is Strategy.DEPTH_FIRST
    before = await store.inquiries.before(job.id, known, depth_first=deep)
    ahead = counted(before, "URL is", "URLs are")
    detail = f"{ahead} ahead of it" if before else "it is next in line"
    return UrlOutcome(
        url=known.url,
        kind=UrlOutcomeKind.WAITING,
        detail=f"it waits: {detail}",
        known=known,
        position=before + 1,
    )


async def _never_found(store: Store, job: Job, url: str) -> UrlOutcome:
    rule = boundary_of(job.spec, await store.inquiries.roots(job.id)).verdict(url, 0)
    if rule is not None:
        detail = f"no page named it; it would be kept out ({rule})"
    elif job.state.ended:
        detail = "no page that was fetched named it, though it is in scope"
    else:
        detail = "no page that was fetched so far names it, though it is in scope"
    if rule is None and job.spec.max_depth is not None:
        detail += f" (up to depth {job.spec.max_depth})"
    return UrlOutcome(url=url, kind=UrlOutcomeKind.NEVER_FOUND, detail=detail, rule=rule or "")


def boundary_of(spec: JobSpec, roots: Sequence[str] = ()) -> Boundary:
    """Return the boundary of a crawl; *roots* are the URLs its seeds were redirected to."""
    seeds = [canonical(url) for url in spec.urls]
    sitemaps = [canonical(url) for url in spec.sitemaps if url != NAMED_BY_ROBOTS]
    boundary = Boundary(spec, seeds or sitemaps)
    for root in roots:
        boundary.add_seed(root)
    return boundary


def _kept_out(known: KnownURL) -> UrlOutcome:
    to, rule = None, known.rule
    if known.rule.startswith(_REDIRECT):
        # a canonical URL contains no space
        to, _, rule = known.rule.removeprefix(_REDIRECT).partition(": ")
    if known.state is TargetState.REDIRECTED:
        kind, detail = UrlOutcomeKind.REDIRECTED, f"it led to {to}"
    else:
        kind = UrlOutcomeKind.SKIPPED
        detail = f"it was not kept: {known.rule}"
    return UrlOutcome(
        url=known.url, kind=kind, detail=detail, known=known, redirected_to=to, rule=rule
    )
