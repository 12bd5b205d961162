"""Results: the pages, errors, skipped URLs and events of a job."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing

from msgspec.structs import replace

from crawlyard.core.access.user import Actor
from crawlyard.core.crawl.changes import Known
from crawlyard.core.crawl.link import MAX_LINKS, FoundLink, decoded
from crawlyard.core.crawl.page import (
    Body,
    ErrorGroup,
    KnownURL,
    RuleKind,
    SkippedGroup,
    SkippedURL,
    StoredPage,
    TargetState,
    UrlOutcomeKind,
)
from crawlyard.core.crawl.site_map import (
    MOST_FOLDERS,
    LinkTarget,
    Neighbours,
    SiteMap,
    Step,
)
from crawlyard.core.events.event import Event
from crawlyard.core.jobs.attempts import TELLING, Attempt, attempts_of
from crawlyard.core.jobs.checkpoint import Shard, Standing
from crawlyard.core.templates.template import is_id
from crawlyard.engine.urls import fingerprint
from crawlyard.errors import NotFound
from crawlyard.store.events.events import EventLog
from crawlyard.store.queries import EventQuery, PageQuery
from crawlyard.store.store import Store

MOST_STEPS = 20
"""Steps of a way to a page that are told."""

_CHUNK = 500
_REFERRERS = 5
"""Pages that are named for a URL that failed."""


async def every_event(log: EventLog, query: EventQuery) -> list[Event]:
    """Return all events of *query*, oldest first; meant for one job, which has few."""
    found: list[Event] = []
    while part := await log.events(query, found[-1].seq if found else 0, _CHUNK):
        found += part
    return found


async def visible(store: Store, actor: Actor, job_id: str) -> Standing:
    """Return a job with its usage and lease.

    Raises:
        NotFound: there is none of that id, or it belongs to another user.
    """
    if not is_id(job_id):
        raise NotFound(f"there is no job {job_id[:100]}")
    standing = await store.jobs.get(job_id.lower())
    if not actor.may_see(standing.job.owner):
        raise NotFound(f"there is no job {job_id}")
    return standing


class Results:
    """Reads the results of jobs, including running ones: each checkpoint adds to them.

    A job that the actor may not see raises `NotFound`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def pages(
        self, actor: Actor, job_id: str, query: PageQuery | None = None
    ) -> AsyncIterator[StoredPage]:
        """Yield page records in the order they were stored."""
        job_id = await self._visible(actor, job_id)
        asked = query or PageQuery()
        while chunk := await self._store.pages.pages(job_id, asked, _CHUNK):
            for stored in chunk:
                yield stored
            asked = replace(asked, after=chunk[-1].id)

    async def records(
        self, actor: Actor, job_id: str, query: PageQuery, kinds: Collection[Body]
    ) -> AsyncGenerator[tuple[StoredPage, Mapping[Body, bytes]]]:
        """Yield page records as `pages` does, each with its stored bodies of these *kinds*."""
        asked = query
        while chunk := await self.some(actor, job_id, asked, _CHUNK, kinds):
            for one in chunk:
                yield one
            asked = replace(asked, after=chunk[-1][0].id)

    async def some(
        self,
        actor: Actor,
        job_id: str,
        query: PageQuery,
        limit: int,
        kinds: Collection[Body] = (),
    ) -> list[tuple[StoredPage, Mapping[Body, bytes]]]:
        """Return at most *limit* page records in the order they were stored, with their bodies."""
        job_id = await self._visible(actor, job_id)
        found = await self._store.pages.pages(job_id, query, limit)
        ids = [stored.id for stored in found]
        bodies = await self._store.pages.bodies(ids, kinds) if kinds and ids else {}
        return [
            (one, {kind: bodies[key] for kind in kinds if (key := (one.id, kind)) in bodies})
            for one in found
        ]

    async def page(
        self, actor: Actor, job_id: str, page_id: int, kinds: Collection[Body] = ()
    ) -> tuple[StoredPage, Mapping[Body, bytes]]:
        """Return one page record, with its stored bodies of these *kinds*.

        Raises:
            NotFound: the job has no such page, or belongs to another user.
        """
        found = await self.some(actor, job_id, PageQuery(after=page_id - 1), 1, kinds)
        if not found or found[0][0].id != page_id:
            raise NotFound(f"job {job_id} has no page {page_id}")
        return found[0]

    async def neighbours(
        self, actor: Actor, job_id: str, page_id: int, query: PageQuery
    ) -> Neighbours:
        """Return the pages before and after one, in the list of those of *query*."""
        job_id = await self._visible(actor, job_id)
        return await self._store.pages.neighbours(job_id, page_id, query)

    async def way_to(self, actor: Actor, job_id: str, url: str) -> list[Step]:
        """Return how a URL was found, from the start URL on; empty: it was not.

        Of a way of more than `MOST_STEPS`, the last ones.
        """
        job_id = await self._visible(actor, job_id)
        way: list[KnownURL] = []
        wanted: str | None = url
        while wanted is not None and len(way) < MOST_STEPS:
            known = await self._store.frontier.find(job_id, fingerprint(wanted))
            if known is None or known in way:
                break
            way.insert(0, known)
            wanted = known.parent
        stored = await self._store.pages.of_targets(job_id, [fingerprint(one.url) for one in way])
        pages = [stored.get(fingerprint(one.url)) for one in way]
        ids = [None if page is None else page[0].id for page in pages]
        named = [page_id for page_id in ids if page_id is not None]
        bodies = await self._store.pages.bodies(named, [Body.LINKS]) if named else {}
        steps = [
            Step(url=one.url, via=one.via.value, depth=one.depth, page_id=page_id, text="")
            for one, page_id in zip(way, ids, strict=True)
        ]
        for place in range(1, len(steps)):
            data = bodies.get((ids[place - 1] or 0, Body.LINKS), b"[]")
            to = steps[place].url
            text = next((link.text for link in decoded(data) if link.url == to), "")
            steps[place] = replace(steps[place], text=text)
        return steps

    async def site_map(self, actor: Actor, job_id: str, under: str) -> SiteMap:
        """Return the folders right below a place; without one the hosts, or the only one's."""
        job_id = await self._visible(actor, job_id)
        found = await self._store.site_map.folders(job_id, under, MOST_FOLDERS)
        if under or len(found.folders) != 1:
            return found
        of_host = await self._store.site_map.folders(job_id, found.folders[0].name, MOST_FOLDERS)
        return replace(of_host, skipped_elsewhere=found.skipped_elsewhere)

    async def targets(
        self, actor: Actor, job_id: str, urls: Collection[str]
    ) -> Mapping[str, LinkTarget]:
        """Return what a job knows of URLs that links lead to."""
        job_id = await self._visible(actor, job_id)
        fps = {url: fingerprint(url) for url in urls}
        known = await self._store.changes.known_urls(job_id, fps.values())
        stored = await self._store.pages.of_targets(job_id, fps.values())
        return {url: _target(known.get(fp), stored.get(fp)) for url, fp in fps.items()}

    async def errors(
        self, actor: Actor, job_id: str, *, by_status: bool = False
    ) -> list[ErrorGroup]:
        """Return the failed URLs by kind, perhaps by status too, the most frequent first."""
        job_id = await self._visible(actor, job_id)
        return await self._store.pages.errors(job_id, by_status=by_status)

    async def with_referrers(
        self, actor: Actor, job_id: str, groups: Sequence[ErrorGroup]
    ) -> list[ErrorGroup]:
        """Return *groups* with the first five pages that link to each of their samples."""
        job_id = await self._visible(actor, job_id)
        sought = {fingerprint(url): url for group in groups for url in group.samples}
        found: dict[str, list[str]] = {url: [] for url in sought.values()}
        left, after = set(sought), 0
        while left and (chunk := await self._store.pages.targets(job_id, after, _CHUNK)):
            for after, source, fps in chunk:  # noqa: B007 - as for `skipped`
                for fp in left.intersection(fps):
                    found[sought[fp]].append(source)
                    if len(found[sought[fp]]) == _REFERRERS:
                        left.discard(fp)
        return [
            replace(group, referrers={url: tuple(found[url]) for url in group.samples})
            for group in groups
        ]

    async def links(
        self, actor: Actor, job_id: str, query: PageQuery, *, to: str | None = None, after: int = 0
    ) -> AsyncGenerator[tuple[int, FoundLink]]:
        """Yield the links of the pages of *query*, with keys above *after*, by their keys.

        With *to*, only those to this canonical URL.
        """
        asked = replace(query, after=after // MAX_LINKS - 1)
        if to is not None:
            asked = replace(asked, links_to=fingerprint(to))
        async with aclosing(self.records(actor, job_id, asked, [Body.LINKS])) as found:
            async for stored, bodies in found:
                own = decoded(bodies[Body.LINKS]) if bodies else ()
                for key, link in enumerate(own, stored.id * MAX_LINKS):
                    if key > after and to in (None, link.url):
                        yield key, FoundLink.of(stored.page.final_url, link)

    async def skipped(self, actor: Actor, job_id: str) -> AsyncIterator[SkippedURL]:
        """Yield the URLs that a rule excluded, in the order they were found."""
        job_id = await self._visible(actor, job_id)
        after = 0
        while chunk := await self._store.pages.skipped(job_id, after, _CHUNK):
            for after, url in chunk:  # noqa: B007 - the last key is where the next chunk begins
                yield url

    async def some_skipped(
        self, actor: Actor, job_id: str, kinds: Collection[RuleKind], after: int, limit: int
    ) -> list[tuple[int, SkippedURL]]:
        """Return the URLs that rules of *kinds* (empty: all) excluded, with their keys.

        At most *limit* with keys above *after*, in the order they were found.
        """
        job_id = await self._visible(actor, job_id)
        return await self._store.pages.skipped(job_id, after, limit, kinds)

    async def skipped_by(self, actor: Actor, job_id: str) -> list[SkippedGroup]:
        """Return the URLs that rules excluded, grouped by kind of rule, the most frequent first."""
        job_id = await self._visible(actor, job_id)
        return await self._store.pages.skipped_by(job_id)

    async def upcoming(self, actor: Actor, job_id: str, after: int, limit: int) -> list[KnownURL]:
        """Return the waiting URLs with keys above *after*, in the order they were found.

        At most *limit*. The crawl may fetch them in another order.
        """
        job_id = await self._visible(actor, job_id)
        waiting = [TargetState.WAITING]
        return await self._store.frontier.upcoming(job_id, after, limit, waiting)

    async def attempts(self, actor: Actor, job_id: str) -> list[Attempt]:
        """Return the attempts of a job, one for each time a worker claimed it, oldest first."""
        job_id = await self._visible(actor, job_id)
        told = await every_event(self._store.events, EventQuery(subject=job_id, names=TELLING))
        return attempts_of(told)

    async def shards(self, actor: Actor, job_id: str) -> Mapping[int, Shard]:
        """Return the shards of a job by number; empty if the job is not spread."""
        job_id = await self._visible(actor, job_id)
        return await self._store.spread.shards(job_id)

    async def events(
        self, actor: Actor, job_id: str, after: int = 0, limit: int = 1000
    ) -> list[Event]:
        """Return the events of a job with a seq above *after*, oldest first."""
        job_id = await self._visible(actor, job_id)
        return await self._store.events.events(EventQuery(subject=job_id), after, limit)

    async def _visible(self, actor: Actor, job_id: str) -> str:
        """Return the id as it is stored, in lower case, of a job that *actor* may see."""
        return (await visible(self._store, actor, job_id)).job.id


_OUTCOMES = {
    TargetState.WAITING: UrlOutcomeKind.WAITING,
    TargetState.DONE: UrlOutcomeKind.FETCHED,
    TargetState.FAILED: UrlOutcomeKind.FAILED,
    TargetState.SKIPPED: UrlOutcomeKind.SKIPPED,
    TargetState.REDIRECTED: UrlOutcomeKind.REDIRECTED,
}


def _target(known: Known | None, stored: tuple[StoredPage, int] | None) -> LinkTarget:
    outcome = UrlOutcomeKind.NEVER_FOUND if known is None else _OUTCOMES[known.state]
    if stored is None:
        return LinkTarget(outcome=outcome.value)
    page = stored[0]
    return LinkTarget(outcome=outcome.value, status=page.page.status, page_id=page.id)
