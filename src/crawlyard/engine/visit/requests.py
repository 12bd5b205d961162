"""Requests of one job, with its headers, its cookies and the credentials of its session."""

from collections.abc import Mapping
from functools import partial

from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.crawl.cookie import CookieMode
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine.batch import BatchDraft
from crawlyard.engine.hosts.rate_limiter import WaitToSend
from crawlyard.engine.http.fetch import ACCEPT_ENCODING, Fetcher, Response
from crawlyard.engine.start import Start
from crawlyard.engine.urls import canonical, spelled_origin_of

_PLAIN_HEADERS = frozenset({"accept", "accept-language", "dnt", "from"})
"""Headers of a spec that are sent to every site; all others may be credentials."""
_NO_HEADERS: Mapping[str, str] = {}
_ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


class RequestSender:
    """Sends the requests of one job: for pages, their files and robots.txt.

    Credentials are sent only to the origins of start URLs, and never from https to http, even
    if a link or redirect leads elsewhere.
    """

    def __init__(
        self,
        agent: str,
        fetcher: Fetcher,
        clock: Clock,
        draft: BatchDraft,
        start: Start,
    ) -> None:
        self._agent = agent
        self._fetcher = fetcher
        self._clock = clock
        self._draft = draft
        self._may_send, self._jar, self._session = start.may_send, start.jar, start.session

    def adopt(self, spec: JobSpec) -> None:
        """Apply the headers, cookies and body limit of *spec*."""
        self._max_body = spec.max_body
        self.has_cookies = spec.cookies is CookieMode.JOB
        starts = {spelled_origin_of(canonical(url)) for url in spec.urls}
        plain = {origin for origin in starts if origin.startswith("http:")}
        self._trusted = starts | {f"https{origin.removeprefix('http')}" for origin in plain}
        base = {"User-Agent": self._agent, "Accept": _ACCEPT, "Accept-Encoding": ACCEPT_ENCODING}
        custom = {name.lower(): (name, value) for name, value in spec.headers}
        defaults = {name: value for name, value in base.items() if name.lower() not in custom}
        self._headers = defaults | dict(custom[name] for name in custom if name in _PLAIN_HEADERS)
        self._secret_headers = defaults | dict(custom.values())
        pairs = custom.get("cookie", ("", ""))[1].split(";")
        self._cookie_names = frozenset(pair.partition("=")[0].strip() for pair in pairs)

    async def send(
        self,
        url: str,
        wait_to_send: WaitToSend,
        max_body: int | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
        *,
        head: bool = False,
        cookies: bool = False,
        trusted: bool = True,
    ) -> Response:
        """Send one request when *wait_to_send*, a method of its slot, returns.

        *headers* are for this request alone. With *cookies*, the job's cookies are sent, and those
        that the response sets are kept. Unless it is *trusted*, no credentials are sent, cookies
        included.

        Raises:
            FetchFailed: there was no usable response.
        """
        cookies = cookies and trusted and self.has_cookies
        cookie = self.cookies_for(url) if cookies and self._jar.by_id else ""
        own = {**(self._headers_for(url) if trusted else self._headers), **headers}
        response = await self._fetcher.fetch(
            url,
            _with_cookie(own, cookie) if cookie or "cookie" in headers else own,
            max_body or self._max_body,
            partial(wait_to_send, self._may_send),
            head=head,
        )
        self._draft.tally.spend(response.wire_bytes)
        if cookies and (lines := response.all_headers("set-cookie")):
            self._jar.receive(url, lines, self._clock.now())
        return replace(response, cookies=cookie) if cookie else response

    def cookies_for(self, url: str) -> str:
        """Return the Cookie header that a request for *url* gets from the jar, "" for none."""
        names = self._cookie_names if spelled_origin_of(url) in self._trusted else ()
        return self._jar.header(url, self._clock.now(), names)

    def _headers_for(self, url: str) -> Mapping[str, str]:
        headers = self._secret_headers if spelled_origin_of(url) in self._trusted else self._headers
        if self._session is None or not (credentials := self._session.headers(url)):
            return headers
        rest = {n: value for n, value in headers.items() if n.lower() != "authorization"}
        return {**rest, **credentials}


def _with_cookie(headers: Mapping[str, str], cookie: str) -> Mapping[str, str]:
    """Return *headers* with one Cookie header: those of the spec and of scripts, and *cookie*.

    Source: RFC 6265, section 5.4: a request has one at most.
    """
    cookies = [value for name, value in headers.items() if name.lower() == "cookie"]
    rest = {name: value for name, value in headers.items() if name.lower() != "cookie"}
    return {**rest, "Cookie": "; ".join(filter(None, (*cookies, cookie)))}
