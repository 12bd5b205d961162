"""URL discovery: deduplicates and filters found URLs, with their depth and parent."""

from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from crawlyard.core.crawl.page import RuleKind, Target, Via
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine.batch import BatchDraft
from crawlyard.engine.scope import Boundary
from crawlyard.engine.urls import (
    Base,
    canonical,
    fingerprint,
    fingerprints,
    host_of,
    origin_of,
    page_key,
    without_query,
)

NAMED_BY_ROBOTS = "robots"
"""Sitemap value that stands for those named in the robots.txt of the start URLs."""

MOST_RECENT = 20_000
"""URLs cached as text: most links on a page were also on the pages just before it."""

MAX_HOPS = 10
"""Redirects and refreshes in a row that are followed."""

LONGEST_RECENT = 500
"""Characters of a URL that is cached as text, so that the cache takes 12 MB at most."""

MOST_ELSEWHERE = 100_000
"""URLs of other shards that are remembered, so that their links are sent to the store once."""


def starts_of(spec: JobSpec) -> tuple[list[str], list[str]]:
    """Return the start URLs and sitemaps of *spec*, in canonical form."""
    sitemaps = [canonical(url) for url in spec.sitemaps if url != NAMED_BY_ROBOTS]
    return [canonical(url) for url in spec.urls], sitemaps


