"""Link check: what is wrong with the links, titles and canonical URLs of a crawled site."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum, auto
from urllib.parse import unquote

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.crawl.link import Link
from crawlyard.core.crawl.page import ErrorKind, KnownURL, Page, RuleKind, TargetState, Via
from crawlyard.core.quantity import count_noun
from crawlyard.core.words import error_words

MOST_PAGES = 100_000
"""Pages of a job that can be checked: about 500 bytes of memory each, beside their links."""

_REDIRECT = "redirect to "  # prefix of the rule of a redirected target
_MOST_HOPS = 20  # more than any crawl follows
_UNSAID = frozenset({ErrorKind.RATE_LIMITED, ErrorKind.ROBOTS, ErrorKind.PROXY, ErrorKind.INTERNAL})
"""Failures that say nothing about the URL itself."""


class FindingKind(StrEnum):
    """Problems that a link check reports."""

    BROKEN_LINK = auto()  # the URL fails
    MISSING_FRAGMENT = auto()  # the page has no such id
    REDIRECT_CHAIN = auto()  # more than one redirect in a row
    REDIRECT = auto()  # a single one
    DUPLICATE_TITLE = auto()  # several pages have it
    CANONICAL = auto()  # the canonical URL of a page fails, redirects or names another
    ORPHAN_PAGE = auto()  # a sitemap lists the page, and no page links to it


class UncheckedReason(StrEnum):
    """Why a URL was found and not checked."""

    LIMIT = auto()  # a limit came first: of pages, time, depth …; or the job still runs
    FAILED = auto()  # its response says nothing about it: 429, no robots.txt, no working proxy
    ROBOTS = auto()  # robots.txt forbids it
    OTHER_SITE = auto()  # out of scope
    EXCLUDED = auto()  # by a pattern, or by an operator who blocked the host
    NOFOLLOW = auto()  # only rel=nofollow links lead to it


_REASON_OF_RULE = {
    RuleKind.ROBOTS: UncheckedReason.ROBOTS,
    RuleKind.SCOPE: UncheckedReason.OTHER_SITE,
    RuleKind.EXCLUDE: UncheckedReason.EXCLUDED,
    RuleKind.INCLUDE: UncheckedReason.EXCLUDED,
    RuleKind.HOST: UncheckedReason.EXCLUDED,
    RuleKind.DEPTH: UncheckedReason.LIMIT,
}


class Referrer(Struct, frozen=True, kw_only=True):
    """A page with a link."""

    url: str
    text: str  # of the link


class Finding(Struct, frozen=True, kw_only=True):
    """A broken link or another problem, with the pages that have it."""

    kind: FindingKind
    url: str  # the link target, or the page with the title or canonical URL
    fragment: str = ""
    status: int | None = None
    detail: str
    chain: tuple[str, ...] = ()  # the URLs that redirects lead to, in order
    linked_from: tuple[Referrer, ...] = ()
    sitemap: str = ""  # the sitemap in which the URL was found, before any link to it
    pages: tuple[str, ...] = ()  # pages with the same title
    new: bool | None = None  # not found by the check it is compared with; None: no comparison

    @property
    def links(self) -> int:
        """Number of links that lead to the URL."""
        return len(self.linked_from)

    @property
    def address(self) -> str:
        """URL with its fragment."""
        return f"{self.url}#{self.fragment}" if self.fragment else self.url

    @property
    def key(self) -> tuple[str, str, str]:
        """Identity of the finding in other checks of the same site."""
        return self.kind, self.url, self.fragment


class _Seen(Struct, frozen=True):
    """Fields of a page that a check keeps."""

    url: str  # after redirects
    origin: str
    status: int | None
    error: str  # a sentence, empty: none
    title: str
    canonical: str
    noindex: bool
    unsaid: bool

    @classmethod
    def of(cls, page: Page) -> "_Seen":
        error = page.error
        if error is not None and error.kind is ErrorKind.UNREADABLE:
            error = None  # readers get the file, so a link to it works
        return cls(
            url=page.final_url,
            origin=page.url,
            status=page.status,
            error=(error.detail or error_words(error.kind, page.status)) if error else "",
            title=page.title,
            canonical=page.canonical,
            noindex=page.noindex,
            unsaid=error is not None and error.kind in _UNSAID,
        )


class LinkCheck(Struct):
    """Collects the records of a job: first its redirects and pages, then its links."""

    pages: dict[str, _Seen] = field(default_factory=dict)
    nofollow: bool = False  # the crawl followed rel=nofollow links
    links: int = 0
    unchecked: dict[str, UncheckedReason] = field(default_factory=dict)  # by URL, as found
    targets: set[str] = field(default_factory=set)
    wanted: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Fragments that links name, by the URL of the page that should have them."""
    _external: set[str] = field(default_factory=set)  # their redirects are not the site's
    _redirects: dict[str, str] = field(default_factory=dict)
    _kept_out: dict[str, UncheckedReason] = field(default_factory=dict)  # waiting or skipped URLs
    _listed: dict[str, str] = field(default_factory=dict)  # the sitemap that lists a URL
    _sitemaps: set[str] = field(default_factory=set)  # sitemaps that were read
    _unchecked_ends: set[str] = field(default_factory=set)  # where redirects of unchecked URLs lead
    _linked: set[str] = field(default_factory=set)  # pages that another page links to
    _referrers: dict[tuple[str, str], dict[Referrer, None]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    _chains: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def is_incomplete(self) -> bool:
        """Some URLs of the site were not checked because of a limit or a failure."""
        return any(
            reason is UncheckedReason.LIMIT
            or (reason is UncheckedReason.FAILED and self._chain(url)[-1] not in self._external)
            for url, reason in self.unchecked.items()
        )

    def add_known(self, known_url: KnownURL) -> None:
        """Add a URL that waits, was redirected or skipped, or may be listed by a sitemap."""
        rule = known_url.rule
        if known_url.via is Via.EXTERNAL:
            self._external.add(known_url.url)
        elif known_url.via is Via.LISTED:
            self._listed[known_url.url] = known_url.parent or ""
        if known_url.state is TargetState.WAITING:
            self._kept_out[known_url.url] = UncheckedReason.LIMIT
        elif known_url.state in {TargetState.REDIRECTED, TargetState.SKIPPED}:
            url = known_url.url
            if rule.startswith(_REDIRECT):
                # a canonical URL contains no space
                url, _, rule = rule.removeprefix(_REDIRECT).partition(": ")
                self._redirects[known_url.url] = url
            kind = rule.replace(":", " ").partition(" ")[0]
            if kind == RuleKind.SITEMAP:
                self._sitemaps.add(url)
            elif kind in _REASON_OF_RULE:
                self._kept_out.setdefault(url, _REASON_OF_RULE[RuleKind(kind)])

    def add_page(self, page: Page) -> None:
        """Add a page under the URL that redirects led to."""
        self.pages[page.final_url] = _Seen.of(page)

    def add_links(self, source: str, links: Iterable[Link]) -> None:
        """Add the links of a page, once all redirects and pages are known."""
        for link in links:
            self.links += 1
            self.targets.add(link.url)
            nofollow = "nofollow" in link.rel.split() and not self.nofollow
            page = self._resolve(link.url, nofollow=nofollow)
            if page is None:
                continue
            if page.url != source:
                self._linked.add(page.url)
            referrer = Referrer(url=source, text=link.text)
            if page.error or link.url in self._redirects:
                self._referrers[link.url, ""][referrer] = None
            if link.fragment and not page.error and _names_an_id(link.fragment):
                self.wanted[page.url].add(link.fragment)
                self._referrers[link.url, link.fragment][referrer] = None

    def add_unlinked(self) -> None:
        """Add the URLs that no page links to, once all links are known."""
        hops = set(self._redirects.values())
        for url in self._listed:
            if url in self._redirects and url not in hops and self._resolve(url) is not None:
                _ = self._referrers[url, ""]  # a finding without referrers
        for url in self._kept_out:
            if url not in self.unchecked and url not in self._unchecked_ends:
                self._resolve(url)

    def _resolve(self, url: str, *, nofollow: bool = False) -> _Seen | None:
        """Return the page that *url* leads to; if it was not checked, record the reason.

        *nofollow*: the crawl did not follow the link.
        """
        end = self._chain(url)[-1]
        page = self.pages.get(end)
        if page is not None and not page.unsaid:
            return page
        if end in self._sitemaps:
            return None  # it was read, but is not stored as a page
        if page is not None or end in self._redirects:
            reason = UncheckedReason.FAILED
        else:
            # URLs beyond the depth are not remembered
            unknown = UncheckedReason.NOFOLLOW if nofollow else UncheckedReason.LIMIT
            reason = self._kept_out.get(end, unknown)
        if reason is not UncheckedReason.NOFOLLOW or url not in self.unchecked:
            self.unchecked[url] = reason
        self._unchecked_ends.add(end)
        return None

    def findings(self, missing: Mapping[str, Collection[str]]) -> list[Finding]:
        """Return the problems, sorted; *missing*: fragments that a page lacks, by its URL."""
        order = list(FindingKind)
        unsorted = [
            *self._broken(),
            *self._missing(missing),
            *self._redirect_findings(),
            *self._titles(),
            *self._canonicals(),
            *self._orphans(),
        ]
        return sorted(
            unsorted, key=lambda finding: (order.index(finding.kind), finding.url, finding.fragment)
        )

    def _chain(self, url: str) -> tuple[str, ...]:
        """Return *url* and where redirects lead from it."""
        if url not in self._redirects:
            return (url,)
        chain = self._chains.get(url)
        if chain is None:
            hops = {url: None}
            # a URL that became a page when it was fetched again with a cookie leads no further
            while (last := next(reversed(hops))) not in self.pages:
                after = self._redirects.get(last)
                if after is None or after in hops or len(hops) > _MOST_HOPS:
                    break
                hops[after] = None
            chain = self._chains[url] = tuple(hops)
        return chain

    def _referrers_to(self, url: str, fragment: str = "") -> tuple[Referrer, ...]:
        return tuple(self._referrers.get((url, fragment), ()))

    def _broken(self) -> Iterator[Finding]:
        linked = {url for url, fragment in self._referrers if not fragment}
        # a URL without links to it is a start URL, or listed by a sitemap
        alone = {page.origin for page in self.pages.values() if page.error and not page.unsaid}
        for url in linked | alone:
            chain = self._chain(url)
            page = self.pages.get(chain[-1])
            if page is not None and page.error:
                yield Finding(
                    kind=FindingKind.BROKEN_LINK,
                    url=url,
                    status=page.status,
                    detail=page.error,
                    chain=chain[1:],
                    linked_from=self._referrers_to(url),
                    sitemap=self._listed.get(url, ""),
                )

    def _missing(self, missing: Mapping[str, Collection[str]]) -> Iterator[Finding]:
        for url, fragment in self._referrers:
            chain = self._chain(url)
            if fragment and fragment in missing.get(chain[-1], ()):
                yield Finding(
                    kind=FindingKind.MISSING_FRAGMENT,
                    url=url,
                    fragment=fragment,
                    status=self.pages[chain[-1]].status,
                    detail="no element of the page has this id",
                    chain=chain[1:],
                    linked_from=self._referrers_to(url, fragment),
                )

    def _redirect_findings(self) -> Iterator[Finding]:
        for url, fragment in self._referrers:
            chain = self._chain(url)
            page = self.pages[chain[-1]]
            alien = url in self._external
            if not (fragment or page.error or alien) and len(chain) > 1:
                single = len(chain) == 2
                hops = "" if single else f"{len(chain) - 1} redirects, to "
                yield Finding(
                    kind=FindingKind.REDIRECT if single else FindingKind.REDIRECT_CHAIN,
                    url=url,
                    status=page.status,
                    detail=f"{hops or 'redirects to '}{chain[-1]}",
                    chain=chain[1:],
                    linked_from=self._referrers_to(url),
                    sitemap=self._listed.get(url, ""),
                )

    def _titles(self) -> Iterator[Finding]:
        same: dict[str, list[str]] = defaultdict(list)
        for page in self.pages.values():
            original = page.canonical in ("", page.url)
            if page.title and original and not (page.error or page.noindex):
                same[page.title].append(page.url)
        for title, urls in same.items():
            if len(urls) > 1:
                pages = tuple(sorted(urls))
                detail = f"{count_noun(len(pages), 'page')} have the title {title!r}"
                yield Finding(
                    kind=FindingKind.DUPLICATE_TITLE, url=pages[0], detail=detail, pages=pages
                )

    def _canonicals(self) -> Iterator[Finding]:
        for page in self.pages.values():
            if page.error or page.canonical in ("", page.url):
                continue
            why = self._contradicts(page.canonical)
            if why:
                yield Finding(
                    kind=FindingKind.CANONICAL,
                    url=page.url,
                    status=page.status,
                    detail=f"its canonical URL {page.canonical} {why}",
                )

    def _orphans(self) -> Iterator[Finding]:
        if self.is_incomplete:
            return  # an unread page may link to it
        for url, sitemap in self._listed.items():
            page = self.pages.get(url)
            if page is not None and not page.error and url not in self._linked:
                yield Finding(
                    kind=FindingKind.ORPHAN_PAGE,
                    url=url,
                    status=page.status,
                    detail="no page of the crawl links to it",
                    sitemap=sitemap,
                )

    def _contradicts(self, url: str) -> str:
        """Return the problem with a canonical URL; empty if there is none, or it is unknown."""
        chain = self._chain(url)
        if len(chain) > 1:
            return f"redirects to {chain[-1]}"
        named = self.pages.get(url)
        if named is None or named.unsaid:
            return ""
        if named.error:
            return f"fails: {named.error}"
        if named.noindex:
            return "says noindex"
        return f"names {named.canonical}" if named.canonical not in ("", url) else ""


def _names_an_id(fragment: str) -> bool:
    """Return whether a fragment names an element, and not a text or a route of a script."""
    return not fragment.startswith(("/", "!", ":~:"))


def missing_fragments(fragments: Iterable[str], ids: Collection[str]) -> set[str]:
    """Return the *fragments* that no id of a page matches.

    Source: WHATWG HTML §7.4.6.4, «select the indicated part».
    """
    known_ids = frozenset(ids)

    def is_found(fragment: str) -> bool:
        name = fragment.partition(":~:")[0]
        return (
            name in known_ids or unquote(name) in known_ids or unquote(name).lower() in {"", "top"}
        )

    return {fragment for fragment in fragments if not is_found(fragment)}


def mark_new(findings: Sequence[Finding], before: Iterable[Finding]) -> list[Finding]:
    """Return *findings*, each marked as new if it is not among those *before*."""
    old_keys = {finding.key for finding in before}
    return [replace(finding, new=finding.key not in old_keys) for finding in findings]
