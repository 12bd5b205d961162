"""A site behind a login, which notes what it was sent: by a form with a token, or by a header."""

import base64
import secrets
from collections.abc import Iterable
from urllib.parse import parse_qs

from crawlyard.demo.request import HttpRequest
from crawlyard.demo.site import HTML, Answer

USER, PASSWORD = "alice", "correct horse"
TOKEN = "t0k3n-of-alice"


class LoginSite:
    """So many pages for who is logged in; all but /login and /public redirect others to /login.

    A session ends after *lasts* pages, for good. /logout ends it as well, and each page links to
    it. *outside* is a URL of another site, to which /away redirects. Instead of redirecting to
    /login, *form_in_place*, if there is one, is answered with status 200.
    """

    def __init__(
        self,
        pages: int = 20,
        lasts: int | None = None,
        outside: str = "",
        form_in_place: str = "",
    ) -> None:
        self.pages = pages
        self.lasts = lasts
        self.outside = outside
        self.form_in_place = form_in_place
        self.sessions: dict[str, int] = {}  # pages served by each
        self.tokens: set[str] = set()  # handed out with forms
        self.logins = 0
        self.whole: list[str] = []  # paths of pages that were served whole

    @property
    def paths(self) -> set[str]:
        """Paths of all pages behind the login."""
        return {"/", *(f"/page/{n}" for n in range(1, self.pages))}

    def answer(self, method: str, path: str, host: str) -> Answer:
        raise NotImplementedError  # `answer_request` is asked instead

    def answer_request(self, request: HttpRequest) -> Answer:
        path = request.path.partition("?")[0]
        if path == "/robots.txt":
            return Answer(404)
        if path == "/login":
            token = secrets.token_hex(8)
            self.tokens.add(token)
            cookie = ("Set-Cookie", f"before={token}; Path=/")
            return _page("Log in", _FORM.format(token=token), [cookie])
        if path == "/public":
            return _page("Public", "<p>for everybody</p>")
        return self._inside(path, _cookies(request).get("sid", ""))

    def _inside(self, path: str, session: str) -> Answer:
        if path == "/logout":
            self.sessions.pop(session, None)
        if session not in self.sessions:
            return self._logged_out(path)
        if path == "/away":
            return _to(self.outside)
        if path not in self.paths:
            return Answer(404)
        self.sessions[session] += 1
        if self.lasts is not None and self.sessions[session] > self.lasts:
            del self.sessions[session]
            return self._logged_out(path)
        self.whole.append(path)
        links = "".join(f'<a href="{to}">{to}</a>' for to in sorted(self.paths))
        more = '<a href="/logout">Log out</a>' + '<a href="/away">away</a>' * bool(self.outside)
        return _page(path, f"<h1>Page {path}</h1>{links}{more}")

    def _logged_out(self, path: str) -> Answer:
        if self.form_in_place:
            return _page("Log in", self.form_in_place)
        return _to(f"/login?next={path}")

    def answer_post(self, request: HttpRequest) -> Answer:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        if request.path != "/session" or form.get("csrf") not in self.tokens:
            return Answer(403)
        self.tokens.discard(form["csrf"])
        if (form.get("user"), form.get("pw"), form.get("go")) != (USER, PASSWORD, "in"):
            return _to("/login?failed")
        session = secrets.token_hex(8)
        self.sessions[session] = 0
        self.logins += 1
        cookie = ("Set-Cookie", f"sid={session}; Path=/; HttpOnly; SameSite=Lax")
        return Answer(303, (("Location", "/public"), cookie))


class HeaderSite:
    """Pages for who sends the right header; others are answered 401."""

    def __init__(self, links: dict[str, Iterable[str]], value: str = "") -> None:
        self.links = links
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        self.value = value or f"Basic {pair}"

    def answer(self, method: str, path: str, host: str) -> Answer:
        raise NotImplementedError  # `answer_request` is asked instead

    def answer_request(self, request: HttpRequest) -> Answer:
        if request.path == "/robots.txt":
            return Answer(404)
        if request.headers.get("authorization") != self.value:
            return Answer(401, (("WWW-Authenticate", "Basic realm=test"),))
        if request.path not in self.links:
            return Answer(404)
        links = "".join(f'<a href="{to}">{to}</a>' for to in self.links[request.path])
        return _page(request.path, links)


_FORM = """<form action="/search"><input name="q"></form>
<form action="/session" method="post"><input type="hidden" name="csrf" value="{token}">
<input name="user"><input type="password" name="pw"><input type="checkbox" name="stay">
<button name="go" value="in">Log in</button></form>"""


def _page(title: str, body: str, headers: Iterable[tuple[str, str]] = ()) -> Answer:
    text = f"<!doctype html><title>{title}</title>{body}"
    return Answer(200, (("Content-Type", HTML), *headers), text.encode())


def _to(url: str) -> Answer:
    return Answer(302, (("Location", url),))


def _cookies(request: HttpRequest) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in request.headers.get("cookie", "").split("; "))
    return {name: value for name, _, value in pairs}
