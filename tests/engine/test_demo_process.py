import asyncio
import os
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import DemoSite
from tests.site import GraphSite, ask, read_log, served_elsewhere


async def statuses_of(url: str, *paths: str) -> list[int]:
    """Ask a server of another process."""
    elsewhere = SiteServer(GraphSite({}), port=urlsplit(url).port or 0)
    return [(await ask(elsewhere, path)).status for path in paths]


async def test_the_process_serves_the_demo_site_and_logs(tmp_path: Path) -> None:
    log = tmp_path / "hits.jsonl"
    options = ("--pages", "20", "--latency-ms", "1", "--log", str(log))

    async with served_elsewhere(*options) as url:
        statuses = await statuses_of(url, "/", DemoSite.broken, "/x")

    assert statuses == [200, 500, 404]
    assert [(hit.path, hit.status) for hit in read_log(log)] == [
        ("/", 200),
        (DemoSite.broken, 500),
        ("/x", 404),
    ]


async def test_the_process_serves_a_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "index.html").write_text("x")

    async with served_elsewhere("--folder", str(tmp_path)) as url:
        statuses = await statuses_of(url, "/sub/", "/sub", "/none")

    assert statuses == [200, 301, 404]


async def test_the_process_serves_a_plain_site() -> None:
    async with served_elsewhere("--plain", "--pages", "2") as url:
        assert await statuses_of(url, "/", DemoSite.broken) == [200, 404]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--pages", "0"), 2, b"at least 1, got 0"),
        (("--folder", "/no/such/folder"), 2, b"expected a folder"),
        (("--log", "/no/such/folder/log"), 1, b"No such file"),
    ],
)
async def test_a_bad_option_is_said_and_ends_the_process(
    options: tuple[str, ...], code: int, words: bytes
) -> None:
    process = await start(*options)

    output, errors = await process.communicate()

    assert (process.returncode, output) == (code, b"")
    assert words in errors


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_process_cleanly(by: signal.Signals) -> None:
    process = await start("--pages", "1")
    assert process.stdout is not None
    await process.stdout.readline()

    os.kill(process.pid, by)
    _, errors = await process.communicate()

    assert (process.returncode, errors) == (0, b"")


async def start(*options: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "crawlyard.demo", *options, stdout=pipe, stderr=pipe
    )
