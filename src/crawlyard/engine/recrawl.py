"""Recrawl: reuse of an earlier run, by conditional requests and by the dates of sitemaps.

A page is not requested if a sitemap dates it before it was fetched, and if the dates of the site
have proved right. Every page that is requested anyway checks them.
"""

from collections.abc import Mapping

from crawlyard.clock import Clock
from crawlyard.core.crawl.lastmod import ONE_IN, LastmodRecord, says_unchanged
from crawlyard.core.crawl.link import LinkKind, select_followed
from crawlyard.core.crawl.page import Outcome, Page, Target, TargetState, Via
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine.batch import BatchDraft
from crawlyard.engine.conditional import (
    Earlier,
    Prior,
    conditions,
    is_usable,
    reuse_outcome,
    unchanged_outcome,
)
from crawlyard.engine.discovery import Discovery
from crawlyard.engine.http.fetch import Response
from crawlyard.engine.rendering import Rendering
from crawlyard.engine.sitemaps import Sitemap
from crawlyard.engine.start import Start
from crawlyard.engine.urls import fingerprint
from crawlyard.engine.visit.state import Visit

MOST_DATES = 250_000
"""Dates in memory, about 25 MB; each is dropped when its page is done. Without one, a page is
requested."""

_ABSENT = frozenset({404, 410})
_NO_PAGES = frozenset({Via.EXTERNAL, Via.SITEMAP})  # they have no content to reuse
_NONE: Mapping[str, str] = {}


class Recrawl:
    """An earlier run, with the dates that the sitemaps of this one give for its pages.

    If *start* requests all pages again, the earlier run only shows whether dates are right.
    """

    def __init__(
        self, start: Start, earlier: Earlier, clock: Clock, draft: BatchDraft, discovery: Discovery
    ) -> None:
        self._earlier = earlier
        self._whole = start.whole
        self._salt = fingerprint(start.key)
        self._clock = clock
        self._draft = draft
        self._discovery = discovery
        self._dates: dict[int, float] = {}  # timestamps, by the fp of the page
        self._changed: set[int] = set()  # fps of dated pages that are requested anyway
        before, current = start.lastmods_before, start.lastmods
        self._records = {**before, **current}
        owns, new = start.part.owns, {h: r for h, r in before.items() if h not in current}
        draft.lastmods |= {h: r for h, r in new.items() if owns is None or owns(h)}

    def adopt(self, spec: JobSpec) -> None:
        """Apply the rules of *spec* for reusing pages."""
        self._spec = spec

    def read(self, sitemap: Sitemap) -> None:
        """Add the dates of a sitemap; the latest of several dates of a page counts."""
        urls, dates = list(sitemap.lastmods), self._dates
        for url, fp in zip(urls, self._discovery.keys(urls), strict=True):
            if fp in dates or len(dates) < MOST_DATES:
                lastmod = sitemap.lastmods[url].timestamp()
                dates[fp] = max(lastmod, dates.get(fp, lastmod))

    async def begin(self, visit: Visit) -> None:
        """Load the page that the earlier run has for a visit."""
        visit.prior = visit.baseline = await self._prior(visit.target)
        if visit.baseline is None and self._spec.confirm_changes:
            visit.baseline = await self._page(visit.target)

    def conditions(self, visit: Visit, rendering: Rendering | None) -> Mapping[str, str]:
        """Return the headers of a conditional request; none if the page must be sent."""
        prior = visit.prior
        if prior is None or self._whole:
            return _NONE
        if rendering is not None and rendering.renders_again(prior.page):
            return _NONE
        headers = conditions(prior)
        visit.conditional = bool(headers)
        return headers

    def reuse_unchanged(self, visit: Visit, response: Response) -> Outcome | None:
        """Return the outcome of a page that has not changed; a step."""
        if response.status != 304 or not visit.conditional or visit.prior is None:
            return None
        self._follow(visit.target, visit.prior)
        return unchanged_outcome(visit.target, visit.prior, response, self._clock.now())

    def may_reuse(self, target: Target) -> bool:
        """Return whether a trusted date may make a request of a target unnecessary."""
        fp, record = target.fp, self._records.get(target.host)
        if self._whole or record is None or not record.is_trusted or target.via is Via.SEED:
            return False
        is_sample = (fp ^ self._salt) % ONE_IN == 0  # to notice dates that become wrong
        return fp in self._dates and fp not in self._changed and not is_sample

    async def reuse(self, target: Target) -> Outcome | None:
        """Return the outcome of a target that needs no request, ``None`` if it needs one."""
        prior = await self._prior(target)
        record = self._records[target.host]  # its trust may have been lost meanwhile
        if prior is None or not record.is_trusted or not self._says_unchanged(target, prior.page):
            self._changed.add(target.fp)
            return None
        self._forget(target)
        self._follow(target, prior)
        return reuse_outcome(target, prior)

    def settle(self, visit: Visit, outcome: Outcome) -> None:
        """Check the date of a page against its outcome, and drop it."""
        target, prior = outcome.target, visit.prior
        if prior is not None and target.fp in self._dates and _has_changed(prior.page, outcome):
            self._judge(target, missed=self._says_unchanged(target, prior.page))
        self._forget(target)

    async def _prior(self, target: Target) -> Prior | None:
        """Return the page of a target in the earlier run, if its content can be reused."""
        if self._whole and target.fp not in self._dates:
            return None
        prior = await self._page(target)
        return prior if prior is not None and is_usable(prior, target, self._spec) else None

    async def _page(self, target: Target) -> Prior | None:
        return None if target.via in _NO_PAGES else await self._earlier(target.fp)

    def _follow(self, target: Target, prior: Prior) -> None:
        links = select_followed(prior.links, nofollow=self._spec.follow_nofollow)
        refreshes = (link.url for link in prior.links if link.kind is LinkKind.REFRESH)
        self._discovery.follow(target, links, next(refreshes, None))

    def _forget(self, target: Target) -> None:
        self._dates.pop(target.fp, None)
        self._changed.discard(target.fp)

    def _judge(self, target: Target, *, missed: bool) -> None:
        before = self._records.get(target.host, LastmodRecord())
        if missed and not before.missed:
            self._draft.note(
                f"dates in the sitemaps of {target.host} are no longer trusted: "
                f"{target.url} has changed, but its lastmod has not"
            )
        record = before.count_change(missed=missed)
        self._records[target.host] = self._draft.lastmods[target.host] = record

    def _says_unchanged(self, target: Target, before: Page) -> bool:
        lastmod = self._dates.get(target.fp)
        return lastmod is not None and says_unchanged(lastmod, before.fetched_at.timestamp())


def _has_changed(before: Page, outcome: Outcome) -> bool:
    """Return whether an outcome proves that a page has changed."""
    page = outcome.page
    if page is None:
        return outcome.redirects
    if outcome.state is not TargetState.DONE:
        return page.status in _ABSENT  # another error says nothing about the page
    if page.unchanged_since is not None or page.sha256 == before.sha256:
        return False
    same_text = before.content_hash and before.content_hash == page.content_hash
    return not same_text or before.extracted != page.extracted
