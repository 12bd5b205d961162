"""Site sessions: the logins of each user's crawls at sites."""

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from crawlyard.core.access.answers import SessionOut
from crawlyard.core.access.cookie_files import cookies_in
from crawlyard.core.access.logged_out import MAX_SESSION_NAME
from crawlyard.core.access.site_session import (
    MAX_COOKIES_BYTES,
    LoginKind,
    SessionState,
    SiteSession,
    check_session_name,
)
from crawlyard.core.access.user import Permit
from crawlyard.core.crawl.cookie import Cookie
from crawlyard.core.endpoints.endpoint import IfMatch, Slice, endpoint
from crawlyard.core.events.event import EventName
from crawlyard.core.fields import SECRET
from crawlyard.core.jobs.job import DIRECT
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine.http import guard
from crawlyard.errors import Forbidden, Invalid, NotFound, QuotaExceeded, Version, check_version
from crawlyard.ids import new_id
from crawlyard.lazy import lazily
from crawlyard.services.noun import Noun
from crawlyard.services.races import retry_on_race

# they load the engine
with lazily():
    from crawlyard.engine import admission, form_login, scope, urls
    from crawlyard.engine.http import proxy

READ, WRITE = Permit.SESSIONS_READ, Permit.SESSIONS_WRITE

MOST_SESSIONS = 200
"""Maximum number of sessions per user."""

_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:\S+")
"""References that the command line replaces by a secret before it sends the request."""

_EXAMPLE = {"kind": "basic", "url": "https://example.com/", "user": "alice", "secret": "…"}

SessionName = Annotated[str, Meta(max_length=MAX_SESSION_NAME, description="One of yours.")]
URL = Annotated[
    str,
    Meta(
        max_length=2_000,
        description="Of a form: its page. Otherwise any URL of the site; cookies need none.",
        examples=["https://example.com/login"],
    ),
]
User = Annotated[str, Meta(max_length=1_000, description="The user name.")]
SecretText = Annotated[
    str,
    Meta(max_length=10_000, description="The password or the token; no answer has it."),
    SECRET,
]
CookiesText = Annotated[
    str,
    Meta(
        max_length=MAX_COOKIES_BYTES,
        description="The text of a cookies.txt, or a storage state of Playwright.",
    ),
    SECRET,
]
Fields = Annotated[
    Mapping[str, Annotated[str, Meta(max_length=10_000)]],
    Meta(max_length=50, description="Further fields of the form, by name; no answer has them."),
    SECRET,
]
Submit = Annotated[
    str, Meta(max_length=500, description="CSS of the form or of its button, if there are several.")
]
Addresses = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=300)], ...],
    Meta(max_length=50, description="Opened beside public ones for the form, where granted."),
]
ProxyList = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=2_000)], ...],
    Meta(max_length=50, description="The form is asked through these, as a crawl would."),
    SECRET,
]
Agent = Annotated[
    str, Meta(max_length=500, description="For the form; empty: that of the instance.")
]


class _LoginRequest(Struct, frozen=True, kw_only=True):
    kind: LoginKind
    url: str
    user: str
    secret: str
    cookies: str
    fields: Mapping[str, str]
    submit: str
    allow_addresses: tuple[str, ...]
    allow_private: bool
    proxies: tuple[str, ...]
    user_agent: str


