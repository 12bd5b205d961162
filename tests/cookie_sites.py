"""Sites that set cookies, and note who brings which back."""

from collections import Counter, defaultdict
from http.cookies import SimpleCookie

from crawlyard.demo.request import HttpRequest
from crawlyard.demo.site import HTML, Answer


def cookies_in(request: HttpRequest) -> dict[str, str]:
    """Return the cookies of a request by name, as another program reads them."""
    read = SimpleCookie(request.headers.get("cookie", ""))
    return {name: morsel.value for name, morsel in read.items()}


def page(body: str, *headers: tuple[str, str]) -> Answer:
    return Answer(200, (("Content-Type", HTML), *headers), f"<!doctype html>{body}".encode())


def to(location: str, *headers: tuple[str, str]) -> Answer:
    return Answer(302, (("Location", location), *headers))


class SessionSite:
    """Pages /0 to /n in a chain; who comes without a session of the host is given a new one."""

    def __init__(self, pages: int) -> None:
        self.pages = pages
        self.sessions: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """How many requests each session made, by host; it was given with the first."""

    def answer(self, method: str, path: str, host: str) -> Answer:
        raise NotImplementedError

    def answer_request(self, request: HttpRequest) -> Answer:
        number = request.path.removeprefix("/") or "0"
        if not number.isdigit() or int(number) >= self.pages:
            return Answer(404)
        mine = self.sessions[request.host]
        session = cookies_in(request).get("sid", "")
        if session in mine:
            mine[session] += 1
            return self.inside(request, int(number))
        new = f"{request.host}-{len(mine)}"
        mine[new] += 1
        return self.outside(request, int(number), ("Set-Cookie", f"sid={new}; Path=/; HttpOnly"))

    def inside(self, request: HttpRequest, number: int) -> Answer:
        """Answer who brings a session."""
        ahead = range(number + 1, min(number + 4, self.pages))
        links = "".join(f'<a href="/{to}">{to}</a>' for to in ahead)
        return page(f"<title>Page {number}</title><p>Page {number}</p>{links}")

    def outside(self, request: HttpRequest, number: int, cookie: tuple[str, str]) -> Answer:
        """Answer who brings none."""
        answer = self.inside(request, number)
        return Answer(answer.status, (*answer.headers, cookie), answer.body)


class CookieWall(SessionSite):
    """The same, but who comes without a session is sent round again, maybe by way of /check."""

    def __init__(self, pages: int, *, by_way_of_check: bool = False) -> None:
        super().__init__(pages)
        self.by_way_of_check = by_way_of_check

    def answer_request(self, request: HttpRequest) -> Answer:
        path, _, back = request.path.partition("?")
        if path != "/check":
            return super().answer_request(request)
        new = f"{request.host}-{len(self.sessions[request.host])}"
        self.sessions[request.host][new] = 0
        return to(back, ("Set-Cookie", f"sid={new}; Path=/"))

    def outside(self, request: HttpRequest, number: int, cookie: tuple[str, str]) -> Answer:
        if not self.by_way_of_check:
            return to(request.path, cookie)
        self.sessions[request.host].popitem()  # it is given by the check
        return to(f"/check?{request.path}")
