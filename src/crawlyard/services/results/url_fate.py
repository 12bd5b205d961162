"""Fate of a URL in a job: its outcome, or the expected one."""

from collections.abc import Sequence

from crawlyard.core.crawl.page import KnownURL, TargetState, UrlOutcome, UrlOutcomeKind
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.spec import JobSpec, Strategy
from crawlyard.core.quantity import count_noun
from crawlyard.core.words import error_words
from crawlyard.engine.discovery import NAMED_BY_ROBOTS
from crawlyard.engine.scope import Boundary
from crawlyard.engine.urls import canonical, page_key
from crawlyard.store.store import Store

_REDIRECT = "redirect to "


async def fate_of(store: Store, job: Job, url: str) -> UrlOutcome:
    """Return the outcome of *url* in a job, or the expected one.

    Raises:
        Invalid: *url* is not an http or https URL.
    """
    url = canonical(url)
    known_url = await store.frontier.find(job.id, _key_in(job, url))
    if known_url is None:
        return await _never_found(store, job, url)
    match known_url.state:
        case TargetState.DONE | TargetState.FAILED:
            return await _fetched_outcome(store, job, known_url)
        case TargetState.WAITING:
            return await _waiting(store, job, known_url)
        case _:
            return _excluded_outcome(known_url)


def _key_in(job: Job, url: str) -> int:
    return page_key(url, ignore_query=job.spec.ignore_query)


async def _fetched_outcome(store: Store, job: Job, known_url: KnownURL) -> UrlOutcome:
    page = await store.inquiries.page_of(job.id, _key_in(job, known_url.url))
    failed = known_url.state is TargetState.FAILED
    status = page.page.status if page is not None else None
    error = page.page.error if page is not None else None
    if failed and error is not None:
        reason = error_words(error.kind, status)
        detail = f"it failed: {reason}{error.detail and f' ({error.detail})'}"
    else:
        detail = f"it was fetched and answered {status}"
    kind = UrlOutcomeKind.FAILED if failed else UrlOutcomeKind.FETCHED
    return UrlOutcome(url=known_url.url, kind=kind, detail=detail, known=known_url, page=page)


async def _waiting(store: Store, job: Job, known_url: KnownURL) -> UrlOutcome:
    boundary = boundary_of(job.spec, await store.inquiries.roots(job.id))
    rule = boundary.verdict_via(known_url.via, known_url.url, known_url.depth)
    if rule is not None:
        detail = f"it is waiting and will be skipped ({rule})"
        return UrlOutcome(
            url=known_url.url,
            kind=UrlOutcomeKind.WAITING,
            detail=detail,
            known=known_url,
            rule=rule,
        )
    deep = job.spec.strategy is Strategy.DEPTH_FIRST
    before = await store.inquiries.before(job.id, known_url, depth_first=deep)
    ahead = count_noun(before, "URL is", "URLs are")
    detail = f"{ahead} ahead of it" if before else "next in the queue"
    return UrlOutcome(
        url=known_url.url,
        kind=UrlOutcomeKind.WAITING,
        detail=f"it waits: {detail}",
        known=known_url,
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


def _excluded_outcome(known_url: KnownURL) -> UrlOutcome:
    to, rule = None, known_url.rule
    if known_url.rule.startswith(_REDIRECT):
        # a canonical URL contains no space
        to, _, rule = known_url.rule.removeprefix(_REDIRECT).partition(": ")
    if known_url.state is TargetState.REDIRECTED:
        kind, detail = UrlOutcomeKind.REDIRECTED, f"it led to {to}"
    else:
        kind = UrlOutcomeKind.SKIPPED
        detail = f"it was not kept: {known_url.rule}"
    return UrlOutcome(
        url=known_url.url, kind=kind, detail=detail, known=known_url, redirected_to=to, rule=rule
    )
