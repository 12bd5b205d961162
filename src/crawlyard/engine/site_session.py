"""Site session of a crawl: requests with its credentials, and signs of a logout."""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.core.access.logged_out import LOGIN_PATH, rules_of
from crawlyard.core.access.site_session import SessionState
from crawlyard.core.crawl.page import Outcome
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine.extract.logout_sign import SessionSigns
from crawlyard.engine.http.fetch import Response
from crawlyard.engine.scope import Patterns
from crawlyard.engine.urls import Base, hostname_of, path_of, spelled_origin_of
from crawlyard.engine.visit.state import Visit

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NO_HEADERS: Mapping[str, str] = {}


class LoggedOut(Exception):
    """The session is logged out, as a response shows; its target waits again unchanged."""


class ActiveSession(Struct, frozen=True, kw_only=True):
    """Decrypted session of a job."""

    label: str  # NAME@VERSION
    made_at: datetime  # older cookies of a job are from an earlier login
    login_url: str = ""  # the login page; empty: unknown
    state: SessionState

    def headers(self, url: str) -> Mapping[str, str]:
        """Return the headers that a request for a canonical *url* gets beside its cookies."""
        value = self.state.authorization.get(spelled_origin_of(url))
        return {"Authorization": value} if value else _NO_HEADERS

    def covers(self, url: str) -> bool:
        """Return whether its credentials belong to the host of a canonical *url*."""
        if spelled_origin_of(url) in self.state.authorization:
            return True
        host = hostname_of(url)
        return any(
            host == cookie.domain or (not cookie.host_only and host.endswith(f".{cookie.domain}"))
            for cookie in self.state.cookies
        )

    def mark(self, outcome: Outcome) -> Outcome:
        """Return *outcome* with the session's label on its page, if the request used it."""
        page, url = outcome.page, outcome.target.url
        if page is None or not self.covers(url):
            return outcome
        is_used = page.session or self.headers(url)
        return replace(outcome, page=replace(page, session=self.label if is_used else ""))


class LogoutWatch:
    """Detects from the responses to a job that its session is logged out."""

    def __init__(self, spec: JobSpec, session: ActiveSession) -> None:
        self._rules = rules_of(spec.logged_out)
        self._redirects = Patterns("logged_out", self._rules.redirects)
        self._session = session

    def check(self, visit: Visit, response: Response) -> None:
        """Check a response.

        Raises:
            LoggedOut: it matches a rule.
        """
        url = visit.target.url
        if not self._session.covers(url):
            return
        status = response.status
        if status in self._rules.statuses or status // 100 in self._rules.statuses:
            raise LoggedOut(f"{url} answered {status}")
        if status in _REDIRECTS:
            target = Base(url).join(response.header("location"))
            if target is not None and self._leads_to_login(url, target):
                raise LoggedOut(f"{url} redirects to {target}")

    @property
    def signs(self) -> SessionSigns:
        """Signs of a logged-out session in a page; rules of the job replace the login form."""
        form = self._session.state.form if self._rules.guesses else None
        return SessionSigns(selectors=self._rules.selectors, form=form)

    def check_page(self, url: str, sign: str) -> None:
        """Check a page; *sign* describes a sign of a logout in it, empty if there is none.

        Raises:
            LoggedOut: there is such a sign, and the page belongs to the session.
        """
        if sign and self._session.covers(url) and not self._is_login_page(url):
            raise LoggedOut(f"{url} {sign}")

    def _is_login_page(self, url: str) -> bool:
        """Return whether a page may show the login form to users who are logged in."""
        form = self.signs.form
        return form is not None and url.partition("?")[0] == form.page.partition("?")[0]

    def _leads_to_login(self, url: str, target: str) -> bool:
        if self._redirects.match(target):
            return True
        if not self._rules.guesses or _is_login(url):
            return False
        return target.partition("?")[0] == self._session.login_url.partition("?")[0] or _is_login(
            target
        )


def _is_login(url: str) -> bool:
    return LOGIN_PATH.search(path_of(url).partition("?")[0]) is not None
