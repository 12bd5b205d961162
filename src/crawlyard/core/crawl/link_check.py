"""Link check: what is wrong with the links, titles and canonical URLs of a crawled site."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum, auto
from urllib.parse import unquote

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.crawl.link import Link
from crawlyard.core.crawl.page import ErrorKind, KnownURL, Page, RuleKind, TargetState, Via
from crawlyard.core.quantity import counted
from crawlyard.core.words import error_words

MOST_PAGES = 100_000
"""Pages of a job that can be checked: about 500 bytes of memory each, beside their links."""

_REDIRECT = "redirect to "  # how the rule of a redirected target begins
_MOST_HOPS = 20  # more than any crawl follows
_UNSAID = frozenset({ErrorKind.RATE_LIMITED, ErrorKind.ROBOTS, ErrorKind.PROXY, ErrorKind.INTERNAL})
"""Failures that say nothing about the URL itself."""


class FindingKind(StrEnum):
    """What can be wrong."""

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
    FAILED = auto()  # its response says nothing about it: 429, no robots.txt, no proxy
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
    """One thing that is wrong."""

    kind: FindingKind
    url: str  # where the links lead, or the page whose title or canonical URL it is
    fragment: str = ""
    status: int | None = None
    detail: str
    chain: tuple[str, ...] = ()  # the URLs that redirects lead to, in order
    linked_from: tuple[Referrer, ...] = ()
    sitemap: str = ""  # the sitemap in which the URL was found, before any link to it
    pages: tuple[str, ...] = ()  # that have the same title
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
    """What a check keeps of a page."""

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
            error = None  # readers get the file: a link to it works
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
    """Gathers what is known of a job: first its redirects and pages, then its links."""

    pages: dict[str, _Seen] = field(default_factory=dict)
    nofollow: bool = False  # the crawl followed rel=nofollow links
    links: int = 0
    unchecked: dict[str, UncheckedReason] = field(default_factory=dict)  # by URL, as found
    targets: set[str] = field(default_factory=set)
    wanted: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Fragments that links name, by the URL of the page that should have them."""
    _external: set[str] = field(default_factory=set)  # whose redirects are not the site's
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

    def add_known(self, known: KnownURL) -> None:
        """Add a URL that waits, was redirected or skipped, or may be listed by a sitemap."""
        rule = known.rule
        if known.via is Via.EXTERNAL:
            self._external.add(known.url)
        elif known.via is Via.LISTED:
            self._listed[known.url] = known.parent or ""
        if known.state is TargetState.WAITING:
            self._kept_out[known.url] = UncheckedReason.LIMIT
        elif known.state in {TargetState.REDIRECTED, TargetState.SKIPPED}:
            url = known.url
            if rule.startswith(_REDIRECT):
                # a canonical URL contains no space
                url, _, rule = rule.removeprefix(_REDIRECT).partition(": ")
                self._redirects[known.url] = url
            kind = rule.replace(":", " ").partition(" ")[0]
            if kind == RuleKind.SITEMAP:
                self._sitemaps.add(url)
            elif kind in _REASON_OF_RULE:
                self._kept_out.setdefault(url, _REASON_OF_RULE[RuleKind(kind)])

    def add_page(self, page: Page) -> None:
        """Add a page."""
        self.pages[page.final_url] = _Seen.of(page)

    def add_links(self, source: str, links: Iterable[Link]) -> None:
        """Add the links of a page, when all redirects and pages are known."""
        for link in links:
            self.links += 1
            self.targets.add(link.url)
            nofollow = "nofollow" in link.rel.split() and not self.nofollow
            seen = self._checked(link.url, nofollow=nofollow)
            if seen is None:
                continue
            if seen.url != source:
                self._linked.add(seen.url)
            referrer = Referrer(url=source, text=link.text)
            if seen.error or link.url in self._redirects:
                self._referrers[link.url, ""][referrer] = None
            if link.fragment and not seen.error and _names_an_id(link.fragment):
                self.wanted[seen.url].add(link.fragment)
                self._referrers[link.url, link.fragment][referrer] = None

    def add_unlinked(self) -> None:
        """Add the URLs that no page links to, when all links are known."""
        hops = set(self._redirects.values())
        for url in self._listed:
            if url in self._redirects and url not in hops and self._checked(url) is not None:
                _ = self._referrers[url, ""]  # none, and yet a finding
        for url in self._kept_out:
            if url not in self.unchecked and url not in self._unchecked_ends:
                self._checked(url)

    def _checked(self, url: str, *, nofollow: bool = False) -> _Seen | None:
        """Return the page that *url* leads to; if it was not checked, note why.

        *nofollow*: the crawl did not follow the link.
        """
        end = self._chain(url)[-1]
        seen = self.pages.get(end)
        if seen is not None and not seen.unsaid:
            return seen
        if end in self._sitemaps:
            return None  # it was read, and is not stored as a page
        if seen is not None or end in self._redirects:
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
        """Return what is wrong, sorted; *missing*: fragments that a page has not, by its URL."""
        order = list(FindingKind)
        found = [
            *self._broken(),
            *self._missing(missing),
            *self._redirected(),
            *self._titles(),
            *self._canonicals(),
            *self._orphans(),
        ]
        return sorted(found, key=lambda one: (order.index(one.kind), one.url, one.fragment))

    def _chain(self, url: str) -> tuple[str, ...]:
        """Return *url* and where redirects lead from it."""
        if url not in self._redirects:
            return (url,)
        chain = self._chains.get(url)
        if chain is None:
            found = {url: None}
            # one that was a page when it was asked again, with a cookie, leads no further
            while (last := next(reversed(found))) not in self.pages:
                after = self._redirects.get(last)
                if after is None or after in found or len(found) > _MOST_HOPS:
                    break
                found[after] = None
            chain = self._chains[url] = tuple(found)
        return chain

    def _linked_from(self, url: str, fragment: str = "") -> tuple[Referrer, ...]:
        return tuple(self._referrers.get((url, fragment), ()))

    def _broken(self) -> Iterator[Finding]:
        linked = {url for url, fragment in self._referrers if not fragment}
        # one that nobody links to is a start URL, or listed by a sitemap
        alone = {seen.origin for seen in self.pages.values() if seen.error and not seen.unsaid}
        for url in linked | alone:
            chain = self._chain(url)
            seen = self.pages.get(chain[-1])
            if seen is not None and seen.error:
                yield Finding(
                    kind=FindingKind.BROKEN_LINK,
                    url=url,
                    status=seen.status,
                    detail=seen.error,
                    chain=chain[1:],
                    linked_from=self._linked_from(url),
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
                    linked_from=self._linked_from(url, fragment),
                )

    def _redirected(self) -> Iterator[Finding]:
        for url, fragment in self._referrers:
            chain = self._chain(url)
            seen = self.pages[chain[-1]]
            alien = url in self._external
            if not (fragment or seen.error or alien) and len(chain) > 1:
                single = len(chain) == 2
                hops = "" if single else f"{len(chain) - 1} redirects, to "
                yield Finding(
                    kind=FindingKind.REDIRECT if single else FindingKind.REDIRECT_CHAIN,
                    url=url,
                    status=seen.status,
                    detail=f"{hops or 'redirects to '}{chain[-1]}",
                    chain=chain[1:],
                    linked_from=self._linked_from(url),
                    sitemap=self._listed.get(url, ""),
                )

    def _titles(self) -> Iterator[Finding]:
        same: dict[str, list[str]] = defaultdict(list)
        for seen in self.pages.values():
            original = seen.canonical in ("", seen.url)
            if seen.title and original and not (seen.error or seen.noindex):
                same[seen.title].append(seen.url)
        for title, urls in same.items():
            if len(urls) > 1:
                pages = tuple(sorted(urls))
                detail = f"{counted(len(pages), 'page')} have the title {title!r}"
                yield Finding(
                    kind=FindingKind.DUPLICATE_TITLE, url=pages[0], detail=detail, pages=pages
                )

    def _canonicals(self) -> Iterator[Finding]:
        for seen in self.pages.values():
            if seen.error or seen.canonical in ("", seen.url):
                continue
            why = self._contradicts(seen.canonical)
            if why:
                yield Finding(
                    kind=FindingKind.CANONICAL,
                    url=seen.url,
                    status=seen.status,
                    detail=f"its canonical URL {seen.canonical} {why}",
                )

    def _orphans(self) -> Iterator[Finding]:
        if self.is_incomplete:
            return  # a page that was not read may link to it
        for url, sitemap in self._listed.items():
            seen = self.pages.get(url)
            if seen is not None and not seen.error and url not in self._linked:
                yield Finding(
                    kind=FindingKind.ORPHAN_PAGE,
                    url=url,
                    status=seen.status,
                    detail="no page of the crawl links to it",
                    sitemap=sitemap,
                )

    def _contradicts(self, url: str) -> str:
        """Return what a canonical URL should not do; empty if it is well, or not known."""
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
    """Return the *fragments* that no id of a page answers.

    Source: WHATWG HTML §7.4.6.4, «select the indicated part».
    """
    known = frozenset(ids)

    def is_found(fragment: str) -> bool:
        name = fragment.partition(":~:")[0]
        return name in known or unquote(name) in known or unquote(name).lower() in {"", "top"}

    return {fragment for fragment in fragments if not is_found(fragment)}


def compared(findings: Sequence[Finding], before: Iterable[Finding]) -> list[Finding]:
    """Return *findings*, each marked as new if it is not among those *before*."""
    known = {one.key for one in before}
    return [replace(one, new=one.key not in known) for one in findings]
