"""Recrawl: which pages of an earlier run are requested, on which condition, and which are not.

A page is not requested if a sitemap dates it before it was fetched, and if dates of the site have
proved right. They are judged by every page that is requested all the same.
"""

from collections.abc import Callable, Mapping

from crawlyard.core.crawl.lastmod import ONE_IN, LastmodRecord, says_unchanged
from crawlyard.core.crawl.page import Outcome, Page, Target, TargetState, Via
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine.batch import BatchDraft
from crawlyard.engine.conditional import Earlier, Prior, conditions, is_usable
from crawlyard.engine.sitemaps import Sitemap
from crawlyard.engine.urls import fingerprint, fingerprints

MOST_DATES = 250_000
"""Dates in memory, about 25 MB; each is dropped when its page is done. Without one, a page is
requested."""

_ABSENT = frozenset({404, 410})
_NO_PAGES = frozenset({Via.EXTERNAL, Via.SITEMAP})  # they have no content to use again
_NONE: Mapping[str, str] = {}


class Recrawl:
    """An earlier run, and what the sitemaps of this one say about its pages.

    *before* are the records of the hosts up to the earlier run, *own* those up to a checkpoint of
    this one, *owns* says which hosts this crawl is about. With *whole*, all pages are sent again:
    the earlier run only tells whether dates are right.
    """

    def __init__(
        self,
        key: str,
        earlier: Earlier,
        before: Mapping[str, LastmodRecord],
        own: Mapping[str, LastmodRecord],
        draft: BatchDraft,
        owns: Callable[[str], bool],
        *,
        whole: bool,
    ) -> None:
        self._earlier = earlier
        self._whole = whole
        self._salt = fingerprint(key)
        self._draft = draft
        self._dates: dict[int, float] = {}  # timestamps, by the fp of the page
        self._changed: set[int] = set()  # fps of those that are dated, and requested all the same
        self._records = {**before, **own}
        draft.lastmods |= {h: r for h, r in before.items() if h not in own and owns(h)}

    def read(self, sitemap: Sitemap) -> None:
        """Add the dates of a sitemap; of several dates of a page, the last one counts."""
        urls, dates = list(sitemap.lastmods), self._dates
        for url, fp in zip(urls, fingerprints(urls), strict=True):
            if fp in dates or len(dates) < MOST_DATES:
                lastmod = sitemap.lastmods[url].timestamp()
                dates[fp] = max(lastmod, dates.get(fp, lastmod))

    async def prior(self, target: Target, spec: JobSpec) -> Prior | None:
        """Return the page of a target in the earlier run, if its content can be used again."""
        if target.via in _NO_PAGES or (self._whole and target.fp not in self._dates):
            return None
        prior = await self._earlier(target.fp)
        return prior if prior is not None and is_usable(prior, spec) else None

    async def compared(self, target: Target) -> Prior | None:
        """Return the page of a target in the earlier run, whether or not it can be used again."""
        return None if target.via in _NO_PAGES else await self._earlier(target.fp)

    def may_spare(self, target: Target) -> bool:
        """Return whether a target may need no request, by a date that is trusted."""
        fp, record = target.fp, self._records.get(target.host)
        if self._whole or record is None or not record.is_trusted or target.via is Via.SEED:
            return False
        is_sample = (fp ^ self._salt) % ONE_IN == 0  # so a site is found out that begins to lie
        return fp in self._dates and fp not in self._changed and not is_sample

    async def spared(self, target: Target, spec: JobSpec) -> Prior | None:
        """Return the page of a target that needs no request, ``None`` if it needs one."""
        prior = await self.prior(target, spec)
        record = self._records[target.host]  # it may have been lost meanwhile
        if prior is None or not record.is_trusted or not self._says_unchanged(target, prior.page):
            self._changed.add(target.fp)
            return None
        self._forget(target)
        return prior

    def conditions(self, prior: Prior | None) -> Mapping[str, str]:
        """Return the headers that ask for a page only if it has changed; none: it must be sent."""
        return _NONE if prior is None or self._whole else conditions(prior)

    def done(self, prior: Prior | None, outcome: Outcome) -> None:
        """Judge the date of a page by what a request has found, and forget it."""
        target = outcome.target
        if prior is not None and target.fp in self._dates and _has_changed(prior.page, outcome):
            self._judge(target, missed=self._says_unchanged(target, prior.page))
        self._forget(target)

    def _forget(self, target: Target) -> None:
        self._dates.pop(target.fp, None)
        self._changed.discard(target.fp)

    def _judge(self, target: Target, *, missed: bool) -> None:
        before = self._records.get(target.host, LastmodRecord())
        if missed and not before.missed:
            self._draft.note(
                f"the dates in sitemaps of {target.host} are not trusted from now on: "
                f"{target.url} has changed, and its lastmod has not"
            )
        record = before.judged(missed=missed)
        self._records[target.host] = self._draft.lastmods[target.host] = record

    def _says_unchanged(self, target: Target, before: Page) -> bool:
        lastmod = self._dates.get(target.fp)
        return lastmod is not None and says_unchanged(lastmod, before.fetched_at.timestamp())


def _has_changed(before: Page, outcome: Outcome) -> bool:
    """Return whether an answer proves that a page is no longer what it was."""
    page = outcome.page
    if page is None:
        return outcome.redirects
    if outcome.state is not TargetState.DONE:
        return page.status in _ABSENT  # another error says nothing about the page
    if page.unchanged_since is not None or page.sha256 == before.sha256:
        return False
    same_text = before.content_hash and before.content_hash == page.content_hash
    return not same_text or before.extracted != page.extracted
