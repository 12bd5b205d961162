"""Pages in real browsers: what becomes of them, and what they ask for meanwhile."""

from collections.abc import Awaitable

import pytest

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.crawl.rendering import Browser, ScreenshotFormat, actions_of
from crawlyard.demo.site import Answer
from crawlyard.engine.http.fetch import FetchFailed, Response
from crawlyard.engine.render.base import Purpose, RenderedPage, SubRequest
from tests.engine.render_rig import MakeRig, rig, scripted

__all__ = ["rig"]

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("browser", Browser)]

SHELL = scripted("", '<div id=out></div><script src="/app.js"></script>')
APP = """
  fetch('/data.json', {headers: {'X-Wish': 'all'}}).then((r) => r.json()).then((data) => {
    document.getElementById('out').innerHTML = `<a href="/next">${data.title}</a>`;
    document.title = data.title;
  });
"""


async def failure(rendering: Awaitable[RenderedPage]) -> FetchFailed:
    with pytest.raises(FetchFailed) as raised:
        await rendering
    return raised.value


async def test_a_shell_becomes_the_page_that_its_scripts_make(
    rig: MakeRig, browser: Browser
) -> None:
    site = await rig({"/": SHELL, "/app.js": APP, "/data.json": '{"title": "Ω, rendered"}'})

    page = await site.render(browser, "/")

    assert '<a href="/next">Ω, rendered</a>' in page.html.decode()
    assert page.html.startswith(b"<!DOCTYPE html>")
    assert page.url == f"{site.server.url}/"
    assert page.by.startswith(f"{browser} ")
    assert site.paths() == ["/app.js", "/data.json"]
    assert [request.purpose for request in site.asked] == [Purpose.SCRIPT, Purpose.DATA]
    assert site.asked[1].headers["x-wish"] == "all"
    # the document was not asked for again, and nothing went past the fetcher
    assert [hit.path for hit in site.server.hits] == ["/", "/app.js", "/data.json"]


async def test_pages_share_no_storage_and_no_cookies(rig: MakeRig, browser: Browser) -> None:
    script = """
      document.getElementById('out').textContent =
        `${document.cookie}|${localStorage.getItem('left')}|${sessionStorage.getItem('left')}`;
      document.cookie = 'left=1'; localStorage.setItem('left', '1');
      sessionStorage.setItem('left', '1');
    """
    site = await rig({"/": scripted(script)})

    pages = [await site.render(browser, "/") for _ in range(2)]

    assert all(b">|null|null<" in page.html for page in pages)


async def test_images_fonts_and_media_are_not_requested(rig: MakeRig, browser: Browser) -> None:
    body = """
      <style>@font-face { font-family: f; src: url(/f.woff2) } p { font-family: f }</style>
      <p>text<img src="/a.png"><img src="/b.jpg" srcset="/c.jpg 2x"><video src="/v.mp4"></video>
      <audio src="/v.mp3"></audio><link rel=icon href="/i.ico">"""
    site = await rig({"/": scripted("fetch('/data.json')", body), "/data.json": "{}"})

    await site.render(browser, "/")

    assert site.paths() == ["/data.json"]


async def test_only_get_and_head_are_sent(rig: MakeRig, browser: Browser) -> None:
    script = """(async () => {
      const told = [];
      for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'HEAD', 'GET'])
        await fetch('/data.json', {method}).then((r) => told.push(method), () => {});
      document.getElementById('out').textContent = told;
    })()"""
    site = await rig({"/": scripted(script), "/data.json": "{}"})

    page = await site.render(browser, "/")

    assert b">HEAD,GET<" in page.html
    assert [hit.method for hit in site.server.hits] == ["GET", "HEAD", "GET"]


async def test_redirects_are_followed_hop_by_hop(rig: MakeRig, browser: Browser) -> None:
    hop = Answer(302, (("Location", "/second"),))
    script = "fetch('/first').then((r) => r.text()).then((t) => { out.textContent = t; })"
    second = Answer(307, (("Location", "/third"),))
    site = await rig({"/": scripted(script), "/first": hop, "/second": second, "/third": "there"})

    page = await site.render(browser, "/")

    assert b">there<" in page.html
    assert site.paths() == ["/first", "/second", "/third"]


