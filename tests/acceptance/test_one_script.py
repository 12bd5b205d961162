"""The same script with an instance in this process, over HTTP, and without async."""

import difflib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import Somewhere
from tests.acceptance.shell import MINUTE, environment

SCRIPT = """
import asyncio
import crawlyard
from crawlyard import sync

async def main():
    async with crawlyard.open() as yard:
        # 1. crawl a site
        job = await yard.jobs.run(SITE, max_pages=5, name="docs", **QUICK)
        print(job.state, job.usage.pages)
        # 2. read its pages, with their text
        pages = [page async for page in yard.jobs.pages(job.id)]
        print(len(pages), all(page.text for page in pages))
        # 3. export them
        file = await yard.results.export(job.id, q="/")
        print(len([part async for part in file]) > 0)
        # 4. queue a job that no worker here may take, and list what is queued
        later = {"start_at": FAR_OFF, "worker_tags": ["elsewhere"]}
        queued = await yard.jobs.create([SITE], tag="later", **later, **QUICK)
        print([job.id == queued.id for job in (await yard.jobs.list(tag="later")).items])
        # 5. change it
        print((await yard.jobs.edit(queued.id, {"limits": {"pages": 7}})).spec.limits.pages)
        # 6. pause, resume and cancel it
        for move in (yard.jobs.pause, yard.jobs.resume, yard.jobs.cancel):
            print((await move(queued.id)).state)
        # 7. keep a crawl as a template, and run that
        await yard.templates.create({"name": "docs", "spec": {"urls": [SITE], **QUICK}})
        print((await yard.jobs.run(template="docs", max_pages=2)).usage.pages)
        # 8. schedule it
        await yard.schedules.create("nightly", "30 2 * * *", template="docs", max_depth=1)
        print((await yard.schedules.get("nightly")).name)
        # 9. see what has happened
        print((await yard.jobs.events(job.id, limit=1)).items[0].name)
        # 10. delete what is not needed
        await yard.jobs.delete(queued.id)
        print((await yard.jobs.counts()).total)

asyncio.run(main())
"""
EXPECTED = "completed 5,5 True,True,[True],7,paused,pending,cancelled,2,nightly,job.created,2"


def without_async(script: str) -> str:
    """Remove the async keywords from a script."""
    return re.sub(r"\b(async|await) ", "", script).replace("asyncio.run(main())", "main()")


def run(script: str, site: str, folder: Path, env: dict[str, str]) -> str:
    """Run a script and return the lines it prints, joined by commas."""
    opened = {"delay": 0, "allow_addresses": [site.split("/")[2]]}
    consts = "from datetime import datetime, UTC\nFAR_OFF = datetime(2100, 1, 1, tzinfo=UTC)\n"
    consts += f"SITE = {site!r}\nQUICK = {opened!r}\n"
    done = subprocess.run(
        [sys.executable, "-c", consts + script],
        cwd=folder,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=MINUTE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return ",".join(done.stdout.splitlines())


def changed_lines(script: str, other: str) -> int:
    """Return how many lines of *other* differ from *script*."""
    lines = difflib.ndiff(script.splitlines(), other.splitlines())
    return sum(line.startswith("+ ") for line in lines)


@pytest.mark.slow
def test_ten_tasks_differ_in_one_line_between_open_connect_and_sync(
    tmp_path: Path, site: str, somewhere: Somewhere
) -> None:
    served = SCRIPT.replace("crawlyard.open()", "crawlyard.connect()")
    blocking = without_async(SCRIPT).replace("crawlyard.open()", "sync.open()")
    assert changed_lines(SCRIPT, served) == 1
    assert changed_lines(without_async(SCRIPT), blocking) == 1
    for name in ("here", "sync"):
        (tmp_path / name).mkdir()

    assert run(SCRIPT, site, tmp_path / "here", {}) == EXPECTED
    assert run(blocking, site, tmp_path / "sync", {}) == EXPECTED
    with somewhere(tmp_path / "there", "http") as shell:
        assert run(served, site, tmp_path, dict(shell.env)) == EXPECTED
