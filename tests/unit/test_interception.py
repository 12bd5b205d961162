"""Requests of a rendered page: those that are sent, and the answers the page gets."""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from crawlyard.core.crawl.cookie import Cookie
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.engine.http.cookies import parse_cookie
from crawlyard.engine.http.fetch import FetchFailed, Response
from crawlyard.engine.render.base import Purpose, SubRequest
from crawlyard.engine.render.cdp import Message
from crawlyard.engine.render.filling import ScriptCookies
from crawlyard.engine.render.interception import (
    MOST_NAVIGATIONS,
    MOST_REQUESTS,
    Interception,
)

PAGE = "http://www.site.test/page"


def answer(
    body: bytes = b"body", status: int = 200, truncated: str = "", **headers: str
) -> Response:
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Response(status, pairs, body, len(body), truncated, 1)


@dataclass
class InterceptedSite:
    """Answers by URL, with records of the requests and of the commands to the browser."""

    answers: Mapping[str, Response] = field(default_factory=dict)
    asked: list[SubRequest] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    async def ask(self, request: SubRequest) -> Response:
        self.asked.append(request)
        if request.url not in self.answers:
            raise FetchFailed(ErrorKind.BLOCKED_ADDRESS, "no")
        return self.answers[request.url]

    def read_cookies(self, url: str, response: Response) -> list[Cookie]:
        urls = (
            parse_cookie(value, url, datetime.now(UTC))
            for value in response.all_headers("set-cookie")
        )
        return [cookie for cookie in urls if cookie is not None]

    async def call(self, method: str, **params: Any) -> Message:
        if method == "Network.setCookie":
            self.told.append(f"setCookie {params}")
            return {}
        if method == "Network.getCookies":
            return {"cookies": [{"name": name, "value": "1"} for name in ("a", "b")]}
        outcome = params.get("responseCode") or params.get("errorReason") or params.get("url")
        self.told.append(f"{method.partition('.')[2]} {outcome}")
        if "body" in params:
            self.headers.append(
                {header["name"]: header["value"] for header in params["responseHeaders"]}
            )
            self.bodies.append(b64decode(params["body"]))
        return {}

    def page(
        self, *, draws: bool = False, frames: bool = True, cookies: ScriptCookies | None = None
    ) -> Interception:
        own, kinds = answer(b"page"), {"draws": draws, "frames": frames}
        return Interception(
            PAGE, own, self.ask, self.call, **kinds, frame="F", script_cookies=cookies
        )


def paused_request(
    url: str, kind: str = "XHR", method: str = "GET", frame: str = "F", **headers: str
) -> Message:
    pairs = {name.replace("_", "-"): value for name, value in headers.items()}
    request = {"url": url, "method": method, "headers": pairs}
    return {"requestId": "1", "frameId": frame, "resourceType": kind, "request": request}


async def test_the_page_itself_is_answered_with_what_is_there() -> None:
    site = InterceptedSite()
    page = site.page()

    await page.handle(paused_request(PAGE, "Document"))

    assert (site.asked, site.told, site.bodies) == ([], ["fulfillRequest 200"], [b"page"])
    assert page.in_flight == 0


async def test_what_is_not_of_the_document_and_what_is_no_reading_is_blocked() -> None:
    site = InterceptedSite()
    page = site.page()
    kinds = ("Image", "Font", "Media", "TextTrack", "Ping", "EventSource", "WebSocket", "Manifest")
    for kind in kinds:
        await page.handle(paused_request("http://www.site.test/a", kind))
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        await page.handle(paused_request("http://www.site.test/a", method=method))
    await page.handle(paused_request("http://www.site.test/favicon.ico", "Other", Accept="image/*"))
    await page.handle(paused_request("ftp://www.site.test/a"))

    assert site.asked == []
    assert set(site.told) == {"failRequest BlockedByClient"}
    assert len(site.told) == len(kinds) + 6


