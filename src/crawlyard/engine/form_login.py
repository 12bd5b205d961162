"""Form login: fills in the login form of a site, sends it, and returns the cookies it brings.

Each request goes through the guard and at the pace of its host, as in a crawl, also those of a page
whose form scripts make, which is filled in by a browser. What was filled in is sent to the origin
of the form alone.
"""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from urllib.parse import quote, quote_plus, urlencode

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.site_session import FormMark, SessionState
from crawlyard.core.crawl.cookie import Cookie
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.crawl.rendering import Browser
from crawlyard.engine.extract.forms import LoginForm, has_scripts, login_form
from crawlyard.engine.hosts.gate import HostGate
from crawlyard.engine.http.cookies import CookieJar, parsed
from crawlyard.engine.http.fetch import ACCEPT_ENCODING, Fetcher, FetchFailed, Go, NotSent, Response
from crawlyard.engine.render.base import SubRequest
from crawlyard.engine.render.filling import Fill, NotFilled
from crawlyard.engine.render.pool import Renderers
from crawlyard.engine.rendering import SHARED, first_of
from crawlyard.engine.shared_files import SharedFiles
from crawlyard.engine.urls import Base, canonical, host_of, path_of, spelled_origin_of
from crawlyard.errors import Invalid

LONGEST_S = 60.0
MAX_HOPS = 10
MAX_BODY = 8 << 20  # bytes of a page with a form, or of a script of one, as in a crawl
DELAY_S = 0.5  # between two requests, as in a crawl that says nothing
BROWSER_S = 50.0  # for a page whose form is filled in by a browser
_AT_ONCE = 2  # requests of such a page to a host, as in a crawl that says nothing
_TELLING = 4  # characters: what is shorter is found in any text
_NO_FIELD = "the form has no such field; name it in fields"
_HTTP_ONLY = re.compile(r";\s*httponly\s*(?:[;=]|$)", re.IGNORECASE)
_AS_POST = frozenset({307, 308})  # redirects that repeat the request with its body


class FormAsk(Struct, frozen=True, kw_only=True):
    """What to fill in, and where."""

    url: str  # of the page with the form
    user: str = ""
    secret: str = ""
    fields: Mapping[str, str] = {}
    submit: str = ""

    def __repr__(self) -> str:
        """Return a text without secrets, which must not get into logs."""
        return f"FormAsk({self.url!r})"

    def spellings(self) -> set[str]:
        """Return how what is filled in may be spelled in a URL, a body or a message."""
        told = [value for value in (self.secret, *self.fields.values()) if len(value) >= _TELLING]
        ways = (str, quote, partial(quote, safe=""), quote_plus, _in_json)
        return {way(value) for value in told for way in ways}