async def test_another_site_is_read_only_if_it_allows_that(rig: MakeRig, browser: Browser) -> None:
    open_ = Answer(200, (("Access-Control-Allow-Origin", "*"),), b"open")
    site = await rig({"/": scripted(""), "/open": open_, "/secret": "secret"})
    there = site.server.url.replace("127.0.0.1", "localhost")
    script = f"""(async () => {{
      const told = [];
      for (const path of ['/open', '/secret', '{site.server.url}/to'])
        told.push(await fetch(new URL(path, '{there}')).then((r) => r.text(), () => 'no'));
      out.textContent = told;
    }})()"""
    moved = Answer(302, (("Location", f"{there}/secret"),))
    site.bodies.update({"/": scripted(script), "/to": moved})

    async def send(request: SubRequest) -> Response:
        site.asked.append(request)
        url = request.url.replace("localhost", "127.0.0.1")
        return await site.fetcher.fetch(url, request.headers, 1000)

    page = await site.render(browser, "/", send=send)

    assert b">open,no,no<" in page.html
    assert [request.same_site for request in site.asked] == [False, False, True, False]
    assert site.asked[0].headers["origin"] == site.server.url


async def test_a_page_that_is_never_quiet_is_taken_as_it_is(rig: MakeRig, browser: Browser) -> None:
    script = (
        "let n = 0; setInterval(() => fetch('/data.json').then(() => out.textContent = ++n), 50)"
    )
    site = await rig({"/": scripted(script), "/data.json": "{}"})

    actions = actions_of(["click #out", "scroll", "click #out"])
    for some in ((), actions):
        page = await site.render(browser, "/", actions=some, deadline_s=10.0)

        assert b'<p id="out">shell<' not in page.html


async def test_a_page_is_taken_though_an_answer_of_it_is_still_to_come(
    rig: MakeRig, browser: Browser
) -> None:
    late = Answer(200, (("Content-Type", "application/json"),), b"{}", delay_s=6)
    site = await rig({"/": scripted("fetch('/late.json')"), "/late.json": late})

    for _ in range(2):
        page = await site.render(browser, "/", deadline_s=8.0)  # half of it is for being quiet

        assert b'<p id="out">shell<' in page.html
    assert site.paths() == ["/late.json"] * 2


async def test_a_page_is_waited_for_until_a_selector_finds_something(
    rig: MakeRig, browser: Browser
) -> None:
    late = (
        "setTimeout(() => { document.body.insertAdjacentHTML('beforeend', '<b class=late>') }, 900)"
    )
    site = await rig({"/": scripted(late)})

    assert b"late" not in (await site.render(browser, "/")).html.partition(b"<script>")[0]
    page = await site.render(browser, "/", wait_for="b.late")
    assert b'<b class="late">' in page.html
    failed = await failure(site.render(browser, "/", wait_for="b.never", deadline_s=2.0))
    assert failed.kind is ErrorKind.RENDER
    assert failed.detail == "not rendered within 2 s: waited for it to contain b.never"
    failed = await failure(site.render(browser, "/", wait_for="b[", deadline_s=2.0))
    assert "a script failed in the page" in failed.detail


async def test_actions_click_scroll_and_wait(rig: MakeRig, browser: Browser) -> None:
    body = """<button class=more>more</button><div style="height: 3000px"></div><p id=out></p>"""
    script = """
      document.querySelector('.more').onclick = () => fetch('/data.json').then(() =>
        document.body.insertAdjacentHTML('beforeend', '<a href="/clicked">clicked</a>'));
      let n = 0;
      addEventListener('scroll', () => fetch('/data.json').then(() => n++ ||
        document.body.insertAdjacentHTML('beforeend', '<a href="/scrolled">s</a>')));
    """
    site = await rig({"/": scripted(script, body), "/data.json": "{}"})
    actions = actions_of(["click .more", "wait a[href='/clicked']", "scroll 4", "wait 0.1s"])

    page = await site.render(browser, "/", actions=actions)

    assert b"/clicked" in page.html.partition(b"<script>")[0] + page.html.partition(b"</script>")[2]
    assert b'<a href="/scrolled">' in page.html