class Discovery:
    """Drops known URLs, checks new ones against the scope and admits those inside it."""

    def __init__(
        self,
        known_fps: set[int],
        roots: Sequence[str],
        draft: BatchDraft,
        admit: Callable[[Target], None],
        externals: int = 0,
        owns: Callable[[str], bool] | None = None,  # None: all hosts
    ) -> None:
        self._known_fps = known_fps  # of hosts that this crawl owns
        self._owns = owns
        self._elsewhere: set[int] = set()  # of the hosts of other shards, found recently
        self._roots = dict.fromkeys(roots)  # targets of redirects from start URLs
        self._draft = draft
        self._admit = admit
        self._externals = externals  # links out of scope that were accepted
        self._recent: set[str] = set()  # known URLs, faster to find than by fingerprint
        self.trouble = ""  # why a start URL was excluded

    def adopt(self, spec: JobSpec) -> None:
        """Apply the start URLs and the scope of *spec*."""
        self._spec = spec
        self._seeds, self._sitemaps = starts_of(spec)
        self._boundary = Boundary(spec, self._seeds or self._sitemaps)
        for root in self._roots:
            self._boundary.add_seed(root)

    def add_known(self, target: Target) -> None:
        """Record a target that was found earlier, perhaps by another shard of the job."""
        self._known_fps.add(target.fp)
        if target.via is Via.SEED and target.hops:
            self.add_roots([target.url])

    def add_roots(self, urls: Iterable[str]) -> None:
        """Treat *urls*, the targets of redirects from start URLs, as start URLs."""
        for url in urls:
            if url not in self._roots:
                self._roots[url] = None
                self._boundary.add_seed(url)

    def begin(self) -> None:
        """Offer the start URLs and sitemaps; in a resumed crawl they are known already."""
        for url in self._seeds:
            self._offer_start(url, Via.SEED)
        for url in self._sitemaps:
            self._offer_start(url, Via.SITEMAP)

    def offer_sitemaps(self, origin: str, sitemaps: Iterable[str]) -> None:
        """Offer the sitemaps named in a robots.txt, if the spec asks for that."""
        if NAMED_BY_ROBOTS in self._spec.sitemaps and origin in map(origin_of, self._seeds):
            base = Base(origin)
            for value in sitemaps:
                if (url := base.join(value)) is not None:
                    self._offer_start(url, Via.SITEMAP)

    def verdict(self, target: Target) -> str | None:
        """Return the rule of the current spec that excludes a known target, else ``None``."""
        return self._boundary.verdict_via(target.via, target.url, target.depth)

    def unknown(self, urls: Sequence[str]) -> list[str]:
        """Return the *urls* that were not offered before, or may be offered again."""
        recent = self._recent
        uncached = [url for url in urls if url not in recent]
        fps = self.keys(uncached) if self._spec.ignore_query else fingerprints(uncached)
        known_fps, elsewhere = self._known_fps, self._elsewhere
        candidates = zip(uncached, fps, strict=True)
        new = [url for url, fp in candidates if fp not in known_fps and fp not in elsewhere]
        if len(recent) > MOST_RECENT:
            recent.clear()
        recent.update([url for url in uncached if len(url) <= LONGEST_RECENT])
        recent.difference_update(new)
        return new

    def offer(
        self, url: str, source: Target, via: Via, *, hop: bool = False, again: bool = False
    ) -> str:
        """Offer a URL found at *source*; return "" if it will be fetched, else why it won't.

        With *again*, a URL that was fetched is accepted once more, under a key of its own.
        """
        if again or self._spec.ignore_query:
            fp = self.key(url, via, source if hop else None, again=again)
        else:
            fp = fingerprint(url)
        if self._is_known(fp):
            return "already known"
        target = Target(
            url,
            fp,
            host_of(url),
            depth=_depth(source, via, hop=hop),
            via=via,
            parent=source.parent if hop else source.fp,
            hops=source.hops + 1 if hop or via is Via.REFRESH else 0,
            origin=(source.origin or source.url) if hop else None,
        )
        if hop and via is Via.SEED:
            # if example.org redirects to www.example.org, the user meant the latter
            self.add_roots([url])
        rule = self._boundary.verdict(url, 0 if via is Via.SITEMAP else target.depth)
        if rule is None:
            # a link that leads back into the scope is a link of the site
            return self._accept(replace(target, via=Via.LINK) if via is Via.EXTERNAL else target)
        if rule.startswith("depth"):
            return rule  # not final: a shorter path may lead to it later
        if rule.startswith(RuleKind.SCOPE) and self._is_checked(url, via):
            return self._accept(replace(target, via=Via.EXTERNAL))
        return self._exclude(target, rule)

    def keys(self, urls: Sequence[str]) -> list[int]:
        """Return the keys of the pages at *urls*."""
        return fingerprints(map(without_query, urls) if self._spec.ignore_query else urls)

    def key(self, url: str, via: Via, source: Target | None = None, *, again: bool = False) -> int:
        """Return the key of a URL, to which *source* redirects; *again*: of its second visit."""
        if again:
            return fingerprint(f"{url}#again")  # canonical URLs have no fragment
        ignore_query = self._spec.ignore_query and via is not Via.SITEMAP  # a sitemap is no page
        if ignore_query and source and without_query(source.url) == without_query(url):
            return fingerprint(f"{url}#redirect")  # the key of the page is that of the source
        return page_key(url, ignore_query=ignore_query)

    def _is_checked(self, url: str, via: Via) -> bool:
        """Return whether to request a URL out of scope; count the links among them."""
        if via not in {Via.LINK, Via.EXTERNAL} or self._boundary.exclude_rule(url):
            return False
        if via is Via.LINK:  # otherwise it is the target of a redirect from such a link
            if self._externals >= self._spec.max_externals:
                return False
            self._externals += 1
        return True

    def follow(self, source: Target, links: Sequence[str], refresh: str | None) -> None:
        """Offer the links of a page, and the URL to which it refreshes."""
        for url in self.unknown(links):
            self.offer(url, source, Via.LINK)
        if refresh is not None and source.hops < MAX_HOPS:
            self.offer(refresh, source, Via.REFRESH)

    def count_credentials(self, count: int) -> None:
        """Count links whose user name or password was dropped."""
        self._draft.credentials += count

    def _offer_start(self, url: str, via: Via) -> None:
        """Handle a start URL or sitemap; `verdict` decides whether a rule excludes it."""
        fp = self.key(url, via)
        if self._is_known(fp):
            return
        target = Target(url, fp, host_of(url), via=via)
        rule = self.verdict(target)
        if rule is None:
            self._accept(target)
        else:
            self.trouble = self.trouble or f"{url}: {rule}"
            self._exclude(target, rule)

    def _is_known(self, fp: int) -> bool:
        return fp in self._known_fps or fp in self._elsewhere

    def _remember(self, target: Target) -> None:
        if self._owns is None or self._owns(target.host):
            self._known_fps.add(target.fp)
            return
        if len(self._elsewhere) >= MOST_ELSEWHERE:
            self._elsewhere.clear()  # the store ignores URLs that it has
        self._elsewhere.add(target.fp)

    def _accept(self, target: Target) -> str:
        self._remember(target)
        self._draft.add_target(target)
        self._admit(target)
        return ""

    def _exclude(self, target: Target, rule: str) -> str:
        self._remember(target)
        self._draft.add_skipped(target, rule)
        return rule


def _depth(source: Target, via: Via, *, hop: bool) -> int:
    """Return the number of links from a start URL; redirects and refreshes don't count."""
    if hop or via is Via.REFRESH:
        return source.depth
    return 0 if via is Via.LISTED else source.depth + 1
