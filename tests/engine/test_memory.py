"""Memory that hostile pages take, several at once, while a process of its own crawls them."""

import asyncio
import sys
from pathlib import Path

import pytest

from crawlyard.core.jobs.spec import TextMode
from tests.hazards import GROUPS, HazardSite, World
from tests.process_memory import tree_bytes
from tests.site import Serve

MB = 1_000_000
MOST = 600 * MB

# of these, nothing is read that could take memory, or only after a long time
OTHER = {"trap", "sm", "redir", "err", "ssrf", "dup"}


async def peak_of(arguments: list[str], most_s: float) -> int:
    """Run a crawl in a process and return the most memory that it took, with its children."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "crawlyard", "crawl", *arguments),
        *("--delay", "0", "--per-host", "8", "--allow-private", "--quiet"),
        stdout=asyncio.subprocess.DEVNULL,
    )
    peak = 0
    try:
        async with asyncio.timeout(most_s):
            while process.returncode is None:
                peak = max(peak, await asyncio.to_thread(tree_bytes, process.pid))
                assert peak < MOST
                await asyncio.sleep(0.005)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    return peak


@pytest.mark.slow
async def test_a_small_page_with_a_long_base_takes_little_memory(
    tmp_path: Path, site_server: Serve
) -> None:
    server = await site_server(HazardSite(World()))
    urls = [f"{server.url}/grow/{name}" for name in ("long-base", "repeated-link")]

    peak = await peak_of([*urls, "--data-dir", str(tmp_path), "--max-pages", "2"], 60)

    assert peak < 300 * MB


@pytest.mark.slow
@pytest.mark.parametrize("mode", TextMode)
async def test_pages_that_grow_take_bounded_memory_several_at_once(
    tmp_path: Path, site_server: Serve, mode: TextMode
) -> None:
    server = await site_server(HazardSite(World()))
    urls = [f"{server.url}{path}?{copy}" for path in GROUPS["grow"] for copy in range(3)]
    spec = ["--text", mode.value, "--max-pages", str(len(urls)), "--max-depth", "0"]

    await peak_of([*urls, "--data-dir", str(tmp_path), *spec], 600)


@pytest.mark.slow
@pytest.mark.parametrize("mode", TextMode)
async def test_all_other_hazards_take_bounded_memory(
    tmp_path: Path, site_server: Serve, mode: TextMode
) -> None:
    server = await site_server(HazardSite(World()))
    groups = sorted(set(GROUPS) - OTHER - {"grow"})
    urls = [f"{server.url}{path}" for group in groups for path in GROUPS[group]]
    spec = ["--text", mode.value, "--max-depth", "0", "--timeout", "2s"]

    await peak_of([*urls, "--data-dir", str(tmp_path), *spec], 600)
