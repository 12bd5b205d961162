"""An external Chromium, used by its CDP address."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from crawlyard.clock import SystemClock
from crawlyard.core.crawl.rendering import Browser
from crawlyard.engine.http.fetch import FetchFailed
from crawlyard.engine.render.pool import Renderers
from tests.engine.render_rig import MakeRig, rig, scripted

__all__ = ["rig"]

pytestmark = pytest.mark.slow


@asynccontextmanager
async def a_chromium(folder: Path) -> AsyncIterator[str]:
    """Run an external Chromium; yield its host and port."""
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    assert binary is not None
    process = await asyncio.create_subprocess_exec(
        *(binary, "--headless", "--no-sandbox", "--remote-debugging-port=0"),
        *(f"--user-data-dir={folder}", "--disable-dev-shm-usage", "about:blank"),
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        while b"DevTools listening on ws://" not in (line := await process.stderr.readline()):
            assert line, "it has ended"
        yield line.decode().split("ws://")[1].partition("/")[0]
    finally:
        process.terminate()
        await process.communicate()


async def test_pages_are_rendered_by_a_browser_that_runs_elsewhere(
    rig: MakeRig, tmp_path: Path
) -> None:
    script = "fetch('/data.json').then((r) => r.text()).then((text) => { out.textContent = text })"
    site = await rig({"/": scripted(script), "/data.json": "filled"})
    async with a_chromium(tmp_path) as address:
        site.renderers = Renderers(SystemClock(), most=2, endpoint=f"http://{address}")

        pages = await asyncio.gather(*(site.render(Browser.CHROMIUM, "/") for _ in range(4)))

        assert all(b">filled<" in page.html for page in pages)
        assert {page.by.partition("/")[0].partition(" ")[0] for page in pages} == {"chromium"}
        assert {page.cpu_s for page in pages} == {0.0}  # not ours to measure
        assert site.paths() == ["/data.json"] * 4


async def test_an_endpoint_that_does_not_answer_is_named(rig: MakeRig) -> None:
    site = await rig({"/": scripted("")})
    site.renderers = Renderers(SystemClock(), most=2, endpoint="http://127.0.0.1:1")

    with pytest.raises(FetchFailed, match=r"did not start: http://127\.0\.0\.1:1: .*refused"):
        await site.render(Browser.CHROMIUM, "/")


async def test_a_worker_that_may_have_no_browsers_has_none(rig: MakeRig) -> None:
    site = await rig({"/": scripted("")})
    site.renderers = Renderers(SystemClock(), most=0, endpoint="http://127.0.0.1:1")

    assert site.renderers.installed() == ()
    with pytest.raises(FetchFailed, match=r"renders no pages \(CRAWLYARD_BROWSERS=0\)"):
        await site.render(Browser.CHROMIUM, "/")
