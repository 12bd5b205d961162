"""Real documentation, crawled by the installed command: every linked page is stored, once.

Checked against an independent walk over the same files and the log of the server.
"""

import asyncio
import json
import os
import sysconfig
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from crawlyard.demo.folder import FolderSite
from crawlyard.demo.hits import Hit, read_log
from tests.site import linked_pages, refetched, served_elsewhere

DOCS = "CRAWLYARD_TEST_DOCS"
WHY_NOT = (
    f"{DOCS} does not name a folder of HTML documentation. On Debian: "
    "apt-get download python3.13-doc && dpkg -x python3.13-doc_*.deb docs, "
    f"then {DOCS}=docs/usr/share/doc/python3.13/html"
)
LONGEST_S = 240  # python3.13-doc takes 4 s; a hang fails instead of blocking the suite

PACE = ("--delay", "0", "--concurrency", "16", "--per-host", "16")


@dataclass(frozen=True)
class Crawled:
    """Results of one crawl of the documentation."""

    linked: dict[str, int]  # status by path, as the independent walk found them
    stored: list[tuple[str, int]]  # path and status of each record, in the order of the file
    hits: list[Hit]


@pytest.fixture
def docs() -> Path:
    folder = os.environ.get(DOCS)
    if not folder:
        pytest.skip(WHY_NOT)
    return Path(folder)


@pytest.fixture
async def crawled(docs: Path, tmp_path: Path) -> Crawled:
    log = tmp_path / "hits.jsonl"
    async with served_elsewhere("--folder", str(docs), "--log", str(log)) as url:
        await crawl(url, "--allow-private", *PACE, "--out", "pages.jsonl", folder=tmp_path)
    records = [json.loads(line) for line in (tmp_path / "pages.jsonl").read_text().splitlines()]
    root = url.removesuffix("/")
    return Crawled(
        linked=linked_pages(FolderSite(docs)),
        stored=[(record["url"].removeprefix(root), record["status"]) for record in records],
        hits=read_log(log),
    )


async def crawl(*words: str, folder: Path) -> None:
    """Run the installed ``crawlyard crawl …`` in *folder*, without Crawlyard's settings."""
    command = Path(sysconfig.get_path("scripts")) / "crawlyard"
    environment = {name: value for name, value in os.environ.items() if "CRAWLYARD" not in name}
    process = await asyncio.create_subprocess_exec(
        *(str(command), "crawl", *words),
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(LONGEST_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, out) == (0, b""), err.decode()


@pytest.mark.slow
async def test_every_linked_page_is_requested_and_stored_once(crawled: Crawled) -> None:
    answered = {path: status for path, status in crawled.linked.items() if status not in {301, 302}}
    times = Counter(path for path, _ in crawled.stored)

    assert len(crawled.linked) > 1, "the start page links to nothing"
    assert dict(crawled.stored) == answered
    assert {path: count for path, count in times.items() if count > 1} == {}
    assert refetched(crawled.hits) == {}
    assert {hit.path for hit in crawled.hits} - {"/robots.txt"} == set(crawled.linked)