class SiteSessions(Noun):
    """Creates, finds, renews and deletes the sessions of one user; others cannot use them.

    A session that is not theirs raises `NotFound`. With *version*, the change is made only if that
    version is current; otherwise `Stale` is raised. Secrets are stored encrypted; no response,
    event or message contains them.
    """

    @endpoint("GET /sessions", READ, "seq")
    async def list(self) -> Slice[SessionOut]:
        """List your sessions by name, without their credentials."""
        sessions = await self._services.store.site_sessions.find(self._actor.id)
        return Slice(items=[SessionOut.filled(session) for session in sessions])

    @endpoint("GET /sessions/{name}", READ)
    async def get(self, name: SessionName) -> SessionOut:
        """Return a session without its credentials."""
        return SessionOut.filled(await self._get_named(name))

    @endpoint("PUT /sessions/{name}", WRITE, example=_EXAMPLE)
    async def login(
        self,
        name: SessionName,
        kind: LoginKind,
        *,
        url: URL = "",
        user: User = "",
        secret: SecretText = "",
        cookies: CookiesText = "",
        fields: Fields = {},  # noqa: B006 - never changed
        submit: Submit = "",
        allow_addresses: Addresses = (),
        allow_private: bool = False,
        proxies: ProxyList = (),
        user_agent: Agent = "",
        version: IfMatch = None,
    ) -> SessionOut:
        """Log in and create the session, or renew it if it exists.

        A form is filled in and submitted at once; its cookies are stored, the values of its fields
        are not. Jobs paused because the session was logged out continue when they are resumed.
        Secrets are taken literally: references in them are not resolved.
        """
        if not self._actor.may_change(self._actor.id):
            raise Forbidden(f"{self._actor.id} may view sessions, but not create them")
        check_session_name("name", name)
        before = await self._find(name, version)
        if before is None and len(await self._all()) >= MOST_SESSIONS:
            problem = f"{self._actor.id} has {MOST_SESSIONS} sessions; delete one first"
            raise QuotaExceeded("sessions", problem)
        login = _LoginRequest(
            kind=kind,
            url=url,
            user=user,
            secret=secret,
            cookies=cookies,
            fields=dict(fields),
            submit=submit,
            allow_addresses=tuple(allow_addresses),
            allow_private=allow_private,
            proxies=tuple(proxies),
            user_agent=user_agent,
        )
        _check_references(login)
        session = await self._new_session(name, login)

        async def save() -> SiteSession:
            old = await self._find(name, version)
            if old is None:
                event = session.event(EventName.SESSION_CREATED, session.made_at, self._actor.id)
                await self._services.store.site_sessions.add(session, event)
                return session
            new = old.renewed(session)
            event = new.event(EventName.SESSION_RENEWED, new.made_at, self._actor.id)
            await self._services.store.site_sessions.save(new, event)
            return new

        return SessionOut.filled(await retry_on_race(save, f"session {name} keeps changing"))

    @endpoint("DELETE /sessions/{name}", WRITE, status=204)
    async def delete(self, name: SessionName, *, version: IfMatch = None) -> None:
        """Delete a session; jobs that use it are paused the next time a worker starts them."""

        async def delete() -> None:
            old = await self._get_named(name, version)
            if not self._actor.may_change(self._actor.id):
                raise Forbidden(f"{self._actor.id} may view sessions, but not delete them")
            now = self._services.clock.now()
            event = old.event(EventName.SESSION_DELETED, now, self._actor.id)
            await self._services.store.site_sessions.delete(old, event)

        await retry_on_race(delete, f"session {name} keeps changing")

    async def _all(self) -> "Sequence[SiteSession]":
        return await self._services.store.site_sessions.find(self._actor.id)

    async def _find(self, name: str, version: Version = None) -> SiteSession | None:
        session = await self._services.store.site_sessions.get_by_name(self._actor.id, name)
        if session is not None:
            check_version(f"session {name}", session.version, version)
        return session

    async def _get_named(self, name: str, version: Version = None) -> SiteSession:
        session = await self._find(name, version)
        if session is None:
            raise NotFound(f"you have no session {name[:100]}")
        return session

    async def _new_session(self, name: str, login: _LoginRequest) -> SiteSession:
        now = self._services.clock.now()
        url = _canonical(login)
        if login.kind is LoginKind.COOKIES:
            jar = cookies_in(login.cookies, now)
            state = SessionState(cookies=tuple(map(_check_domain, jar)))
        elif login.kind is LoginKind.FORM:
            state = await self._by_form(login)
        else:
            state = SessionState(authorization={urls.spelled_origin_of(url): _header(login)})
        seal = await self._services.seal()
        return SiteSession(
            id=new_id(),
            owner=self._actor.id,
            name=name,
            kind=login.kind,
            url=url,
            user=login.user,
            submit=login.submit,
            fields=tuple(login.fields),
            origins=_origins(state),
            cookies=len(state.cookies),
            sealed=seal.seal(state.encoded()),
            made_at=now,
            created_at=now,
        )

    async def _by_form(self, request: _LoginRequest) -> SessionState:
        services, context = self._services, self._services.worker_context()
        spec = JobSpec(
            urls=(request.url,),
            allow_addresses=request.allow_addresses,
            allow_private=request.allow_private,
            proxies=request.proxies,
            user_agent=request.user_agent,
        )
        try:
            admission.check_spec(spec)
            await proxy.check_proxies(spec, context.proxy_guard, services.resolve)
        except Invalid as error:
            raise error.map(_rename_field) from None
        await services.policy.check_granted(
            *await services.policy.find_needed(self._actor, spec, DIRECT)
        )
        timeout = timedelta(seconds=spec.timeout_s)
        via = proxy.Proxies.of(spec, context.proxy_guard, context.clock)
        fetcher = context.fetcher(guard.spec_guard(spec), timeout, context.clock, proxies=via)
        login = form_login.FormLogin(
            fetcher,
            context.tools.rate_limiter,
            context.clock,
            spec.user_agent or context.agent,
            f"login:{new_id()}",
            context.tools.renderers,
        )
        ask = form_login.FormCredentials(
            url=request.url,
            user=request.user,
            secret=request.secret,
            fields=request.fields,
            submit=request.submit,
        )
        try:
            return await login.log_in(ask)
        finally:
            await fetcher.close()


