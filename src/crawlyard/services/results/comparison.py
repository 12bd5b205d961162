"""Comparison of two runs, reading their pages in portions."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice

from msgspec import Struct, field

from crawlyard.core.crawl.changes import (
    CarriedPage,
    Comparison,
    LastRead,
    PageFacts,
    Run,
    UnprovenPage,
    UrlState,
)
from crawlyard.core.crawl.page import TargetState
from crawlyard.core.jobs.job import Job
from crawlyard.engine.urls import page_key
from crawlyard.errors import NotFound
from crawlyard.store.store import Store

_CHUNK = 500  # pages of each run at once
_HOPS = 5  # redirects that are followed

_ABSENT = frozenset({TargetState.DONE, TargetState.REDIRECTED})
"""States of URLs without a page, if an earlier run had one or knew their redirect."""


async def compare(store: Store, earlier: Job, later: Job) -> Comparison:
    """Return what changed from one job to another.

    Pages of runs before the earlier job, which it left unproven, count as pages of that job.
    """
    comparison = Comparison(
        await _run_of(store, earlier),
        await _run_of(store, later),
        await _reference(store, earlier) if earlier.id < later.id else None,
    )
    reader = _Reader(store, comparison)
    await reader.add_pages()
    comparison.conclude(
        await reader.find_seen_before(),
        await store.pages.filter_linked(later.id, comparison.missing.keys()),
        await reader.find_link_sources(),
    )
    return comparison


async def _run_of(store: Store, job: Job) -> Run:
    return Run.of(job, await store.changes.broken_sitemaps(job.id))


async def _reference(store: Store, earlier: Job) -> Run | None:
    """Return the last run up to a run of a schedule that saw the whole site."""
    compared = (await store.changes.runs([earlier.id])).get(earlier.id)
    if compared is None or compared.whole_id is None:
        return None
    try:
        return await _run_of(store, (await store.jobs.get(compared.whole_id)).job)
    except NotFound:  # deleted
        return None


class _Reader(Struct):
    """Adds the pages of two runs to their comparison."""

    store: Store
    comparison: Comparison
    _carried_ids: set[int] = field(default_factory=set)  # pages that runs before the earlier read
    _last_reads: dict[tuple[str, str], LastRead] = field(default_factory=dict)

    @property
    def _earlier(self) -> str:
        return self.comparison.earlier.job_id

    @property
    def _later(self) -> str:
        return self.comparison.later.job_id

    async def add_pages(self) -> None:
        """Add the pages of both runs, some at a time in the order of fps."""
        changes = self.store.changes
        in_order = self._earlier < self._later  # else unproven pages are from after the earlier
        after: int | None = None
        while True:
            read = await changes.facts(self._earlier, after, _CHUNK)
            unproven = await changes.unproven(self._earlier, after, _CHUNK) if in_order else []
            new = await changes.facts(self._later, after, _CHUNK)
            copies = [copy.page for copy in unproven]
            ends = [pages[-1].fp for pages in (read, copies, new) if len(pages) == _CHUNK]
            after = min(ends) if ends else None
            # of a page that failed in the earlier run, the copy is what was read of it last
            await self._add(
                facts_up_to(after, read) | facts_up_to(after, copies),
                facts_up_to(after, new),
                {copy.page.fp: await self._carry(copy) for copy in unproven},
            )
            if after is None:
                break

    async def _add(
        self,
        old: Mapping[int, PageFacts],
        new: Mapping[int, PageFacts],
        carried: Mapping[int, CarriedPage],
    ) -> None:
        """Add some pages of both jobs, by fp."""
        known_before = await self.store.changes.known_urls(self._earlier, new.keys() - old.keys())
        known_after = await self.store.changes.known_urls(self._later, old.keys() - new.keys())
        redirect_targets = await self._find_redirect_targets(known_after)
        for fp in old.keys() | new.keys():
            self.comparison.add(
                old.get(fp),
                new.get(fp),
                known_before.get(fp),
                known_after.get(fp),
                redirect_targets.get(fp),
                carried.get(fp),
            )

    async def _find_redirect_targets(self, urls: Mapping[int, UrlState]) -> Mapping[int, PageFacts]:
        """Return the pages to which URLs of the later run redirect, by the fp of the URL."""
        changes, job_id = self.store.changes, self._later
        ignore_query = self.comparison.later.reach["ignore_query"] is True
        ways = dict(_ways(urls, ignore_query=ignore_query))
        landed: dict[int, PageFacts] = {}
        for _ in range(_HOPS):
            if not ways:
                break
            targets = set(ways.values())
            pages = {p.fp: p for p in await changes.facts_of(job_id, targets)}
            landed |= {fp: pages[to] for fp, to in ways.items() if to in pages}
            further = await changes.known_urls(job_id, targets - pages.keys())
            on = dict(_ways(further, ignore_query=ignore_query))
            ways = {fp: on[to] for fp, to in ways.items() if to in on}
        return landed

    async def _carry(self, copy: UnprovenPage) -> CarriedPage:
        self._carried_ids.add(copy.page.id)
        key = copy.read_by, copy.reach
        if key not in self._last_reads:
            broken = await self.store.changes.broken_sitemaps(copy.read_by)
            self._last_reads[key] = LastRead(*key, broken)
        return CarriedPage(self._last_reads[key], copy.is_broken)

    async def find_link_sources(self) -> Mapping[int, str]:
        """Return the missing pages that unread pages link to, with the label of the unread one."""
        if self.comparison.later.incomplete_reason:  # none is proven to be gone anyway
            return {}
        missing = {fp: page.id for fp, page in self.comparison.missing.items()}
        return await self._find_reached(self.comparison.unread, missing)

    async def find_seen_before(self) -> Collection[int]:
        """Return the undecided pages that earlier runs knew of, or could not reach.

        They are linked from pages of an earlier run, or from a page that the later run is the
        first one to read.
        """
        undecided, reference = self.comparison.undecided, self.comparison.reference
        linked = await self.store.pages.filter_linked(self._earlier, undecided.keys())
        if reference is not None and reference.job_id != self._earlier:
            linked |= await self.store.pages.filter_linked(
                reference.job_id, undecided.keys() - linked
            )
            urls = await self._urls(reference.job_id, undecided.keys() - linked)
            linked |= {fp for fp, url in urls.items() if url.state not in _ABSENT}
        sources = dict.fromkeys([*self._carried_ids, *self.comparison.first_read], "")
        linked |= (await self._find_reached(sources, undecided)).keys()
        return linked

    async def _urls(self, job_id: str, fps: Collection[int]) -> Mapping[int, UrlState]:
        urls: dict[int, UrlState] = {}
        for part in _parts(fps):
            urls |= await self.store.changes.known_urls(job_id, part)
        return urls

    async def _find_reached(
        self, sources: Mapping[int, str], pages: Mapping[int, int]
    ) -> Mapping[int, str]:
        """Return the fps of *pages* to which *sources* lead, also by way of each other.

        *pages*: ids by fp. *sources*: labels by page id; each fp gets that of its source.
        """
        reached: dict[int, str] = {}
        pending = dict(sources)
        while pending and len(reached) < len(pages):
            ahead: dict[int, str] = {}
            for part in _parts(pending):
                for page_id, fps in await self.store.pages.links_of(part):
                    for fp in pages.keys() & set(fps) - reached.keys():
                        reached[fp] = ahead[pages[fp]] = pending[page_id]
            pending = ahead
        return reached


def _parts(keys: Collection[int]) -> Iterator[list[int]]:
    rest = iter(keys)
    while part := list(islice(rest, _CHUNK)):
        yield part


def facts_up_to(last: int | None, pages: Sequence[PageFacts]) -> dict[int, PageFacts]:
    """Return the pages with an fp up to *last*, by fp; ``None``: all."""
    return {page.fp: page for page in pages if last is None or page.fp <= last}


def _ways(urls: Mapping[int, UrlState], *, ignore_query: bool) -> Iterator[tuple[int, int]]:
    """Yield the fps of URLs that redirect, and of their targets."""
    for fp, url in urls.items():
        if url.leads_to is not None:
            yield fp, page_key(url.leads_to, ignore_query=ignore_query)
