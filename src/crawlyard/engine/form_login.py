"""Form login: fills in and sends the login form of a site, and returns the session's cookies.

Each request passes the guard and the rate limiter as in a crawl, also those of a page whose form
is made by scripts and filled in by a browser. The values are sent to the origin of the form only.
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
from crawlyard.engine.hosts.rate_limiter import RateLimiter
from crawlyard.engine.http.cookies import CookieJar, parse_cookie
from crawlyard.engine.http.fetch import (
    ACCEPT_ENCODING,
    BeforeSend,
    Fetcher,
    FetchFailed,
    NotSent,
    Response,
)
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
DELAY_S = 0.5  # between two requests, the default of crawls
BROWSER_S = 50.0  # for a page whose form is filled in by a browser
_AT_ONCE = 2  # requests of such a page to a host, the default of crawls
_MIN_HIDDEN = 4  # characters: shorter values occur in any text
_NO_FIELD = "the form has no such field; name it in fields"
_HTTP_ONLY = re.compile(r";\s*httponly\s*(?:[;=]|$)", re.IGNORECASE)
_AS_POST = frozenset({307, 308})  # redirects that repeat the request with its body


class FormCredentials(Struct, frozen=True, kw_only=True):
    """Values for a login form, and the URL of its page."""

    url: str  # of the page with the form
    user: str = ""
    secret: str = ""
    fields: Mapping[str, str] = {}
    submit: str = ""

    def __repr__(self) -> str:
        """Return a text without secrets, which must not get into logs."""
        return f"FormCredentials({self.url!r})"

    def spellings(self) -> set[str]:
        """Return the encodings in which the values may occur in a URL, a body or a message."""
        secrets = [
            value for value in (self.secret, *self.fields.values()) if len(value) >= _MIN_HIDDEN
        ]
        encodings = (str, quote, partial(quote, safe=""), quote_plus, _in_json)
        return {encode(value) for value in secrets for encode in encodings}


class FormLogin:
    """Logs in to a site once."""

    def __init__(
        self,
        fetcher: Fetcher,
        rate_limiter: RateLimiter,
        clock: Clock,
        agent: str,
        key: str,
        renderers: Renderers | None = None,
    ) -> None:
        # fidelity counts here; the cost of one page does not
        self._browser = first_of((Browser.CHROMIUM, Browser.LIGHTPANDA), renderers)
        self._fetcher = fetcher
        self._rate_limiter = rate_limiter
        self._clock = clock
        self._key = key  # at the rate limiter
        self._jar = CookieJar()
        self._form: FormMark | None = None
        self._headers = {
            "User-Agent": agent,
            "Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
            "Accept-Encoding": ACCEPT_ENCODING,
        }

    async def log_in(self, credentials: FormCredentials) -> SessionState:
        """Log in; return the cookies of the session, and marks of the form.

        Raises:
            Invalid: there is no such form, or the site did not accept the values.
        """
        try:
            cookies = await self._log_in_within(credentials)
            return SessionState(cookies=tuple(cookies), form=self._form)
        except Invalid as error:  # a page may put the values into its URL, for example
            message = error.message
            for spelling in sorted(credentials.spellings(), key=len, reverse=True):
                message = message.replace(spelling, "***")
            raise Invalid(error.field, message) from None
        finally:
            self._rate_limiter.remove_job(self._key)

    async def _log_in_within(self, credentials: FormCredentials) -> Sequence[Cookie]:
        try:
            async with asyncio.timeout(LONGEST_S):
                return await self._log_in(credentials)
        except TimeoutError:
            raise Invalid(
                "url", f"{credentials.url} did not respond within {LONGEST_S:g} s"
            ) from None
        except FetchFailed as failure:
            raise Invalid("url", f"{credentials.url}: {failure.kind}: {failure.detail}") from None
        except NotSent as error:  # no proxy is usable since one of the requests before
            raise Invalid("url", f"{credentials.url}: {error}") from None

    async def _log_in(self, credentials: FormCredentials) -> Sequence[Cookie]:
        url = canonical(credentials.url)
        at, page = await self._follow(url, None)
        if not _is_same(url, at):
            raise Invalid("url", f"redirects to {at}; if the form is there, use that URL")
        form = login_form(
            page.body, page.charset, at, submit=credentials.submit, fields=credentials.fields
        )
        # no form puts a password into a URL, unless scripts send it
        by_scripts = form is None or (bool(form.password) and not form.post)
        if by_scripts and has_scripts(page.body, page.charset):
            reason = (
                None if form is None else Invalid("url", f"the form of {at} is sent by scripts")
            )
            await self._in_browser(at, page, credentials, reason or _no_form(at, page, credentials))
        elif form is None:
            raise _no_form(at, page, credentials)
        else:
            await self._send(at, form, credentials)
        cookies = [cookie for cookie in self._jar.changes().values() if cookie is not None]
        if not cookies:
            raise Invalid("url", f"{url} set no cookie, so a login there has no effect")
        secure = url.startswith("https:")
        return [replace(c, secure=True) if secure else c for c in cookies]

    async def _send(self, at: str, form: LoginForm, credentials: FormCredentials) -> None:
        if form.action is None or not _is_same(at, form.action):
            destination = form.action or "no http(s) URL"
            raise Invalid(
                "url", f"the form of {at} is sent to {destination}, which is another origin"
            )
        if form.password:
            fields = tuple(filter(None, (form.user, form.password)))
            action = form.action.partition("?")[0]
            self._form = FormMark(page=at, action=action, fields=fields)
        body = urlencode(form.values_with(_field_values(form, credentials))).encode()
        if form.post:
            at, page = await self._follow(form.action, body)
        else:
            query = form.action.partition("?")[0] + "?" + body.decode()
            at, page = await self._follow(canonical(query), None)
        again = login_form(page.body, page.charset, at) is not None
        _check(at, page.status, again=again)

    async def _in_browser(
        self, at: str, page: Response, credentials: FormCredentials, else_: Invalid
    ) -> None:
        """Render the page, fill in its form and send it; *else_* is the error without scripts."""
        if isinstance(self._browser, str):
            message = f"{else_.message}, and no browser can run its scripts: {self._browser}"
            raise Invalid(else_.field, message)
        scripted = _Scripted(self, at, credentials, self._clock)
        fill = Fill(
            user=credentials.user,
            secret=credentials.secret,
            fields=credentials.fields,
            submit=credentials.submit,
            script_cookies=self.script_cookies,
        )
        try:
            rendered = await self._browser.render(
                at, page, send=scripted.send, fill=fill, deadline_s=BROWSER_S
            )
        except NotFilled as error:
            raise _not_filled(error.lacks, at, page, credentials) from None
        self._jar.receive(at, rendered.cookies, self._clock.now())
        _check(rendered.url, scripted.status(), again=rendered.form_remains)

    async def _follow(self, url: str, body: bytes | None) -> tuple[str, Response]:
        """Return the response at the end of the redirects from *url*, and its URL."""
        for _ in range(MAX_HOPS):
            response = await self._request(url, body)
            location = response.header("location")
            target = Base(url).join(location) if location else None
            if not 300 <= response.status < 400 or target is None:
                return url, response
            if response.status not in _AS_POST:
                body = None
            elif body is not None and not _is_same(url, target):
                raise Invalid(
                    "url", f"the login is redirected to {target}, which is another origin"
                )
            url = target
        raise Invalid("url", f"more than {MAX_HOPS} redirects, the last one to {url}")

    async def _request(self, url: str, body: bytes | None) -> Response:
        host, headers = host_of(url), {}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self._rate_limiter.set_limits(self._key, host, DELAY_S, 1)
        slot = await self._rate_limiter.acquire(host)
        try:
            return await self._fetch(url, slot.wait_to_send, headers, body=body)
        finally:
            slot.release()

    async def send(self, sub: SubRequest) -> Response:
        """Send a request of a page whose form a browser fills in."""
        host = host_of(sub.url)
        self._rate_limiter.set_limits(self._key, host, DELAY_S, _AT_ONCE)
        slot = await self._rate_limiter.acquire_for_browser(host)
        try:
            head, keep_cookies = sub.method == "HEAD", sub.same_site
            return await self._fetch(
                sub.url,
                slot.wait_to_send,
                sub.headers,
                head=head,
                body=sub.body,
                keep_cookies=keep_cookies,
            )
        finally:
            slot.release()

    async def _fetch(
        self,
        url: str,
        before_send: BeforeSend,
        more_headers: Mapping[str, str],
        *,
        head: bool = False,
        body: bytes | None = None,
        keep_cookies: bool = True,
    ) -> Response:
        own = more_headers.get("cookie", "")  # of scripts, which have seen those of the jar
        names = [pair.partition("=")[0] for pair in own.split("; ")]
        cookies = self._jar.header(url, self._clock.now(), exclude=names) if keep_cookies else ""
        headers = {**self._headers, **{n: v for n, v in more_headers.items() if n != "cookie"}}
        if cookie_header := "; ".join(filter(None, (own, cookies))):
            headers["Cookie"] = cookie_header
        response = await self._fetcher.fetch(
            url, headers, MAX_BODY, before_send, head=head, body=body
        )
        if keep_cookies:
            self._jar.receive(url, response.all_headers("set-cookie"), self._clock.now())
        return response

    def script_cookies(self, url: str, response: Response) -> Sequence[Cookie]:
        """Return the cookies of a response that scripts may read, to send them in headers."""
        values = response.all_headers("set-cookie")
        readable = [value for value in values if not _HTTP_ONLY.search(value)]
        cookies = (parse_cookie(value, url, self._clock.now()) for value in readable)
        return [cookie for cookie in cookies if cookie is not None]


class _Scripted:
    """Requests of a page whose form a browser fills in, and the response to the form."""

    def __init__(
        self, login: FormLogin, at: str, credentials: FormCredentials, clock: Clock
    ) -> None:
        self._login = login
        self._at = at
        self._spellings = [spelling.encode() for spelling in credentials.spellings()]
        self._files = SharedFiles(clock)  # of other origins
        self._status = 0  # of the response to the form
        # true once a request had the values in plain; if they are hashed, any POST counts
        self._carried = False
        self._unsent: Exception | None = None

    async def send(self, sub: SubRequest) -> Response:
        """Send a request of the page; once its form is filled in, to no other origin."""
        carries = sub.filled and self._carries(sub)
        posts = sub.filled and (carries or sub.body is not None)
        foreign, shares = not _is_same(self._at, sub.url), sub.purpose in SHARED
        if sub.filled and foreign:
            cached = self._files.get(sub.url, with_credentials=False) if shares else None
            return cached or self._refuse(sub, is_form=posts)
        if posts:
            self._unsent = Invalid("url", f"the form of {self._at} was sent, but got no response")
        try:
            response = await self._login.send(sub)
        except FetchFailed as failure:
            self._unsent = failure if posts else self._unsent
            raise
        if posts and (carries or not self._carried):
            self._status, self._carried = response.status, carries
        if foreign and shares:
            self._files.add(sub.url, response, with_credentials=False)
        return response

    def status(self) -> int:
        """Return the status of the response to the form.

        Raises:
            FetchFailed: there was no response.
            Invalid: it was not sent.
        """
        if self._status:
            return self._status
        message = f"the form of {self._at} was filled in, but not sent; name its submit button"
        raise self._unsent or Invalid("submit", message)

    def _carries(self, sub: SubRequest) -> bool:
        sent = (sub.url.encode(), sub.body or b"")
        return any(spelling in part for spelling in self._spellings for part in sent)

    def _refuse(self, sub: SubRequest, *, is_form: bool) -> Response:
        origin = spelled_origin_of(sub.url)
        if is_form:
            message = f"the form of {self._at} is sent to {origin}, which is another origin"
            self._unsent = Invalid("url", message)
        raise FetchFailed(
            ErrorKind.BLOCKED_ADDRESS, f"{origin} must not receive the values of the form"
        )


def _check(at: str, status: int, *, again: bool) -> None:
    if status >= 400:
        raise Invalid("secret", f"the site rejected the login: {at} answered {status}")
    if again:
        raise Invalid("secret", f"the site shows its login form again at {at}")


def _no_form(at: str, page: Response, credentials: FormCredentials) -> Invalid:
    if credentials.submit:
        return Invalid("submit", f"{credentials.submit!r} selects no form of {at}")
    return Invalid("url", f"{at} answered {page.status} without a login form")


def _not_filled(missing: str, at: str, page: Response, credentials: FormCredentials) -> Invalid:
    """Return the error for a form that a browser could not fill in; see `NotFilled`."""
    if missing == "enabled":
        return Invalid("submit", f"the button of the form of {at} stays disabled")
    if missing == "submit" and not credentials.submit:
        return Invalid(
            "submit", f"the password field of {at} is in no form; name the submit button"
        )
    if missing in {"submit", "form"}:
        error = _no_form(at, page, credentials)
        return Invalid(error.field, f"{error.message}, even after its scripts have run")
    name = missing.removeprefix("fields.")
    return Invalid(
        missing, _NO_FIELD if name == missing else f"the form has no field {name[:100]!r}"
    )


def _field_values(form: LoginForm, credentials: FormCredentials) -> dict[str, str]:
    """Return the values of the form, by field name.

    Raises:
        Invalid: the form has no field for the user name or the password.
    """
    fields = dict(credentials.fields)
    for field, name, value in (
        ("user", form.user, credentials.user),
        ("secret", form.password, credentials.secret),
    ):
        if value and not name:
            raise Invalid(field, _NO_FIELD)
        if value:
            fields.setdefault(name, value)
    return fields


def _is_same(url: str, other: str) -> bool:
    """Return whether *other* has the origin of *url*, or the same with TLS."""
    origin, target = spelled_origin_of(url), spelled_origin_of(other)
    return target in (
        origin,
        f"https{origin.removeprefix('http')}" if origin[:5] == "http:" else "",
    )


def _in_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def names_a_page(url: str) -> bool:
    """Return whether *url* is more specific than the front page, which shows no login."""
    return path_of(url).partition("?")[0] != "/"