class FormLogin:
    """Logs in to a site once."""

    def __init__(
        self,
        fetcher: Fetcher,
        gate: HostGate,
        clock: Clock,
        agent: str,
        key: str,
        renderers: Renderers | None = None,
    ) -> None:
        # fidelity counts here, and what one page costs does not
        self._browser = first_of((Browser.CHROMIUM, Browser.LIGHTPANDA), renderers)
        self._fetcher = fetcher
        self._gate = gate
        self._clock = clock
        self._key = key  # at the gate
        self._jar = CookieJar()
        self._form: FormMark | None = None
        self._headers = {
            "User-Agent": agent,
            "Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
            "Accept-Encoding": ACCEPT_ENCODING,
        }

    async def log_in(self, asked: FormAsk) -> SessionState:
        """Log in; return the cookies of the session, and how to recognise the form.

        Raises:
            Invalid: there is no such form, or the site did not accept what was filled in.
        """
        try:
            cookies = await self._within(asked)
            return SessionState(cookies=tuple(cookies), form=self._form)
        except Invalid as refused:  # a page may put what was filled in into its URL, say
            message = refused.message
            for spelling in sorted(asked.spellings(), key=len, reverse=True):
                message = message.replace(spelling, "***")
            raise Invalid(refused.field, message) from None
        finally:
            self._gate.leave(self._key)

    async def _within(self, asked: FormAsk) -> Sequence[Cookie]:
        try:
            async with asyncio.timeout(LONGEST_S):
                return await self._logged_in(asked)
        except TimeoutError:
            raise Invalid("url", f"{asked.url} did not answer within {LONGEST_S:g} s") from None
        except FetchFailed as failure:
            raise Invalid("url", f"{asked.url}: {failure.kind}: {failure.detail}") from None
        except NotSent as held:  # the proxies rest since one of the requests before
            raise Invalid("url", f"{asked.url}: {held}") from None

    async def _logged_in(self, asked: FormAsk) -> Sequence[Cookie]:
        url = canonical(asked.url)
        at, page = await self._followed(url, None)
        if not _is_same(url, at):
            raise Invalid("url", f"redirects to {at}: if the form is there, give that URL")
        form = login_form(page.body, page.charset, at, submit=asked.submit, fields=asked.fields)
        # no form puts a password into a URL, unless scripts are to send it
        by_scripts = form is None or (bool(form.password) and not form.post)
        if by_scripts and has_scripts(page.body, page.charset):
            told = None if form is None else Invalid("url", f"the form of {at} is sent by scripts")
            await self._in_browser(at, page, asked, told or _no_form(at, page, asked))
        elif form is None:
            raise _no_form(at, page, asked)
        else:
            await self._send(at, form, asked)
        found = [cookie for cookie in self._jar.changes().values() if cookie is not None]
        if not found:
            raise Invalid("url", f"{url} set no cookie: a login there would be forgotten at once")
        secure = url.startswith("https:")
        return [replace(c, secure=True) if secure else c for c in found]

    async def _send(self, at: str, form: LoginForm, asked: FormAsk) -> None:
        if form.action is None or not _is_same(at, form.action):
            where = form.action or "no http(s) URL"
            raise Invalid("url", f"the form of {at} is sent to {where}, which is another origin")
        if form.password:
            fields = tuple(filter(None, (form.user, form.password)))
            action = form.action.partition("?")[0]
            self._form = FormMark(page=at, action=action, fields=fields)
        body = urlencode(form.filled(_filled(form, asked))).encode()
        if form.post:
            at, page = await self._followed(form.action, body)
        else:
            query = form.action.partition("?")[0] + "?" + body.decode()
            at, page = await self._followed(canonical(query), None)
        again = login_form(page.body, page.charset, at) is not None
        _check(at, page.status, again=again)

    async def _in_browser(self, at: str, page: Response, asked: FormAsk, else_: Invalid) -> None:
        """Have the form made by scripts and sent; *else_* says why that is needed."""
        if isinstance(self._browser, str):
            why = f"{else_.message}, and nothing runs its scripts: {self._browser}"
            raise Invalid(else_.field, why)
        scripted = _Scripted(self, at, asked, self._clock)
        fill = Fill(
            user=asked.user,
            secret=asked.secret,
            fields=asked.fields,
            submit=asked.submit,
            shown=self.shown,
        )
        try:
            rendered = await self._browser.render(
                at, page, ask=scripted.ask, fill=fill, deadline_s=BROWSER_S
            )
        except NotFilled as lacking:
            raise _lacking(lacking.lacks, at, page, asked) from None
        self._jar.receive(at, rendered.cookies, self._clock.now())
        _check(rendered.url, scripted.status(), again=rendered.form_again)

    async def _followed(self, url: str, body: bytes | None) -> tuple[str, Response]:
        """Return the response at the end of the redirects from *url*, and its URL."""
        for _ in range(MAX_HOPS):
            answer = await self._ask(url, body)
            location = answer.header("location")
            target = Base(url).join(location) if location else None
            if not 300 <= answer.status < 400 or target is None:
                return url, answer
            if answer.status not in _AS_POST:
                body = None
            elif body is not None and not _is_same(url, target):
                raise Invalid(
                    "url", f"the login is redirected to {target}, which is another origin"
                )
            url = target
        raise Invalid("url", f"more than {MAX_HOPS} redirects, the last one to {url}")

    async def _ask(self, url: str, body: bytes | None) -> Response:
        host, headers = host_of(url), {}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self._gate.wish(self._key, host, DELAY_S, 1)
        slot = await self._gate.acquire(host)
        try:
            return await self._sent(url, slot.go, headers, body=body)
        finally:
            slot.give()

    async def ask(self, sub: SubRequest) -> Response:
        """Send a request of a page whose form a browser fills in."""
        host = host_of(sub.url)
        self._gate.wish(self._key, host, DELAY_S, _AT_ONCE)
        seat = await self._gate.join(host)
        try:
            head, keeps = sub.method == "HEAD", sub.same_site
            return await self._sent(
                sub.url, seat.go, sub.headers, head=head, body=sub.body, keeps=keeps
            )
        finally:
            seat.give()

    async def _sent(
        self,
        url: str,
        go: Go,
        also: Mapping[str, str],
        *,
        head: bool = False,
        body: bytes | None = None,
        keeps: bool = True,
    ) -> Response:
        own = also.get("cookie", "")  # of scripts, which have seen those of the jar
        names = [pair.partition("=")[0] for pair in own.split("; ")]
        cookies = self._jar.header(url, self._clock.now(), without=names) if keeps else ""
        headers = {**self._headers, **{n: v for n, v in also.items() if n != "cookie"}}
        if told := "; ".join(filter(None, (own, cookies))):
            headers["Cookie"] = told
        answer = await self._fetcher.fetch(url, headers, MAX_BODY, go, head=head, body=body)
        if keeps:
            self._jar.receive(url, answer.all_headers("set-cookie"), self._clock.now())
        return answer

    def shown(self, url: str, answer: Response) -> Sequence[Cookie]:
        """Return the cookies of an answer that scripts may see: they are asked for in headers."""
        values = answer.all_headers("set-cookie")
        open_ = [value for value in values if not _HTTP_ONLY.search(value)]
        found = (parsed(value, url, self._clock.now()) for value in open_)
        return [cookie for cookie in found if cookie is not None]


