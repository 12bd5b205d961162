"""Browsers end with their worker, however it ends, and leave neither processes nor files."""

import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from crawlyard.core.crawl.rendering import Browser
from crawlyard.engine.http.fetch import Response
from crawlyard.engine.render.base import SubRequest
from crawlyard.engine.render.process import _stats
from tests.engine.render_rig import MakeRig, rig, scripted

__all__ = ["rig"]

pytestmark = pytest.mark.slow

KILLS = {Browser.LIGHTPANDA: 80, Browser.CHROMIUM: 20}


def named(mark: str) -> Iterator[int]:
    """Yield the processes that were started with *mark* as their directory for temporary files."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):
                if mark.encode() in (folder / "environ").read_bytes():
                    yield int(folder.name)


def commands(root: int) -> Iterator[str]:
    """Yield the command lines of all that *root* has started."""
    for pid, stat in _stats(None).items():
        if stat.parent == root:
            with suppress(OSError):
                yield (Path("/proc") / str(pid) / "cmdline").read_text("utf-8", "replace")
            yield from commands(pid)


def none_left(mark: str) -> None:
    """Return once no process is left; the test ends by its time-out if one stays."""
    while list(named(mark)):
        time.sleep(0.05)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("browser", Browser)
def test_a_killed_worker_leaves_no_browser(browser: Browser) -> None:
    chance = random.Random(browser)
    # not `tmp_path`: the path of a Unix socket has at most 107 bytes
    with tempfile.TemporaryDirectory(prefix="cy-", dir="/tmp") as mark:
        environment = os.environ | {"TMPDIR": mark, "PYTHONPATH": os.pathsep.join(sys.path)}
        for kill in range(KILLS[browser]):
            when = "early" if kill % 3 == 0 else "late"  # while its browsers start, or work
            command = (sys.executable, "-m", "tests.engine.render_worker", browser, when)
            with Popen(command, stdout=PIPE, env=environment) as worker:
                assert worker.stdout is not None
                assert worker.stdout.readline() == b"ready\n"
                time.sleep(chance.random() * (0.5 if when == "early" else 0.1))
                worker.kill()
            none_left(mark)
            assert list(Path(mark).iterdir()) == []


@pytest.mark.parametrize("browser", Browser)
async def test_a_browser_is_replaced_after_some_pages_or_if_it_has_grown(
    rig: MakeRig, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crawlyard.engine.render.pool.MOST_PAGES", 2)
    site = await rig({"/": scripted("")})
    pool = site.renderers._pools[browser]
    pids = []
    for _ in range(5):
        await site.render(browser, "/")
        pids.append([seat.browser.process and seat.browser.process.pid for seat in pool._idle])
    assert [len(idle) for idle in pids] == [1, 0, 1, 0, 1]
    assert pids[0] != pids[2] != pids[4]
    assert pool.measured.running == 1

    monkeypatch.setattr("crawlyard.engine.render.pool._WORN", 0.0)
    await site.render(browser, "/")
    assert pool._idle == []
    assert pool.measured.running == 0


async def test_no_more_browsers_run_than_may(rig: MakeRig) -> None:
    site = await rig({"/": scripted("")})

    await asyncio.gather(*(site.render(Browser.LIGHTPANDA, "/") for _ in range(6)))

    assert len(site.renderers._pools[Browser.LIGHTPANDA]._idle) == 2


async def test_a_window_brings_no_process_but_that_of_its_page(rig: MakeRig) -> None:
    site = await rig({"/": scripted("fetch('/data.json')"), "/data.json": "{}"})
    renderers: list[str] = []

    async def send(request: SubRequest) -> Response:
        renderers.extend(
            command for command in commands(os.getpid()) if "--type=renderer" in command
        )
        return await site.send(request)

    await site.render(Browser.CHROMIUM, "/", send=send)

    assert len(renderers) == 1
