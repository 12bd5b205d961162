"""Visit of one target: fetch it, read the response and offer its links to the crawl."""

import json
import random
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.crawl.cookie import CookieMode
from crawlyard.core.crawl.link import LinkKind, followed
from crawlyard.core.crawl.page import (
    ErrorKind,
    Outcome,
    PageError,
    Target,
    TargetState,
    Via,
)
from crawlyard.core.jobs.retry import RetryPolicy
from crawlyard.core.jobs.spec import JobSpec, TextMode
from crawlyard.core.quantity import counted
from crawlyard.engine import sitemaps
from crawlyard.engine.batch import BatchDraft
from crawlyard.engine.conditional import Prior, confirmed, seems_changed, spared, unchanged
from crawlyard.engine.discovery import Discovery
from crawlyard.engine.extract import record
from crawlyard.engine.extract.page import Extracted, ExtractError, Source, wanted_by
from crawlyard.engine.extract.parse_pool import ParsePool
from crawlyard.engine.hosts.gate import Allowed, Go, HostGate, Slot
from crawlyard.engine.http.cookies import CookieJar
from crawlyard.engine.http.fetch import (
    ACCEPT_ENCODING,
    Fetcher,
    FetchFailed,
    Response,
    is_refusal,
    retry_after_s,
)
from crawlyard.engine.recrawl import Recrawl
from crawlyard.engine.render.pool import Renderers
from crawlyard.engine.rendering import Permits, Rendering
from crawlyard.engine.robots.rules import token_of
from crawlyard.engine.site_session import ActiveSession, LogoutWatch
from crawlyard.engine.urls import Base, canonical, fingerprint, spelled_origin_of

MAX_HOPS = 10
MAX_SITEMAP_BYTES = 50 * 1024 * 1024  # sitemaps.org, protocol 0.9
MAX_NESTING = 2
"""Levels of nested sitemaps. The protocol lets an index name only sitemaps; one level of
nested indexes is accepted too. No other limit applies, because sitemaps are not pages."""
MOST_CHAINS = 10_000  # remembered redirect chains; for older ones only the origin is known
MOST_UNCONFIRMED = 1_000  # pages in memory that are asked again, at most a few of each host
_CAPS = {Via.SITEMAP: MAX_SITEMAP_BYTES, Via.EXTERNAL: 64 * 1024}
_NO_HEAD = frozenset({403, 405, 501})  # how servers refuse HEAD
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRANSIENT = frozenset({500, 502, 503, 504})
_PLAIN_HEADERS = frozenset({"accept", "accept-language", "dnt", "from"})
"""Headers of a spec that are sent to every site; all others may be credentials."""
_NO_HEADERS: Mapping[str, str] = {}
_ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


class _Chain(Struct, frozen=True):
    """Redirects that led to a target."""

    sent: Mapping[str, str] = _NO_HEADERS  # the cookies that each URL was asked with
    cookie: bool = False  # at least one of them set a cookie


class AskAgain(Exception):
    """The target is to be asked once more, before others of its host; nothing else has changed."""


class Tools(Struct, frozen=True):
    """Objects that all visits of a process share."""

    clock: Clock
    gate: HostGate
    heavy: ParsePool
    renderers: Renderers | None = None


