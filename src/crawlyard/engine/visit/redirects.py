"""Redirects: chains of targets, each redirecting to the next."""

import json
from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.crawl.page import ErrorKind, Outcome, Target, TargetState, Via
from crawlyard.engine.discovery import MAX_HOPS, Discovery
from crawlyard.engine.extract import record
from crawlyard.engine.http.fetch import Response
from crawlyard.engine.urls import Base
from crawlyard.engine.visit.requests import RequestSender
from crawlyard.engine.visit.state import Visit, VisitAgain

MOST_CHAINS = 10_000  # in memory; for older ones only the origin is known
_STATUSES = frozenset({301, 302, 303, 307, 308})


class _Chain(Struct, frozen=True):
    """Redirects that led to a target."""

    cookies: Mapping[str, str] = {}  # Cookie headers by the URLs that were requested with them
    sets_cookie: bool = False  # at least one response set a cookie
    is_repeated: bool = False  # the target was requested again with its own cookie


class Redirects:
    """Follows the redirects of one job; each hop is a target of its own."""

    def __init__(self, requests: RequestSender, discovery: Discovery, clock: Clock) -> None:
        self._requests = requests
        self._discovery = discovery
        self._clock = clock
        self.chains: dict[int, _Chain] = {}  # by fingerprint of the waiting target at its end

    def follow(self, visit: Visit, response: Response) -> Outcome | None:
        """Offer the URL to which a response redirects; a step.

        Raises:
            VisitAgain: it redirects to itself, with other cookies now.
        """
        if response.status not in _STATUSES:
            return None
        target = visit.target
        locations = sorted(set(response.all_headers("location")))
        base = Base(target.url)
        url = base.join(locations[0]) if len(locations) == 1 else None
        self._discovery.count_credentials(base.credentials)
        chain = self.chains.get(target.fp, _Chain())
        cookies = {**chain.cookies, target.url: response.cookies}
        sets_cookie = chain.sets_cookie or bool(response.header("set-cookie"))
        back = url is not None and (url in cookies or url == target.origin)
        problem = ""
        if url is None:
            problem = f"no usable Location: {json.dumps(locations)[:200]}"
        elif back and not self._may_return(url, target, cookies):
            problem = self._loop(url, target, sets_cookie=sets_cookie)
        elif target.hops >= MAX_HOPS:
            problem = f"more than {MAX_HOPS} redirects, from {target.origin or target.url}"
        if url is None or problem:
            kind, now = ErrorKind.BAD_REDIRECT, self._clock.now()
            return record.failure_outcome(target, kind, problem, now, status=response.status)
        rule = self._discovery.offer(url, target, target.via, hop=True, again=back)
        if rule:  # the new URL won't be fetched, so the chain ends here
            return Outcome(target, TargetState.SKIPPED, rule=f"redirect to {url}: {rule}")
        key = self._discovery.key(url, target.via, target, again=back)
        self._keep(key, _Chain(cookies, sets_cookie))
        return Outcome(target, TargetState.REDIRECTED, rule=f"redirect to {url}")

    def forget(self, target: Target) -> None:
        """Drop the chain of a target that has its outcome."""
        self.chains.pop(target.fp, None)

    def _keep(self, fp: int, chain: _Chain) -> None:
        if len(self.chains) >= MOST_CHAINS:
            del self.chains[next(iter(self.chains))]
        self.chains[fp] = chain

    def _may_return(self, url: str, target: Target, cookies: Mapping[str, str]) -> bool:
        """Return whether a redirect back to *url* is no loop, since its cookies have changed.

        Raises:
            VisitAgain: it redirects to itself, and is requested once more.
        """
        if not self._has_cookies(target) or self._requests.cookies_for(url) == cookies.get(url, ""):
            return False
        if url != target.url:
            return True
        chain = self.chains.get(target.fp, _Chain())
        if chain.is_repeated:
            return False
        self._keep(target.fp, replace(chain, is_repeated=True))
        raise VisitAgain

    def _loop(self, url: str, target: Target, *, sets_cookie: bool) -> str:
        back = f"redirect loop: it leads back to {'itself' if url == target.url else url}"
        if not sets_cookie:
            return back
        if self._has_cookies(target):
            return f"{back}, also with the cookies that the site sets"
        return f"{back}; the site sets a cookie, which is not kept"

    def _has_cookies(self, target: Target) -> bool:
        return self._requests.has_cookies and target.via is not Via.EXTERNAL
