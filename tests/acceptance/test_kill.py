"""`kill -9` at any instant: nothing is lost, and nothing is asked again but what was in flight.

Judged from the log of the server, a process of its own.
"""

import asyncio
import os
import random
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from time import time

import pytest

from crawlyard import LOCAL, State
from crawlyard.demo.hits import Hit, read_log
from tests.engine.rig import a_spec, opened, outcome
from tests.site import served_elsewhere

CONCURRENCY = 6

CHECKPOINT_S = 1.0
"""What was answered earlier than this before a kill is recorded, and never asked again."""

DYING_S = 0.1
"""A child outlives its parent by as long as the end of their pipe takes to be noticed."""


@dataclass(frozen=True)
class Kill:
    """One death of a worker process."""

    epoch: float


async def a_worker(data_dir: Path, database_url: str) -> asyncio.subprocess.Process:
    """Start `crawlyard work` as a process of its own."""
    environment = os.environ | {"CRAWLYARD_DATABASE_URL": database_url}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "crawlyard", "work", "--drain", "--data-dir", str(data_dir)),
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


def hits_so_far(log: Path) -> int:
    return len(read_log(log)) if log.exists() else 0


async def first_new_hit(log: Path, seen: int, process: asyncio.subprocess.Process) -> None:
    """Return once the server was asked again after *seen* hits, or the process ended."""
    while process.returncode is None and hits_so_far(log) <= seen:  # noqa: ASYNC110 - a file
        await asyncio.sleep(0.02)


def unexcused(hits: list[Hit], kills: list[Kill]) -> list[str]:
    """Return the paths that were asked again without a kill that excuses it.

    A second request is excused by a kill between the two, if the first was answered in
    the last second before that kill, or not at all.
    """
    last: dict[str, Hit] = {}
    bad = []
    for hit in hits:
        before = last.get(hit.path)
        if before is not None and hit.path != "/robots.txt":
            took = None if before.answered_at is None else before.answered_at - before.at
            if not any(_excuses(kill, before, took, hit) for kill in kills):
                bad.append(hit.path)
        last[hit.path] = hit
    return bad


def _excuses(kill: Kill, before: Hit, took_s: float | None, hit: Hit) -> bool:
    if not before.epoch < kill.epoch + DYING_S or not kill.epoch < hit.epoch:
        return False
    return took_s is None or before.epoch + took_s > kill.epoch - CHECKPOINT_S


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return ""
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.mark.parametrize(
    ("database_url", "times", "pages"),
    [
        ("sqlite", 2, 200),
        pytest.param("sqlite", 20, 1000, marks=pytest.mark.slow),
        pytest.param("postgres", 20, 1000, marks=[pytest.mark.slow, pytest.mark.postgres]),
    ],
    indirect=["database_url"],
)
async def test_kills_lose_no_page_and_refetch_only_what_was_in_flight(
    database_url: str, times: int, pages: int, tmp_path: Path
) -> None:
    log = tmp_path / "hits.jsonl"
    chance = random.Random(20)
    kills: list[Kill] = []
    options = ("--pages", str(pages), "--plain", "--latency-ms", "30", "--log", str(log))
    async with (
        served_elsewhere(*options) as site,
        opened(tmp_path, database_url=database_url) as yard,
    ):
        spec = a_spec(site, concurrency=CONCURRENCY, per_host=CONCURRENCY)
        job = await yard.jobs.submit(LOCAL, spec)
        while len(kills) < times:
            seen = hits_so_far(log)
            process = await a_worker(tmp_path / "data", database_url)
            await first_new_hit(log, seen, process)
            assert process.returncode is None, "the crawl was over before all kills were made"
            await asyncio.sleep(chance.uniform(0, 0.35))
            kills.append(Kill(time()))
            process.send_signal(signal.SIGKILL)
            await process.wait()
        survivor = await a_worker(tmp_path / "data", database_url)
        await survivor.wait()
        found = await outcome(yard, job.id)

    hits = read_log(log)
    asked = {hit.path for hit in hits} - {"/robots.txt"}
    assert found.job.state is State.COMPLETED
    assert len(found.ok) == len(asked) == pages
    assert max(found.stored.values()) == 1
    assert found.usage.pages == pages
    assert unexcused(hits, kills) == []
    assert len(hits) > pages  # the kills did hit something
