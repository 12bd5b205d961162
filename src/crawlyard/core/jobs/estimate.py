"""Estimate of a crawl before it begins: pages, time and data, and which limit would stop it."""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum, auto

from msgspec import Struct

from crawlyard.core.jobs.limits import LIMITS, Limits, Usage
from crawlyard.core.jobs.spec import JobSpec

_SLOWER = 3.0  # a page takes up to this many times as long as robots.txt, which is a file
_CLOSE = 0.8  # of a limit: this close, an estimate cannot tell on which side it ends


class Basis(StrEnum):
    """Sources of the estimated number of pages."""

    START_URLS = auto()  # no links are followed
    SITEMAPS = auto()
    EARLIER = auto()  # the last crawl of the host
    UNKNOWN = auto()


class Bound(StrEnum):
    """Precision of the number of pages."""

    EXACT = auto()
    ABOUT = auto()
    AT_LEAST = auto()  # not all sitemaps were read
    AT_MOST = auto()  # the depth may end before


class LimitForecast(StrEnum):
    """Verdicts on whether a limit would stop the crawl."""

    NO = auto()
    PERHAPS = auto()
    YES = auto()
    UNKNOWN = auto()


class HostPace(Struct, frozen=True, kw_only=True):
    """Delay and response time expected of one host."""

    delay_s: float  # between two requests
    answer_s: float | None  # mean response time so far; None: no responses

    def interval_s(self, per_host: int, slower: float = 1.0) -> float | None:
        """Return the time from one page to the next; ``None`` if unknown."""
        if self.answer_s is None:
            return self.delay_s or None
        return max(self.delay_s, slower * self.answer_s / per_host)


class Sight(Struct, frozen=True, kw_only=True):
    """Facts about a site gathered without fetching a page."""

    starts: Mapping[str, int]  # start URLs in scope, by host
    named: Mapping[str, int]  # URLs of sitemaps that are in scope, by host
    whole: bool  # all sitemaps were read
    paces: Mapping[str, HostPace]
    earlier: Usage | None = None  # of the last crawl that ended


class LimitUse(Struct, frozen=True, kw_only=True):
    """Share of a limit that a crawl would use; ``None``: unknown, or no limit."""

    limit: str  # "pages", "duration" or "bytes"
    most: float | None
    least_used: float | None
    most_used: float | None
    verdict: LimitForecast


class Estimate(Struct, frozen=True, kw_only=True):
    """Estimated extent of a crawl; ``None``: unknown."""

    basis: Basis
    bound: Bound
    pages: int | None  # without a limit
    least_s: float | None  # until they are fetched, or the limit of pages is reached
    most_s: float | None
    bytes: int | None
    limits: tuple[LimitUse, ...]


def estimate_crawl(spec: JobSpec, sight: Sight) -> Estimate:
    """Return the estimated extent of a crawl of *spec*, from the facts in *sight*."""
    basis, bound, by_host = _pages(spec, sight)
    pages = None if by_host is None else sum(by_host.values())
    most = spec.limits.pages
    fetched = pages if most is None or pages is None else min(pages, most)
    share = fetched / pages if pages and fetched is not None else 1.0
    least_s = _time(spec, sight, by_host, share)
    most_s = _time(spec, sight, by_host, share, _SLOWER)
    size = _size(sight.earlier, fetched)
    used = {"pages": (pages, pages), "duration": (least_s, most_s), "bytes": (size, size)}
    return Estimate(
        basis=basis,
        bound=bound,
        pages=pages,
        least_s=least_s,
        most_s=most_s,
        bytes=size,
        limits=tuple(_uses(spec.limits, used, bound)),
    )


def _pages(spec: JobSpec, sight: Sight) -> tuple[Basis, Bound, Mapping[str, int] | None]:
    """Return the source of the number of pages, its precision, and the pages by host."""
    if spec.max_depth == 0 and not spec.sitemaps:
        return Basis.START_URLS, Bound.EXACT, sight.starts
    deep = spec.max_depth is None or bool(spec.sitemaps)
    if sight.named:
        bound = Bound.AT_LEAST if not sight.whole else Bound.ABOUT if deep else Bound.AT_MOST
        hosts = dict.fromkeys((*sight.starts, *sight.named))
        by_host = {h: max(sight.starts.get(h, 0), sight.named.get(h, 0)) for h in hosts}
        return Basis.SITEMAPS, bound, by_host
    if sight.earlier is not None:
        host = next(iter(sight.starts), "")
        pages = max(sight.earlier.pages, sight.earlier.discovered)
        return Basis.EARLIER, Bound.ABOUT, {host: pages}
    return Basis.UNKNOWN, Bound.ABOUT, None


def _time(
    spec: JobSpec,
    sight: Sight,
    by_host: Mapping[str, int] | None,
    share: float,
    slower: float = 1.0,
) -> float | None:
    """Return the total time of the pages: hosts run in parallel, the pages of a host in turn."""
    if by_host is None:
        return None
    longest = total = 0.0
    for host, pages in by_host.items():
        pace = sight.paces.get(host)
        interval_s = pace.interval_s(spec.per_host, slower) if pace is not None else None
        if pace is None or interval_s is None:
            return None
        longest = max(longest, pages * interval_s)
        total += pages * slower * (pace.answer_s or 0.0)
    return max(longest, total / spec.concurrency) * share


def _size(earlier: Usage | None, pages: int | None) -> int | None:
    if earlier is None or not earlier.pages or pages is None:
        return None
    return round(earlier.bytes / earlier.pages * pages)


def _uses(
    limits: Limits, used: Mapping[str, Sequence[float | None]], bound: Bound
) -> Iterator[LimitUse]:
    for word, (least, most_used) in used.items():
        most: float | None = getattr(limits, LIMITS[word])
        yield LimitUse(
            limit=word,
            most=most,
            least_used=least,
            most_used=most_used,
            verdict=_verdict(most, least, most_used, bound),
        )


def _verdict(
    most: float | None, least: float | None, most_used: float | None, bound: Bound
) -> LimitForecast:
    if most is None:
        return LimitForecast.NO
    if least is None or most_used is None:
        return LimitForecast.UNKNOWN
    if least > most:
        return LimitForecast.PERHAPS if bound is Bound.AT_MOST else LimitForecast.YES
    close = most_used > most * (1.0 if bound is Bound.EXACT else _CLOSE)
    return LimitForecast.PERHAPS if close or bound is Bound.AT_LEAST else LimitForecast.NO
