"""Pages that harm their renderer: each ends, as a failed page or as a whole one."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.crawl.rendering import Browser, actions_of
from crawlyard.engine.http.fetch import FetchFailed, Response
from crawlyard.engine.render import launch
from crawlyard.engine.render.base import SubRequest
from tests.engine.clients import came
from tests.engine.render_rig import MakeRig, RenderRig, rig, scripted

__all__ = ["rig"]

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("browser", Browser)]

ENDLESS = {
    "for (;;);": "not rendered within 5 s",
    "setTimeout(() => { for (;;); }, 50)": "not rendered within 5 s",
    "function again() { Promise.resolve().then(again) } again()": "not rendered within 5 s",
    "location = '/' + Math.random()": "its scripts navigated more than 5 times",
    "location.reload()": "its scripts navigated more than 5 times",
    "setInterval(() => { location = '/?' + Math.random() }, 20)": "more than 5 times",
}
BOMBS = (
    "const all = []; for (;;) all.push(new Array(1e6).fill(Math.random()))",
    "const all = []; for (;;) all.push(new Uint8Array(1 << 26).fill(1))",
    """for (;;) document.body.appendChild(document.createElement('p')).textContent =
         Math.random() + 'x'.repeat(1e5)""",
)
DIALOGS = """
  alert('here'); confirm('sure?'); prompt('name?'); window.print?.();
  addEventListener('beforeunload', (event) => { event.returnValue = 'stay' });
  out.textContent = 'went on';
"""


async def failed(
    site: RenderRig, browser: Browser, path: str = "/", deadline_s: float = 30.0
) -> str:
    """Render a page that fails; return why, once the next page is seen to be whole."""
    with pytest.raises(FetchFailed) as raised:
        await site.render(browser, path, deadline_s=deadline_s)
    assert raised.value.kind is ErrorKind.RENDER
    assert b">fine<" in (await site.render(browser, "/fine", deadline_s=60.0)).html
    return raised.value.detail


async def test_scripts_without_an_end_fail_their_page(rig: MakeRig, browser: Browser) -> None:
    fine = scripted("out.textContent = 'fine'")
    site = await rig({"/fine": fine})
    for script, why in ENDLESS.items():
        site.site.otherwise = scripted(script)

        assert why in await failed(site, browser, deadline_s=5.0), script


@pytest.mark.parametrize("bomb", BOMBS)
async def test_a_memory_bomb_fails_its_page(rig: MakeRig, browser: Browser, bomb: str) -> None:
    site = await rig({"/": scripted(bomb), "/fine": scripted("out.textContent = 'fine'")})

    why = await failed(site, browser, deadline_s=60.0)

    assert "the page used more than" in why or "crashed" in why or "died" in why


async def test_dialogs_are_dismissed_and_the_page_goes_on(rig: MakeRig, browser: Browser) -> None:
    site = await rig({"/": scripted(DIALOGS)})

    for _ in range(2):
        assert b">went on<" in (await site.render(browser, "/")).html


async def test_windows_and_downloads_are_not_opened(rig: MakeRig, browser: Browser) -> None:
    script = """
      window.open('/popup'); const a = document.createElement('a');
      a.href = '/file.bin'; a.download = 'file.bin'; document.body.append(a); a.click();
      out.textContent = 'went on';
    """
    site = await rig({"/": scripted(script), "/file.bin": "bytes", "/popup": "popup"})

    page = await site.render(browser, "/")

    assert b">went on<" in page.html
    assert "/popup" not in site.paths()


async def test_a_page_that_leaves_for_no_page_at_all_is_failed_or_stays(
    rig: MakeRig, browser: Browser
) -> None:
    site = await rig({"/fine": scripted("out.textContent = 'fine'")})
    for target in ("about:blank", "data:text/html,<p>other", "javascript:'<p>other'", "blob:x"):
        site.bodies["/"] = scripted(f"out.textContent = 'mine'; location = {target!r}")

        became = await came(site.render(browser, "/", deadline_s=5.0))

        if isinstance(became, FetchFailed):
            assert became.kind is ErrorKind.RENDER
        else:
            assert became.url == f"{site.server.url}/"


async def test_a_document_that_grows_too_large_fails(rig: MakeRig, browser: Browser) -> None:
    script = "document.body.setAttribute('data-x', 'x'.repeat(17 * 1024 * 1024))"
    site = await rig({"/": scripted(script), "/fine": scripted("out.textContent = 'fine'")})

    assert "more than 16,777,216 characters" in await failed(site, browser)


async def test_a_browser_that_dies_fails_its_page_alone(rig: MakeRig, browser: Browser) -> None:
    site = await rig({"/": scripted(""), "/fine": scripted("out.textContent = 'fine'")})
    await site.render(browser, "/fine")

    async def send(request: SubRequest) -> Response:
        for pid in browsers():
            os.kill(pid, signal.SIGKILL)
        await asyncio.Event().wait()
        return await site.send(request)

    site.bodies["/"] = scripted("fetch('/data.json')")
    with pytest.raises(FetchFailed, match="the page crashed the browser"):
        await site.render(browser, "/", send=send)

    assert b">fine<" in (await site.render(browser, "/fine")).html
    measured = site.renderers.pool_for(browser).measured
    assert (sum(measured.took.counts), measured.failures, measured.running) == (2, 1, 1)


async def test_a_selector_that_is_none_is_said_to_be_one(rig: MakeRig, browser: Browser) -> None:
    site = await rig({"/": scripted("")})

    with pytest.raises(FetchFailed, match="a script failed in the page"):
        await site.render(browser, "/", actions=actions_of(["click b["]))


async def test_a_browser_that_is_not_there_says_what_installs_it(
    rig: MakeRig, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await rig({"/": scripted("")})
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(launch, "find_package", lambda name: None)

    with pytest.raises(FetchFailed) as raised:
        await site.render(browser, "/")

    installs = {
        Browser.LIGHTPANDA: "Lightpanda is not installed: pip install",
        Browser.CHROMIUM: "Chromium is not installed: apt install chromium-headless-shell",
    }
    assert installs[browser] in raised.value.detail


def browsers() -> list[int]:
    """Return the browsers that supervisors of this process have started."""
    stats = {int(p.name): p / "stat" for p in Path("/proc").iterdir() if p.name.isdecimal()}
    parents = {}
    for pid, stat in stats.items():
        try:
            parents[pid] = int(stat.read_text("utf-8", "replace").rpartition(")")[2].split()[1])
        except OSError:
            continue
    ours = {pid for pid, parent in parents.items() if parent == os.getpid()}
    return [pid for pid, parent in parents.items() if parent in ours]