async def test_a_screenshot_wants_images_and_a_browser_without_frames_no_frames() -> None:
    url = "http://www.site.test/a"
    site = InterceptedSite({url: answer()})
    for kind in ("Image", "Font", "Media"):
        await site.page(draws=True).handle(paused_request(url, kind))
    await site.page().handle(paused_request(url, "Document", frame="G"))
    await site.page(frames=False).handle(paused_request(url, "Document", frame="G"))

    assert [request.purpose for request in site.asked] == [
        *(Purpose.OTHER, Purpose.OTHER),
        Purpose.DOCUMENT,
    ]


async def test_a_request_says_what_the_page_says_and_not_what_the_browser_is() -> None:
    site = InterceptedSite()
    mine = {"Accept": "text/x", "X_Wish": "1", "Authorization": "Bearer x", "Referer": PAGE}
    browser_headers = {"User_Agent": "Chrome", "Sec_CH_UA": "x", "Accept_Encoding": "br"}

    await site.page().handle(
        paused_request("http://api.site.test/a#part", **mine, **browser_headers)
    )
    await site.page().handle(paused_request("http://other.test/a"))

    first, second = site.asked
    assert first.url == "http://api.site.test/a"
    assert first.same_site
    assert first.headers == {
        "accept": "text/x",
        "x-wish": "1",
        "authorization": "Bearer x",
        "referer": PAGE,
        "origin": "http://www.site.test",
    }
    assert not second.same_site


async def test_cookies_of_scripts_go_to_their_site_and_those_of_responses_are_the_jobs() -> None:
    own, other = "http://www.site.test/a", "http://other.test/a"
    site = InterceptedSite(
        {own: answer(Set_Cookie="site=1; Path=/", X_Other="kept"), other: answer()}
    )
    page = site.page()
    for url, header in ((own, {}), (own, {"Cookie": "a="}), (other, {"Cookie": "a="})):
        await page.handle(paused_request(url, "Script", **header))

    assert site.headers[0] == {"X-Other": "kept"}
    assert [request.headers.get("cookie") for request in site.asked] == [None, "a=1; b=1", None]


async def test_what_another_origin_does_not_open_is_not_read() -> None:
    own = answer(status=302, Location="http://other.test/closed")
    site = InterceptedSite(
        {
            "http://other.test/closed": answer(),
            "http://other.test/any": answer(Access_Control_Allow_Origin="*"),
            "http://other.test/us": answer(Access_Control_Allow_Origin="http://www.site.test"),
            "http://other.test/them": answer(Access_Control_Allow_Origin="http://them.test"),
            "http://www.site.test/moved": own,
        }
    )
    page = site.page()
    for path in ("closed", "any", "us", "them"):
        await page.handle(paused_request(f"http://other.test/{path}"))
    await page.handle(paused_request("http://www.site.test/moved"))
    await page.handle(paused_request("http://other.test/closed", "Script"))  # as in any browser

    failed, sent = "failRequest Failed", "fulfillRequest 200"
    assert site.told == [failed, sent, sent, failed, failed, sent]


async def test_once_its_form_is_filled_in_a_page_may_post_to_whom_the_login_lets_it() -> None:
    session, other = "http://www.site.test/session", "http://other.test/next"
    moved = answer(status=303, Location=other, Set_Cookie="a=1; Path=/; Domain=site.test")
    site = InterceptedSite({session: moved, other: answer()})
    page = site.page(cookies=site.read_cookies)
    await page.handle(paused_request(PAGE, "Document"))
    form = paused_request(session, "Document", "POST", Content_Type="text/plain")
    form["request"]["postDataEntries"] = [{"bytes": "cHc9"}, {"bytes": "MQ=="}]

    await page.handle(form)
    assert (site.asked, page.submitted) == ([], False)
    page.filled = True
    await page.handle(form)
    await page.handle(paused_request(other, "Document"))  # `Ask` judges it, and would refuse it
    await page.handle(form | {"resourceType": "XHR"})

    posted, visited, fetched, moved_to = site.asked
    assert (posted.method, posted.body, posted.filled) == ("POST", b"pw=1", True)
    assert posted.headers == {"content-type": "text/plain", "origin": "http://www.site.test"}
    assert (fetched.body, visited.body, visited.filled) == (b"pw=1", None, True)
    assert (moved_to.url, moved_to.method, moved_to.body) == (other, "GET", None)
    cookie = {"name": "a", "value": "1", "url": session, "path": "/", "domain": ".site.test"}
    assert f"setCookie {cookie}" in site.told
    assert "pw=1" not in repr(posted)


