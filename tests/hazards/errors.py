"""Errors, for good and for a while; servers that are busy; cookies that come and go."""

import asyncio
import time
from email.utils import formatdate

from crawlyard.demo.server import Raw
from crawlyard.demo.site import Answer
from tests.hazards.common import Hazard, HazardRequest, Make, fixed, html, location, page, reset

GONE = ("failed:http_4xx",)
BROKEN = ("failed:http_5xx",)
BUSY = ("failed:rate_limited",)
BODY = html('<title>Error</title><a href="/maybe/error">x</a>').body


def _error(status: int, *headers: tuple[str, str]) -> Answer:
    return Answer(status, (("Content-Type", "text/html"), *headers), BODY)


def _first(times: int, answer: Answer, name: str) -> Hazard:
    """Return what fails *times* times, then is a page."""

    def make(call: HazardRequest) -> Answer:
        return answer if call.times <= times else page(f"/found/err/{name}", title="At last")

    return Hazard(f"/err/{name}", make, ("page",), (f"/found/err/{name}",), "At last")


def drop_first(call: HazardRequest) -> Answer | Raw:
    async def drop(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reset(writer)

    return drop if call.times == 1 else page("/found/err/drop", title="At last")


def seconds_first(call: HazardRequest) -> Answer:
    """Ask to wait *retry_after_s*, once."""
    if call.times == 1:
        return _error(429, ("Retry-After", str(call.world.retry_after_s)))
    return page("/found/err/429", title="At last")


def date_first(call: HazardRequest) -> Answer:
    """Ask, by a date, to wait: at least *retry_after_s*, as dates have whole seconds only."""
    if call.times == 1:
        until = formatdate(int(time.time()) + 1 + call.world.retry_after_s, usegmt=True)
        return _error(503, ("Retry-After", until))
    return page("/found/err/503", title="At last")


def _waits(status: int, value: str) -> Make:
    return fixed(_error(status, ("Retry-After", value)))


def cookie_wall(call: HazardRequest) -> Answer:
    """Let in who brings the cookie; send everyone else round again."""
    if "seen=yes" in call.headers.get("cookie", ""):
        return page(title="Behind the wall")
    return Answer(302, (("Location", "/cookie/wall"), ("Set-Cookie", "seen=yes; Path=/")))


def hard_wall(call: HazardRequest) -> Answer:
    """Send everyone round again, each time with another cookie."""
    answer = location("/cookie/hard")
    return Answer(302, (*answer.headers, ("Set-Cookie", f"turn{call.times}=1")))


def _cookies(name: str, *values: str) -> Hazard:
    answer = page(f"/found/cookie/{name}", headers=tuple(("Set-Cookie", v) for v in values))
    return Hazard(f"/cookie/{name}", fixed(answer), ("page",), (f"/found/cookie/{name}",))


HAZARDS = (
    *(Hazard(f"/err/{n}", fixed(_error(n)), BROKEN) for n in (500, 501, 502, 503, 504, 507, 599)),
    *(
        Hazard(f"/err/{n}", fixed(_error(n)), GONE)
        for n in (400, 401, 402, 403, 404, 406, 410, 418, 421, 451)
    ),
    # some retry these two, some do not
    *(Hazard(f"/err/{n}", fixed(_error(n)), (*GONE, *BUSY)) for n in (408, 425)),
    Hazard("/err/204", fixed(Answer(204)), ("page",)),
    Hazard("/err/206", fixed(Answer(206, (("Content-Type", "text/html"),), BODY)), ("page",)),
    Hazard("/err/429", fixed(_error(429)), BUSY),
    Hazard("/err/429-always", _waits(429, "0"), BUSY),
    Hazard("/err/503-always", _waits(503, "0"), (*BUSY, *BROKEN)),
    Hazard("/err/429-seconds", seconds_first, ("page",), ("/found/err/429",), "At last"),
    Hazard("/err/503-date", date_first, ("page",), ("/found/err/503",), "At last"),
    # a year, a past date, nonsense: no crawler should wait as told
    Hazard("/err/429-year", _waits(429, "31536000"), BUSY),
    Hazard("/err/429-past", _waits(429, "Sat, 01 Jan 2000 00:00:00 GMT"), BUSY),
    Hazard("/err/429-negative", _waits(429, "-5"), BUSY),
    Hazard("/err/429-huge", _waits(429, "9" * 400), BUSY),
    Hazard("/err/429-nonsense", _waits(429, "soon"), BUSY),
    _first(1, _error(503), "first-503"),
    _first(2, _error(500), "two-500s"),
    Hazard("/err/first-drop", drop_first, ("page",), ("/found/err/drop",), "At last"),
    Hazard("/cookie/wall", cookie_wall, ("page", "failed:bad_redirect", "skipped")),
    Hazard("/cookie/hard", hard_wall, ("failed:bad_redirect", "skipped")),
    _cookies("huge", "big=" + "x" * 7000),
    _cookies("many", *(f"c{n}=1" for n in range(80))),
    _cookies(
        "broken", "", "=", ";;;", "a\x7f=b", "x=y; Expires=never; Max-Age=long; Domain=.", "\xff"
    ),
    _cookies(
        "foreign", "leak=1; Domain=example.org", "leak=2; Domain=test", "leak=3; Domain=127.0.0.2"
    ),
)