class _Scripted:
    """The requests of a page whose form a browser fills in, and what the site answered to it."""

    def __init__(self, login: FormLogin, at: str, asked: FormAsk, clock: Clock) -> None:
        self._login = login
        self._at = at
        self._spellings = [spelling.encode() for spelling in asked.spellings()]
        self._files = SharedFiles(clock)  # of other origins
        self._status = 0  # of the answer to what was filled in
        self._carried = False  # in plain sight; if it is hashed, any request counts that posts
        self._unsent: Exception | None = None

    async def ask(self, sub: SubRequest) -> Response:
        """Send a request of the page, to no other origin once its form is filled in; see `Ask`."""
        carries = sub.filled and self._carries(sub)
        posts = sub.filled and (carries or sub.body is not None)
        foreign, shares = not _is_same(self._at, sub.url), sub.purpose in SHARED
        if sub.filled and foreign:
            known = self._files.get(sub.url, trusted=False) if shares else None
            return known or self._refused(sub, tells=posts)
        if posts:
            self._unsent = Invalid("url", f"the form of {self._at} was sent, and not answered")
        try:
            answer = await self._login.ask(sub)
        except FetchFailed as failure:
            self._unsent = failure if posts else self._unsent
            raise
        if posts and (carries or not self._carried):
            self._status, self._carried = answer.status, carries
        if foreign and shares:
            self._files.put(sub.url, answer, trusted=False)
        return answer

    def status(self) -> int:
        """Return what the site answered to what was filled in.

        Raises:
            FetchFailed: there was no answer.
            Invalid: it was not sent.
        """
        if self._status:
            return self._status
        told = f"the form of {self._at} was filled in, but not sent; name its button"
        raise self._unsent or Invalid("submit", told)

    def _carries(self, sub: SubRequest) -> bool:
        sent = (sub.url.encode(), sub.body or b"")
        return any(spelling in part for spelling in self._spellings for part in sent)

    def _refused(self, sub: SubRequest, *, tells: bool) -> Response:
        origin = spelled_origin_of(sub.url)
        if tells:
            told = f"the form of {self._at} is sent to {origin}, which is another origin"
            self._unsent = Invalid("url", told)
        raise FetchFailed(ErrorKind.BLOCKED_ADDRESS, f"{origin} may not know what was filled in")


def _check(at: str, status: int, *, again: bool) -> None:
    if status >= 400:
        raise Invalid("secret", f"the site refuses the login: {at} answered {status}")
    if again:
        raise Invalid("secret", f"the site shows its login form again, at {at}")


def _no_form(at: str, page: Response, asked: FormAsk) -> Invalid:
    if asked.submit:
        return Invalid("submit", f"{asked.submit!r} selects no form of {at}")
    return Invalid("url", f"{at} answered {page.status} without a login form")


def _lacking(what: str, at: str, page: Response, asked: FormAsk) -> Invalid:
    """Return why a form could not be filled in by a browser; see `NotFilled`."""
    if what == "enabled":
        return Invalid("submit", f"the button of the form of {at} stays disabled")
    if what == "submit" and not asked.submit:
        return Invalid("submit", f"there is no form around the password of {at}; name its button")
    if what in {"submit", "form"}:
        told = _no_form(at, page, asked)
        return Invalid(told.field, f"{told.message}, also when its scripts have run")
    name = what.removeprefix("fields.")
    return Invalid(what, _NO_FIELD if name == what else f"the form has no field {name[:100]!r}")


def _filled(form: LoginForm, asked: FormAsk) -> dict[str, str]:
    """Return the fields to fill in.

    Raises:
        Invalid: the form has no field for the user name or the password.
    """
    fields = dict(asked.fields)
    for what, name, value in (
        ("user", form.user, asked.user),
        ("secret", form.password, asked.secret),
    ):
        if value and not name:
            raise Invalid(what, _NO_FIELD)
        if value:
            fields.setdefault(name, value)
    return fields


def _is_same(url: str, other: str) -> bool:
    """Return whether what belongs to *url* may be sent to *other*: its origin, or that with TLS."""
    origin, asked = spelled_origin_of(url), spelled_origin_of(other)
    return asked in (origin, f"https{origin.removeprefix('http')}" if origin[:5] == "http:" else "")


def _in_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def names_a_page(url: str) -> bool:
    """Return whether a redirect to *url* says something: the front page is for everybody."""
    return path_of(url).partition("?")[0] != "/"