def _rename_field(fault: Invalid) -> Invalid:
    return Invalid("url" if fault.field == "urls" else fault.field, fault.message)


def _canonical(login: _LoginRequest) -> str:
    """Return the URL of a login in canonical form; "" if cookies come without one."""
    if not login.url:
        if login.kind is LoginKind.COOKIES:
            return ""
        raise Invalid("url", "expected a URL of the site, got none")
    if urls.has_credentials(login.url):
        raise Invalid("url", "expected no user name or password in it; give them as fields")
    try:
        return urls.canonical(login.url)
    except Invalid as error:
        raise Invalid("url", error.message) from None


def _check_references(login: _LoginRequest) -> None:
    """Refuse references, which would let API clients read the server's environment or files."""
    values = {"secret": login.secret, **{f"fields.{n}": v for n, v in login.fields.items()}}
    for path, value in values.items():
        if _REFERENCE.fullmatch(value):
            problem = "only the command line follows references; send the secret itself"
            raise Invalid(path, f"{problem}, not {value.partition(':')[0]}:…")


def _header(login: _LoginRequest) -> str:
    """Return the value of the header Authorization."""
    if not login.secret:
        raise Invalid("secret", "expected a password or a token, got nothing")
    if login.kind is LoginKind.BEARER:
        if not login.secret.isascii() or not login.secret.isprintable() or " " in login.secret:
            raise Invalid("secret", "expected a token of printable ASCII without spaces")
        return f"Bearer {login.secret}"
    if not login.user or ":" in login.user:
        raise Invalid("user", "expected a user name without a colon")
    pair = f"{login.user}:{login.secret}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def _check_domain(cookie: Cookie) -> Cookie:
    """Return a cookie of a file, made host-only if its domain is a public suffix."""
    if not cookie.host_only and scope.is_public_suffix(cookie.domain):
        return replace(cookie, host_only=True)
    return cookie


def _origins(state: SessionState) -> tuple[str, ...]:
    """Return the origins and cookie domains to which the credentials are sent."""
    domains = (c.domain if c.host_only else f"*.{c.domain}" for c in state.cookies)
    return tuple(dict.fromkeys([*state.authorization, *sorted(set(domains))]))
