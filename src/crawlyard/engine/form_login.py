"""Form login: fills in the login form of a site, sends it, and returns the cookies it brings.

Each request goes through the guard and at the pace of its host, as in a crawl. What was filled in
is sent to the origin of the form alone.
"""

import asyncio
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.crawl.cookie import Cookie
from crawlyard.engine.extract.forms import LoginForm, login_form
from crawlyard.engine.hosts.gate import HostGate
from crawlyard.engine.http.cookies import CookieJar
from crawlyard.engine.http.fetch import ACCEPT_ENCODING, Fetcher, FetchFailed, NotSent, Response
from crawlyard.engine.urls import Base, canonical, host_of, path_of, spelled_origin_of
from crawlyard.errors import Invalid

LONGEST_S = 60.0
MAX_HOPS = 10
MAX_PAGE = 4 << 20  # bytes of a page with a form
DELAY_S = 0.5  # between two requests, as in a crawl that says nothing
_AS_POST = frozenset({307, 308})  # redirects that repeat the request with its body


class FormAsk(Struct, frozen=True, kw_only=True):
    """What to fill in, and where."""

    url: str  # of the page with the form
    user: str = ""
    secret: str = ""
    fields: Mapping[str, str] = {}
    submit: str = ""


class FormLogin:
    """Logs in to a site once."""

    def __init__(
        self, fetcher: Fetcher, gate: HostGate, clock: Clock, agent: str, key: str
    ) -> None:
        self._fetcher = fetcher
        self._gate = gate
        self._clock = clock
        self._key = key  # at the gate
        self._jar = CookieJar()
        self._headers = {
            "User-Agent": agent,
            "Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
            "Accept-Encoding": ACCEPT_ENCODING,
        }

    async def cookies(self, asked: FormAsk) -> Sequence[Cookie]:
        """Log in; return the cookies of the session.

        Raises:
            Invalid: there is no such form, or the site did not accept what was filled in.
        """
        try:
            async with asyncio.timeout(LONGEST_S):
                return await self._logged_in(asked)
        except TimeoutError:
            raise Invalid("url", f"{asked.url} did not answer within {LONGEST_S:g} s") from None
        except FetchFailed as failure:
            raise Invalid("url", f"{asked.url}: {failure.kind}: {failure.detail}") from None
        except NotSent as held:  # the proxies rest since one of the requests before
            raise Invalid("url", f"{asked.url}: {held}") from None
        finally:
            self._gate.leave(self._key)

    async def _logged_in(self, asked: FormAsk) -> Sequence[Cookie]:
        url = canonical(asked.url)
        at, page = await self._followed(url, None)
        if not _is_same(url, at):
            raise Invalid("url", f"redirects to {at}: if the form is there, give that URL")
        form = _form_in(page, at, asked)
        if form is None:
            raise Invalid("url", f"{at} answered {page.status} without a login form")
        if form.action is None or not _is_same(at, form.action):
            where = form.action or "no http(s) URL"
            raise Invalid("url", f"the form of {at} is sent to {where}, which is another origin")
        body = urlencode(form.filled(_filled(form, asked))).encode()
        if form.post:
            at, page = await self._followed(form.action, body)
        else:
            query = form.action.partition("?")[0] + "?" + body.decode()
            at, page = await self._followed(canonical(query), None)
        self._check(at, page)
        found = [cookie for cookie in self._jar.changes().values() if cookie is not None]
        if not found:
            raise Invalid("url", f"{url} set no cookie: a login there would be forgotten at once")
        secure = url.startswith("https:")
        return [replace(c, secure=True) if secure else c for c in found]

    def _check(self, at: str, page: Response) -> None:
        if page.status >= 400:
            raise Invalid("secret", f"the site refuses the login: {at} answered {page.status}")
        again = login_form(page.body, page.charset, at)
        if again is not None:
            raise Invalid("secret", f"the site shows its login form again, at {at}")

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
        host, headers = host_of(url), dict(self._headers)
        if cookies := self._jar.header(url, self._clock.now()):
            headers["Cookie"] = cookies
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self._gate.wish(self._key, host, DELAY_S, 1)
        slot = await self._gate.acquire(host)
        try:
            answer = await self._fetcher.fetch(url, headers, MAX_PAGE, slot.go, body=body)
        finally:
            slot.give()
        self._jar.receive(url, answer.all_headers("set-cookie"), self._clock.now())
        return answer


def _form_in(page: Response, url: str, asked: FormAsk) -> LoginForm | None:
    return login_form(page.body, page.charset, url, submit=asked.submit, fields=asked.fields)


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
            raise Invalid(what, "the form has no such field; name it in fields")
        if value:
            fields.setdefault(name, value)
    return fields


def _is_same(url: str, other: str) -> bool:
    """Return whether what belongs to *url* may be sent to *other*: its origin, or that with TLS."""
    origin, asked = spelled_origin_of(url), spelled_origin_of(other)
    return asked in (origin, f"https{origin.removeprefix('http')}" if origin[:5] == "http:" else "")


def names_a_page(url: str) -> bool:
    """Return whether a redirect to *url* says something: the front page is for everybody."""
    return path_of(url).partition("?")[0] != "/"