async def test_redirects_lose_credentials_on_their_way_to_another_origin() -> None:
    site = InterceptedSite(
        {
            "http://www.site.test/a": answer(status=307, Location="/b"),
            "http://www.site.test/b": answer(status=302, Location="https://www.site.test/c"),
            "https://www.site.test/c": answer(status=302, Location="http://other.test/d"),
            "http://other.test/d": answer(status=302, Location="http://www.site.test/e"),
        }
    )

    await site.page().handle(
        paused_request("http://www.site.test/a", "Script", Authorization="Bearer x")
    )

    sent = [(r.url[-1], r.same_site, "authorization" in r.headers) for r in site.asked]
    assert sent == [
        *(("a", True, True), ("b", True, True), ("c", True, False)),
        *(("d", False, False), ("e", False, False)),  # the other site chose where to go
    ]
    assert site.told == ["failRequest Failed"]


async def test_a_circle_of_redirects_and_a_body_that_was_cut_fail() -> None:
    url = "http://www.site.test/a"
    round_ = InterceptedSite({url: answer(status=302, Location="/a")})
    cut = InterceptedSite({url: answer(truncated="too long")})

    await round_.page().handle(paused_request(url))
    await cut.page().handle(paused_request(url, "Script"))

    assert len(round_.asked) == 10
    assert round_.told == cut.told == ["failRequest Failed"]


async def test_a_page_goes_to_others_of_its_origin_a_few_times() -> None:
    next_, moved = "http://www.site.test/next", "http://www.site.test/moved"
    site = InterceptedSite({next_: answer(b"next"), moved: answer(status=301, Location="/next")})
    page = site.page()
    for url in (PAGE, next_, moved, "http://other.test/", "http://www.site.test/closed"):
        await page.handle(paused_request(url, "Document"))

    assert site.bodies == [b"page", b"next"]
    assert site.told[2:] == [
        *("failRequest Aborted", f"navigate {next_}"),  # so that the page knows where it is
        *("failRequest Aborted", "failRequest Aborted"),
    ]
    assert page.stays
    assert [request.url for request in site.asked] == [next_, moved, "http://www.site.test/closed"]

    await page.handle(paused_request(next_, "Document", method="POST"))  # counts as well
    with pytest.raises(FetchFailed, match=f"more than {MOST_NAVIGATIONS} times, lastly to {next_}"):
        await page.handle(paused_request(next_, "Document"))


async def test_a_page_that_opens_a_download_fails_and_one_without_content_stays() -> None:
    archive, saved, none = (f"http://www.site.test/{name}" for name in ("zip", "saved", "none"))
    answers = {
        archive: answer(content_type="application/zip"),
        saved: answer(content_type="text/html", content_disposition="Attachment; filename=a"),
        none: answer(b"", 204),
    }
    for url in (archive, saved):
        page = InterceptedSite(answers).page()
        await page.handle(paused_request(PAGE, "Document"))
        with pytest.raises(FetchFailed, match=f"opened {url}, a download"):
            await page.handle(paused_request(url, "Document"))
    page = InterceptedSite(answers).page()
    await page.handle(paused_request(PAGE, "Document"))
    await page.handle(paused_request(none, "Document"))
    assert page.stays


async def test_a_page_has_a_bounded_number_of_requests() -> None:
    url = "http://www.site.test/a"
    site = InterceptedSite({url: answer()})
    page = site.page()
    for _ in range(MOST_REQUESTS + 3):
        await page.handle(paused_request(url))

    assert len(site.asked) == MOST_REQUESTS
    assert site.told[-3:] == ["failRequest BlockedByClient"] * 3


async def test_a_preflight_is_answered_without_a_request() -> None:
    site = InterceptedSite()

    await site.page().handle(paused_request("http://other.test/a", "Preflight", method="OPTIONS"))

    assert (site.asked, site.told) == ([], ["fulfillRequest 204"])