class Visitor:
    """Fetches the targets of one job and returns their outcomes."""

    def __init__(
        self,
        spec: JobSpec,
        agent: str,
        fetcher: Fetcher,
        tools: Tools,
        finds: Discovery,
        *,
        draft: BatchDraft,
        may_send: Allowed,
        permits: Permits,
        recrawl: Recrawl | None = None,
        jar: CookieJar | None = None,
        session: ActiveSession | None = None,
    ) -> None:
        self._recrawl = recrawl
        self._jar = CookieJar() if jar is None else jar
        self._session = session
        self._fetcher = fetcher
        self._draft = draft
        self._may_send = may_send
        self._tools = tools
        self.rendering = Rendering(
            tools.renderers, tools.clock, tools.gate, permits=permits, send=self.ask, draft=draft
        )
        self._finds = finds
        self._agent = agent
        self._chains: dict[int, _Chain] = {}  # by fingerprint of the waiting target at its end
        self._unconfirmed: dict[int, Outcome] = {}  # of targets that are asked again, by their fp
        self._admitted: set[int] = set()  # fps of those asked again with the cookie that they set
        self.adopt(spec)

    def adopt(self, spec: JobSpec) -> None:
        """Switch to *spec*."""
        self._spec = spec
        self.rendering.adopt(spec)
        self._token = token_of(self._agent)
        self._wanted = wanted_by(spec)
        self._watch = None
        if self._session is not None:
            self._watch = LogoutWatch(spec, self._session)
            self._wanted = replace(self._wanted, session=self._watch.signs)
        # the first wait is short, as most transient failures last less than a second
        self._retry = RetryPolicy(
            attempts=spec.url_retries + 1,
            first_s=1,
            cap_s=timedelta(minutes=5).total_seconds(),
            jitter=0.3,
        )
        # credentials are sent only to the origins of start URLs (and never from https to
        # http), wherever a link or redirect leads
        starts = {spelled_origin_of(canonical(url)) for url in spec.urls}
        plain = {origin for origin in starts if origin.startswith("http:")}
        self._trusted = starts | {f"https{origin.removeprefix('http')}" for origin in plain}
        base = {"User-Agent": self._agent, "Accept": _ACCEPT, "Accept-Encoding": ACCEPT_ENCODING}
        own = {name.lower(): (name, value) for name, value in spec.headers}
        left = {name: value for name, value in base.items() if name.lower() not in own}
        self._headers = left | dict(own[name] for name in own if name in _PLAIN_HEADERS)
        self._secret_headers = left | dict(own.values())
        given = own.get("cookie", ("", ""))[1].split(";")
        self._own_cookies = frozenset(pair.partition("=")[0].strip() for pair in given)

    async def ask(
        self,
        url: str,
        go: Go,
        max_body: int | None = None,
        also: Mapping[str, str] = _NO_HEADERS,
        *,
        head: bool = False,
        keeps: bool = False,
        trusted: bool = True,
    ) -> Response:
        """Send one request when *go*, a method of its slot, returns; return the response.

        *also* are headers for this request alone. If it *keeps* cookies, those of the job go with
        it, and the job takes those that the response sets. Unless it is *trusted*, no credentials
        are sent, cookies included.

        Raises:
            FetchFailed: there was no usable response.
        """
        keeps = keeps and trusted and self._spec.cookies is CookieMode.JOB
        cookies = self._cookies_for(url) if keeps and self._jar else ""
        headers = {**(self._headers_for(url) if trusted else self._headers), **also}
        response = await self._fetcher.fetch(
            url,
            _with_cookies(headers, cookies) if cookies or "cookie" in also else headers,
            max_body or self._spec.max_body,
            partial(go, self._may_send),
            head=head,
        )
        self._draft.tally.spend(response.wire_bytes)
        if keeps and (given := response.all_headers("set-cookie")):
            self._jar.receive(url, given, self._tools.clock.now())
        return replace(response, cookies=cookies) if cookies else response

    def may_spare(self, target: Target) -> bool:
        """Return whether *target* may need no request; `spared` tells."""
        return self._recrawl is not None and self._recrawl.may_spare(target)

    async def spared(self, target: Target) -> Outcome | None:
        """Return the outcome of a target that needs no request, ``None`` if it needs one."""
        prior = await self._recrawl.spared(target, self._spec) if self._recrawl else None
        if prior is None:
            return None
        self._chains.pop(target.fp, None)
        self._follow_again(target, prior)
        return spared(target, prior)

    async def visit(self, target: Target, slot: Slot) -> Outcome:
        """Fetch *target*, release its *slot* and return its outcome.

        Raises:
            NotSent: the host isn't ready yet; nothing has changed.
            AskAgain: it differs from the earlier run, which the next visit confirms.
            LoggedOut: the session of the job is; nothing has changed.
        """
        again, prior, before = self._recrawl, None, None
        try:
            if again is not None:
                before = prior = await again.prior(target, self._spec)
                if before is None and self._spec.confirm_changes:
                    before = await again.compared(target)
            if target.fp in self._unconfirmed:
                outcome = await self._confirmed(target, slot)
            else:
                outcome = await self._outcome(target, slot, prior)
                self._check_changes(before, outcome)
        finally:
            slot.give()
        session, page = self._session, outcome.page
        if session is not None and page is not None and session.covers(target.url):
            sent = page.session or session.headers(target.url)
            label = session.label if sent else ""
            outcome = replace(outcome, page=replace(page, session=label))
        if outcome.state is not TargetState.WAITING:
            self._chains.pop(target.fp, None)
            self._admitted.discard(target.fp)
            if again is not None:
                again.done(prior, outcome)
        return outcome

    async def _outcome(self, target: Target, slot: Slot, prior: Prior | None) -> Outcome:
        gate = self._tools.gate
        try:
            head = target.via is Via.EXTERNAL and not target.tries
            cap = _CAPS.get(target.via)
            asked = self._conditions(prior)
            prior = prior if asked else None
            response = await self.ask(
                target.url, slot.go_soon, cap, asked, head=head, keeps=self._keeps(target)
            )
        except FetchFailed as failure:
            return self._after_failure(target, failure)
        finally:
            slot.give()
        if is_refusal(response):
            return self._after_refusal(target, response)
        if response.status in _TRANSIENT and (wait := self._wait(target)) is not None:
            return self._try_again(target, wait)
        gate.answered(target.host)
        if self._watch is not None and target.via is not Via.EXTERNAL:
            self._watch.check(target.url, response)
        if response.status in _REDIRECTS:
            return self._after_redirect(target, response)
        if target.via is Via.SITEMAP and response.status == 200:
            return self._read_sitemap(target, response)
        return await self._read(target, response, slot, prior)

    def _conditions(self, prior: Prior | None) -> Mapping[str, str]:
        """Return the headers that ask for a page only if it has changed since *prior*."""
        if self._recrawl is None or prior is None or self.rendering.renders_again(prior.page):
            return _NO_HEADERS
        return self._recrawl.conditions(prior)

    def _check_changes(self, before: Prior | None, outcome: Outcome) -> None:
        """Raise `AskAgain` if a page differs from that of the earlier run, and that matters."""
        confirms = self._spec.confirm_changes and len(self._unconfirmed) < MOST_UNCONFIRMED
        if confirms and before is not None and seems_changed(before, outcome):
            self._unconfirmed[outcome.target.fp] = outcome
            raise AskAgain

    async def _confirmed(self, target: Target, slot: Slot) -> Outcome:
        """Return the outcome of a target that is asked again; if that fails, it is the first."""
        first = self._unconfirmed[target.fp]
        try:
            response = await self.ask(target.url, slot.go_soon, keeps=True)
        except FetchFailed:
            response = None
        finally:
            slot.give()
        del self._unconfirmed[target.fp]
        if response is None or first.page is None:
            return first
        now = self._tools.clock.now()
        if is_refusal(response):
            asked_s = retry_after_s(response.header("retry-after"), now)
            self._tools.gate.refused(target.host, asked_s)
        if response.status != first.page.status:
            return first
        self._tools.gate.answered(target.host)
        return confirmed(first, await self._made(target, response, slot))

    def _checked(self, target: Target, response: Response) -> Outcome:
        """Return the outcome of a link out of scope; of its page, nothing is kept."""
        if response.status in _NO_HEAD and not target.tries:
            return self._try_again(target, timedelta(0))  # by GET
        answer = replace(response, body=b"", truncated="")
        now = self._tools.clock.now()
        outcome = record.answered(target, answer, Extracted(), self._spec, now)
        return replace(outcome, bodies={})

    async def _read(
        self, target: Target, response: Response, slot: Slot, prior: Prior | None
    ) -> Outcome:
        """Return the outcome of a final response; *prior* if it was asked for changes of that."""
        if target.via is Via.EXTERNAL:
            return self._checked(target, response)
        if response.status == 304 and prior is not None:
            self._follow_again(target, prior)
            return unchanged(target, prior, response, self._tools.clock.now())
        return await self._made(target, response, slot, follow=True)

    async def _made(
        self, target: Target, response: Response, slot: Slot, *, follow: bool = False
    ) -> Outcome:
        """Return the outcome of a page, whose scripts are run if its spec says so.

        With *follow*, its links are offered to the crawl.
        """
        may_run = response.status // 100 == 2 and record.is_html(response)
        reason = self.rendering.reason(target.url) if may_run else None
        plain = None
        if reason is None:
            extracted = plain = await self._extracted(target.url, response)
            if not (may_run and extracted is not None and extracted.needs_scripts):
                return self._recorded(target, response, extracted, follow=follow)
            reason = self.rendering.reason(target.url, needs_scripts=True)
            if reason is None:
                return self._recorded(target, response, extracted, follow=follow)
        slot.sent = False  # nothing is under way: a stop need not wait for what follows
        try:
            page = await self.rendering.render(target.url, response)
        except FetchFailed as failure:
            wait = self._wait(target) if failure.transient else None
            if wait is not None:
                return self._try_again(target, wait)
            error = PageError(kind=failure.kind, detail=failure.detail)
            extracted = plain or await self._extracted(target.url, response)
            return self._recorded(target, response, extracted, follow=follow, error=error)
        extracted = await self._extracted(page.url, response, page.html)
        rendered = record.Rendered(page, reason)
        return self._recorded(target, response, extracted, follow=follow, rendered=rendered)

    def _recorded(
        self,
        target: Target,
        response: Response,
        extracted: Extracted | None,
        *,
        follow: bool,
        rendered: record.Rendered | None = None,
        error: PageError | None = None,
    ) -> Outcome:
        if follow and extracted is not None:
            if self._watch is not None:
                self._watch.check_page(target.url, extracted.logged_out)
            if response.status < 400:
                self._follow(target, extracted)
        now = self._tools.clock.now()
        return record.answered(
            target, response, extracted, self._spec, now, rendered=rendered, error=error
        )

    async def _extracted(
        self, url: str, response: Response, rendered: bytes | None = None
    ) -> Extracted | None:
        """Return the data of a response, or of what was *rendered* after its scripts had run.

        ``None``: it is neither HTML nor a PDF.
        """
        is_pdf = record.is_pdf(response) and self._spec.text is not TextMode.NONE
        if not (is_pdf or record.is_html(response)):
            return None
        try:
            source = Source(
                url=url,
                is_pdf=is_pdf,
                charset=response.charset if rendered is None else "utf-8",
                language=response.header("content-language"),
                robots_header=response.all_headers("x-robots-tag"),
                agent_token=self._token,
                wanted=self._wanted,
            )
            body = response.body if rendered is None else rendered
            return await self._tools.heavy.run(body, source)
        except ExtractError as error:
            return Extracted(cut=f"not readable: {error}", unreadable=str(error))

    def _follow(self, target: Target, extracted: Extracted) -> None:
        self._finds.lost_credentials(extracted.credentials)
        self._offer(target, extracted.links, extracted.refresh)

    def _follow_again(self, target: Target, prior: Prior) -> None:
        links = followed(prior.links, nofollow=self._spec.follow_nofollow)
        refreshes = (link.url for link in prior.links if link.kind is LinkKind.REFRESH)
        self._offer(target, links, next(refreshes, None))

    def _offer(self, target: Target, links: Sequence[str], refresh: str | None) -> None:
        for url in self._finds.unknown(links):
            self._finds.offer(url, target, Via.LINK)
        if refresh is not None and target.hops < MAX_HOPS:
            self._finds.offer(refresh, target, Via.REFRESH)

    def _read_sitemap(self, target: Target, response: Response) -> Outcome:
        read = sitemaps.parse(response.body, target.url)
        if self._recrawl is not None:
            self._recrawl.read(read)
        self._finds.lost_credentials(read.credentials)
        for url in read.sitemaps:
            if target.depth < MAX_NESTING:
                self._finds.offer(url, target, Via.SITEMAP)
        for url in read.urls:
            self._finds.offer(url, target, Via.LISTED)
        rule = (
            f"sitemap: {counted(len(read.urls), 'URL')}, {counted(len(read.sitemaps), 'sitemap')}"
        )
        if read.problem or response.truncated:
            rule += f" ({read.problem or response.truncated})"
        return Outcome(target, TargetState.SKIPPED, rule=rule)

    def _after_redirect(self, target: Target, response: Response) -> Outcome:
        now = self._tools.clock.now()
        locations = sorted(set(response.all_headers("location")))
        base = Base(target.url)
        url = base.join(locations[0]) if len(locations) == 1 else None
        self._finds.lost_credentials(base.credentials)
        before = self._chains.get(target.fp, _Chain())
        cookie = before.cookie or bool(response.header("set-cookie"))
        sent = {**before.sent, target.url: response.cookies}
        again = url is not None and (url in sent or url == target.origin)
        problem = ""
        if url is None:
            problem = f"no usable Location: {json.dumps(locations)[:200]}"
        elif again and not self._may_ask_again(url, target, sent):
            problem = self._loop(url, target, cookie=cookie)
        elif target.hops >= MAX_HOPS:
            problem = f"more than {MAX_HOPS} redirects, from {target.origin or target.url}"
        if url is None or problem:
            kind = ErrorKind.BAD_REDIRECT
            return record.failed(target, kind, problem, now, status=response.status)
        rule = self._finds.offer(url, target, target.via, hop=True, again=again)
        if rule:  # the new URL won't be fetched, so the chain ends here
            return Outcome(target, TargetState.SKIPPED, rule=f"redirect to {url}: {rule}")
        if len(self._chains) >= MOST_CHAINS:
            del self._chains[next(iter(self._chains))]
        key = fingerprint(f"{url}#again" if again else url)
        self._chains[key] = _Chain(sent, cookie)
        return Outcome(target, TargetState.REDIRECTED, rule=f"redirect to {url}")

    def _after_failure(self, target: Target, failure: FetchFailed) -> Outcome:
        wait = self._wait(target) if failure.transient else None
        if wait is not None:
            return self._try_again(target, wait)
        tries = f" ({counted(target.tries + 1, 'try', 'tries')})" if target.tries else ""
        now = self._tools.clock.now()
        return record.failed(target, failure.kind, failure.detail + tries, now)

    def _after_refusal(self, target: Target, response: Response) -> Outcome:
        """Hold the whole host after a 429, or a 503 with a Retry-After."""
        now = self._tools.clock.now()
        asked_s = retry_after_s(response.header("retry-after"), now)
        held_s = self._tools.gate.refused(target.host, asked_s)
        if target.tries < self._spec.url_retries:
            return self._try_again(target, timedelta(seconds=held_s))
        detail = (
            f"answered {response.status} to the last ({counted(target.tries + 1, 'try', 'tries')})"
        )
        return record.failed(target, ErrorKind.RATE_LIMITED, detail, now, status=response.status)

    def _wait(self, target: Target) -> timedelta | None:
        return self._retry.wait(target.tries + 1, random.random())

    def _try_again(self, target: Target, wait: timedelta) -> Outcome:
        due = self._tools.clock.now() + wait
        again = replace(target, tries=target.tries + 1, due_at=due)
        return Outcome(again, TargetState.WAITING)

    def _may_ask_again(self, url: str, target: Target, sent: Mapping[str, str]) -> bool:
        """Return whether a redirect back to *url* is none, as other cookies go with it now.

        Raises:
            AskAgain: it is the target itself, which is asked once more.
        """
        if not self._keeps(target) or self._cookies_for(url) == sent.get(url, ""):
            return False
        if url != target.url:
            return True
        if target.fp in self._admitted:
            return False
        self._admitted.add(target.fp)
        raise AskAgain

    def _loop(self, url: str, target: Target, *, cookie: bool) -> str:
        back = f"redirect loop: it leads back to {'itself' if url == target.url else url}"
        if not cookie:
            return back
        if self._keeps(target):
            return f"{back}, also with the cookies that the site sets"
        return f"{back}; the site sets a cookie, which is not kept"

    def _keeps(self, target: Target) -> bool:
        """Return whether cookies go with the request of a target, and are taken from its answer.

        Links out of scope are only checked: cookies of so many hosts would fill the jar.
        """
        return self._spec.cookies is CookieMode.JOB and target.via is not Via.EXTERNAL

    def _cookies_for(self, url: str) -> str:
        own = self._own_cookies if spelled_origin_of(url) in self._trusted else ()
        return self._jar.header(url, self._tools.clock.now(), own)

    def _headers_for(self, url: str) -> Mapping[str, str]:
        trusted = spelled_origin_of(url) in self._trusted
        headers = self._secret_headers if trusted else self._headers
        own = self._session.headers(url) if self._session is not None else _NO_HEADERS
        if not own:
            return headers
        left = {n: value for n, value in headers.items() if n.lower() != "authorization"}
        return {**left, **own}


def _with_cookies(headers: Mapping[str, str], cookies: str) -> Mapping[str, str]:
    """Return *headers* with one Cookie header: that of the spec, of the page's scripts, *cookies*.

    Source: RFC 6265, section 5.4: a request has one at most.
    """
    given = [value for name, value in headers.items() if name.lower() == "cookie"]
    left = {name: value for name, value in headers.items() if name.lower() != "cookie"}
    return {**left, "Cookie": "; ".join(filter(None, (*given, cookies)))}
