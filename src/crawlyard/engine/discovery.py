"""What a crawl finds: each URL once, judged once, with its depth and where it came from."""

from collections.abc import Callable, Iterable, Sequence

from crawlyard.core.crawl.page import Target, Via
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine.batch import BatchDraft
from crawlyard.engine.scope import Boundary
from crawlyard.engine.urls import Base, canonical, fingerprint, fingerprints, host_of, origin_of

NAMED_BY_ROBOTS = "robots"
"""As a sitemap: those that the robots.txt of the start URLs name."""

MOST_RECENT = 20_000
"""URLs that are held as text: what pages link to is mostly what others have just linked to."""


class Discovery:
    """Filters URLs that are known, judges new ones and hands on those that are in scope."""

    def __init__(
        self,
        known: set[int],
        roots: Sequence[str],
        draft: BatchDraft,
        admit: Callable[[Target], None],
    ) -> None:
        self._known = known
        self._roots = dict.fromkeys(roots)  # where redirects of start URLs led
        self._draft = draft
        self._admit = admit
        self._recent: set[str] = set()  # known ones, found sooner than by their fingerprints
        self.trouble = ""  # why a start URL was kept out

    def adopt(self, spec: JobSpec) -> None:
        """Judge by *spec* from now on."""
        self._spec = spec
        self._seeds = [canonical(url) for url in spec.urls]
        self._sitemaps = [canonical(url) for url in spec.sitemaps if url != NAMED_BY_ROBOTS]
        self._boundary = Boundary(spec, self._seeds or self._sitemaps)
        for root in self._roots:
            self._boundary.add_seed(root)

    def met(self, target: Target) -> None:
        """Take note of a target that was found before, perhaps by another crawl of the job."""
        self._known.add(target.fp)
        if target.via is Via.SEED and target.hops:
            self.add_roots([target.url])

    def add_roots(self, urls: Iterable[str]) -> None:
        """Treat *urls* as start URLs too: redirects of start URLs led there."""
        for url in urls:
            if url not in self._roots:
                self._roots[url] = None
                self._boundary.add_seed(url)

    def begin(self) -> None:
        """Offer the start URLs and sitemaps; on a crawl that goes on they are known."""
        for url in self._seeds:
            self._offer_start(url, Via.SEED)
        for url in self._sitemaps:
            self._offer_start(url, Via.SITEMAP)

    def listed_by_robots(self, origin: str, sitemaps: Iterable[str]) -> None:
        """Offer the sitemaps that a robots.txt names, if the spec asks for that."""
        if NAMED_BY_ROBOTS in self._spec.sitemaps and origin in map(origin_of, self._seeds):
            base = Base(origin)
            for value in sitemaps:
                if (url := base.join(value)) is not None:
                    self._offer_start(url, Via.SITEMAP)

    def verdict(self, target: Target) -> str | None:
        """Return the rule that keeps a known target out by now, ``None`` if there is none."""
        if target.via is Via.SITEMAP:
            return None  # asked for by name, wherever it is
        return self._boundary.verdict(target.url, target.depth)

    def unknown(self, urls: Sequence[str]) -> list[str]:
        """Return those of *urls* that were not offered before, or may be again."""
        recent = self._recent
        left = [url for url in urls if url not in recent]
        known = self._known
        new = [u for u, fp in zip(left, fingerprints(left), strict=True) if fp not in known]
        if len(recent) > MOST_RECENT:
            recent.clear()
        recent.update(left)
        recent.difference_update(new)
        return new

    def offer(self, url: str, source: Target, via: Via, *, hop: bool = False) -> str:
        """Take note of a URL that *source* led to; see `visit.Finds`."""
        fp = fingerprint(url)
        if fp in self._known:
            return "known already"
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
            # example.org that leads to www.example.org: that is what was meant
            self.add_roots([url])
        rule = self._boundary.verdict(url, 0 if via is Via.SITEMAP else target.depth)
        if rule is None:
            return self._take(target)
        if rule.startswith("depth"):
            return rule  # not for good: it may be found again on a shorter way
        return self._keep_out(target, rule)

    def lost_credentials(self, count: int) -> None:
        """Count links whose user name or password was dropped."""
        self._draft.credentials += count

    def _offer_start(self, url: str, via: Via) -> None:
        """Take note of a URL that is in scope by definition, whatever its address."""
        fp = fingerprint(url)
        if fp in self._known:
            return
        target = Target(url, fp, host_of(url), via=via)
        rule = self.verdict(target)
        if rule is None:
            self._take(target)
        else:
            self.trouble = self.trouble or f"{url}: {rule}"
            self._keep_out(target, rule)

    def _take(self, target: Target) -> str:
        self._known.add(target.fp)
        self._draft.add_found(target)
        self._admit(target)
        return ""

    def _keep_out(self, target: Target, rule: str) -> str:
        self._known.add(target.fp)
        self._draft.add_skipped(target, rule)
        return rule


def _depth(source: Target, via: Via, *, hop: bool) -> int:
    """Return how many links a URL is away from a start URL; a hop changes nothing."""
    if hop or via is Via.REFRESH:
        return source.depth
    return 0 if via is Via.LISTED else source.depth + 1
