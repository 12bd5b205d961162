"""Records of a job's results: pages with their bodies, links, and paths to URLs."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TypeAlias

from msgspec.structs import replace

from crawlyard.core.crawl.changes import UrlState
from crawlyard.core.crawl.link import MAX_LINKS, FoundLink, decode_links
from crawlyard.core.crawl.page import (
    Body,
    ErrorGroup,
    KnownURL,
    StoredPage,
    TargetState,
    UrlOutcomeKind,
)
from crawlyard.core.crawl.site_map import MOST_FOLDERS, LinkTarget, SiteMap, Step
from crawlyard.core.jobs.job import Job
from crawlyard.engine.urls import fingerprint, page_key
from crawlyard.errors import NotFound
from crawlyard.store.queries import PageQuery
from crawlyard.store.store import Store

PageRecord: TypeAlias = tuple[StoredPage, Mapping[Body, bytes]]
"""A page with some of its stored bodies."""

MOST_STEPS = 20
"""Steps of a path to a page."""

_CHUNK = 500
_REFERRERS = 5
"""Referring pages listed for a failed URL."""


async def page_records(
    store: Store, job_id: str, query: PageQuery, kinds: Collection[Body] = ()
) -> AsyncGenerator[PageRecord]:
    """Yield the pages of a job in fetch order, each with its stored bodies of *kinds*."""
    while records := await some_records(store, job_id, query, _CHUNK, kinds):
        for record in records:
            yield record
        query = replace(query, after=records[-1][0].id)


async def some_records(
    store: Store, job_id: str, query: PageQuery, limit: int, kinds: Collection[Body] = ()
) -> list[PageRecord]:
    """Return at most *limit* pages of a job as `page_records` yields them."""
    return await with_bodies(store, await store.pages.pages(job_id, query, limit), kinds)


async def with_bodies(
    store: Store, pages: Sequence[StoredPage], kinds: Collection[Body]
) -> list[PageRecord]:
    """Return *pages* with their stored bodies of *kinds*."""
    ids = [page.id for page in pages]
    bodies = await store.pages.bodies(ids, kinds) if kinds and ids else {}
    return [
        (page, {kind: bodies[key] for kind in kinds if (key := (page.id, kind)) in bodies})
        for page in pages
    ]


async def page_record(
    store: Store, job_id: str, page_id: int, kinds: Collection[Body]
) -> PageRecord:
    """Return one page of a job, with its stored bodies of these *kinds*.

    Raises:
        NotFound: the job has no such page.
    """
    records = await some_records(store, job_id, PageQuery(after=page_id - 1), 1, kinds)
    if not records or records[0][0].id != page_id:
        raise NotFound(f"job {job_id} has no page {page_id}")
    return records[0]


async def link_records(
    store: Store, job_id: str, query: PageQuery, *, to: str | None = None, after: int = 0
) -> AsyncGenerator[tuple[int, FoundLink]]:
    """Yield the links of the pages of *query*, with keys above *after*, by their keys.

    With *to*, only those to this canonical URL.
    """
    query = replace(query, after=after // MAX_LINKS - 1)
    if to is not None:
        query = replace(query, links_to=fingerprint(to))
    async with aclosing(page_records(store, job_id, query, [Body.LINKS])) as records:
        async for stored, bodies in records:
            links = decode_links(bodies[Body.LINKS]) if bodies else ()
            for key, link in enumerate(links, stored.id * MAX_LINKS):
                if key > after and to in (None, link.url):
                    yield key, FoundLink.of(stored.page.final_url, link)


async def link_targets(store: Store, job: Job, urls: Collection[str]) -> Mapping[str, LinkTarget]:
    """Return the outcomes in a job of URLs that links lead to."""
    fps = {url: page_key(url, ignore_query=job.spec.ignore_query) for url in urls}
    known_urls = await store.changes.known_urls(job.id, fps.values())
    stored = await store.pages.of_targets(job.id, fps.values())
    return {url: _target(known_urls.get(fp), stored.get(fp)) for url, fp in fps.items()}


async def with_referrers(
    store: Store, job_id: str, groups: Sequence[ErrorGroup]
) -> list[ErrorGroup]:
    """Return *groups* with the first five pages that link to each sample."""
    urls = {fingerprint(url): url for group in groups for url in group.samples}
    referrers: dict[str, list[str]] = {url: [] for url in urls.values()}
    missing, after = set(urls), 0
    while missing and (chunk := await store.pages.targets(job_id, after, _CHUNK)):
        for after, source, fps in chunk:  # noqa: B007 - the last key is where the next begins
            for fp in missing.intersection(fps):
                pages = referrers[urls[fp]]
                pages.append(source)
                if len(pages) == _REFERRERS:
                    missing.discard(fp)
    return [
        replace(group, referrers={url: tuple(referrers[url]) for url in group.samples})
        for group in groups
    ]


async def path_to(store: Store, job: Job, url: str) -> list[Step]:
    """Return the path by which a URL was reached, from the start URL; empty if it was not.

    Of a path of more than `MOST_STEPS`, the last ones.
    """
    key_of = partial(page_key, ignore_query=job.spec.ignore_query)
    path: list[KnownURL] = []
    next_url: str | None = url
    while next_url is not None and len(path) < MOST_STEPS:
        known_url = await store.frontier.find(job.id, key_of(next_url))
        if known_url is None or known_url in path:
            break
        path.insert(0, known_url)
        next_url = known_url.parent
    stored = await store.pages.of_targets(job.id, [key_of(url.url) for url in path])
    pages = [stored.get(key_of(url.url)) for url in path]
    ids = [None if page is None else page[0].id for page in pages]
    stored_ids = [page_id for page_id in ids if page_id is not None]
    bodies = await store.pages.bodies(stored_ids, [Body.LINKS]) if stored_ids else {}
    steps = [
        Step(url=url.url, via=url.via.value, depth=url.depth, page_id=page_id, text="")
        for url, page_id in zip(path, ids, strict=True)
    ]
    for place in range(1, len(steps)):
        data = bodies.get((ids[place - 1] or 0, Body.LINKS), b"[]")
        to = steps[place].url
        text = next((link.text for link in decode_links(data) if link.url == to), "")
        steps[place] = replace(steps[place], text=text)
    return steps


async def folders(store: Store, job_id: str, under: str) -> SiteMap:
    """Return the folders directly below a place, by default the hosts or those of the only host."""
    hosts = await store.site_map.folders(job_id, under, MOST_FOLDERS)
    if under or len(hosts.folders) != 1:
        return hosts
    of_host = await store.site_map.folders(job_id, hosts.folders[0].name, MOST_FOLDERS)
    return replace(of_host, skipped_elsewhere=hosts.skipped_elsewhere)


_OUTCOMES = {
    TargetState.WAITING: UrlOutcomeKind.WAITING,
    TargetState.DONE: UrlOutcomeKind.FETCHED,
    TargetState.FAILED: UrlOutcomeKind.FAILED,
    TargetState.SKIPPED: UrlOutcomeKind.SKIPPED,
    TargetState.REDIRECTED: UrlOutcomeKind.REDIRECTED,
}


def _target(url: UrlState | None, stored: tuple[StoredPage, int] | None) -> LinkTarget:
    outcome = UrlOutcomeKind.NEVER_FOUND if url is None else _OUTCOMES[url.state]
    if stored is None:
        return LinkTarget(outcome=outcome.value)
    page = stored[0]
    return LinkTarget(outcome=outcome.value, status=page.page.status, page_id=page.id)