async def test_a_page_may_move_within_its_origin(rig: MakeRig, browser: Browser) -> None:
    bodies: dict[str, str | Answer] = {
        "/": scripted("location.href = '/old'"),
        "/old": Answer(301, (("Location", "/new"),)),
        "/new": scripted("history.replaceState(null, '', '/shown'); out.textContent = 'moved'"),
    }
    site = await rig(bodies)

    page = await site.render(browser, "/")

    assert b">moved<" in page.html
    assert page.url == f"{site.server.url}/shown"
    assert [request.purpose for request in site.asked] == [Purpose.DOCUMENT] * 2


async def test_a_page_may_set_a_cookie_and_reload(rig: MakeRig, browser: Browser) -> None:
    wall = "if (!document.cookie) { document.cookie = 'in=yes; path=/'; location.reload() }"
    site = await rig({"/": scripted(wall), "/data.json": "{}"})

    async def send(request: SubRequest) -> Response:
        site.bodies["/"] = scripted(f"out.textContent = {request.headers.get('cookie')!r}")
        return await site.send(request)

    assert b">in=yes<" in (await site.render(browser, "/", send=send)).html


async def test_a_page_that_wants_to_leave_its_origin_ends_as_it_is(
    rig: MakeRig, browser: Browser
) -> None:
    site = await rig({"/": scripted("out.textContent = 'mine'; location = 'http://other.test/'")})

    page = await site.render(browser, "/")

    assert b">mine<" in page.html
    assert page.url == f"{site.server.url}/"
    assert site.asked == []


async def test_a_page_that_still_looks_empty_is_given_more_time(
    rig: MakeRig, browser: Browser
) -> None:
    late = f"setTimeout(() => {{ {APP} }}, 1000)"
    framed = '<header>Shop of many things</header><div id="root"><p id="out"></p></div>'
    for body in ("<div id=out></div>", framed):
        site = await rig({"/": scripted(late, body), "/data.json": '{"title": "rendered"}'})

        page = await site.render(browser, "/")

        assert b">rendered</a>" in page.html, body


async def test_a_page_whose_scripts_open_a_download_is_a_failed_page(
    rig: MakeRig, browser: Browser
) -> None:
    disposition = ("Content-Disposition", "attachment; filename=a.html")
    for header in (("Content-Type", "application/zip"), disposition):
        bodies: dict[str, str | Answer] = {"/": scripted("location = '/file'")}
        bodies["/file"] = Answer(200, (header,), b"PK")
        site = await rig(bodies)

        failed = await failure(site.render(browser, "/"))

        assert failed.kind is ErrorKind.RENDER
        assert f"opened {site.server.url}/file, a download" in failed.detail
    site = await rig({"/": scripted("location = '/nothing'"), "/nothing": Answer(204)})
    assert b"shell" in (await site.render(browser, "/")).html


async def test_what_is_for_browsers_without_scripts_is_left_out(
    rig: MakeRig, browser: Browser
) -> None:
    site = await rig({"/": scripted("", "<noscript>Enable JavaScript</noscript><p>text")})

    page = await site.render(browser, "/")

    assert b"Enable" not in page.html


async def test_screenshots_are_of_chromium_alone(rig: MakeRig, browser: Browser) -> None:
    dot = "<svg xmlns='http://www.w3.org/2000/svg'/>"
    image = Answer(200, (("Content-Type", "image/svg+xml"),), dot.encode())
    site = await rig({"/": scripted("", "<img src=/a.svg><p>text"), "/a.svg": image})

    if browser is Browser.LIGHTPANDA:
        shot = site.render(browser, "/", screenshot=ScreenshotFormat.PNG)
        assert "need chromium" in (await failure(shot)).detail
        return
    png = await site.render(browser, "/", screenshot=ScreenshotFormat.PNG)
    webp = await site.render(browser, "/", screenshot=ScreenshotFormat.WEBP)
    assert png.screenshot is not None
    assert png.screenshot.startswith(b"\x89PNG")
    assert webp.screenshot is not None
    assert webp.screenshot[8:12] == b"WEBP"
    assert site.paths() == ["/a.svg"] * 2  # images are loaded, to be seen


async def test_other_charsets_are_read_as_a_browser_reads_them(
    rig: MakeRig, browser: Browser
) -> None:
    latin = Answer(
        200, (("Content-Type", "text/html; charset=iso-8859-1"),), "<p>é".encode("latin-1")
    )
    site = await rig({"/": latin})

    assert "<p>é".encode() in (await site.render(browser, "/")).html
