"""`kill -9` at any instant: no page is lost, and only those in flight are requested again.

Checked by the log of the server, a process of its own.
"""

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import time

import pytest
from msgspec.structs import replace

from crawlyard import LOCAL, Move, State
from crawlyard.core.access.site_session import LoginKind
from crawlyard.core.crawl.changes import ChangeKind
from crawlyard.core.jobs.lifecycle import StateReason
from crawlyard.core.jobs.limits import Limits
from crawlyard.demo.hits import Hit, read_log
from crawlyard.demo.server import SiteServer
from crawlyard.services.surface import Surface
from tests.app_site import AppSite
from tests.cookie_sites import SessionSite
from tests.engine.rig import a_spec, crawled, opened, outcome
from tests.jobs import submit
from tests.login_site import PASSWORD, USER, LoginSite
from tests.noisy_site import a_noisy_site
from tests.site import served_elsewhere
from tests.times import slowness

CONCURRENCY = 6

CHECKPOINT_S = 1.0
"""Pages answered longer than this before a kill are stored and not requested again."""

STARVED_S = 5.0
"""The same for one kill in four, as a busy machine may delay a worker's writes."""

FIRST_S = 5.0
"""Median time from a kill to the first request of the next worker, its start included.

It does not wait for request slots of the dead worker. Measured on an idle machine.
"""

DYING_S = 1.0
"""A child outlives its parent until it notices the end of their pipe, on a busy machine later."""


@dataclass(frozen=True)
class Kill:
    """One death of a worker process."""

    epoch: float


async def a_worker(data_dir: Path, database_url: str) -> asyncio.subprocess.Process:
    """Start `crawlyard work` as a process of its own."""
    place = {"CRAWLYARD_DATA_DIR": str(data_dir), "CRAWLYARD_DATABASE_URL": database_url}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "crawlyard", "work", "--drain"),
        env=os.environ | place,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


def hits_so_far(log: Path) -> int:
    return len(read_log(log)) if log.exists() else 0


async def first_new_hit(log: Path, count: int, process: asyncio.subprocess.Process) -> None:
    """Return once the server has more than *count* hits, or the process has ended."""
    while process.returncode is None and hits_so_far(log) <= count:  # noqa: ASYNC110 - a file
        await asyncio.sleep(0.02)


def cost_of_kills(hits: list[Hit], kills: list[Kill]) -> dict[Kill | None, float]:
    """Return the cost of each kill: the age of the oldest answer that it lost, in seconds.

    A page requested again counts for the first kill between its two requests, with 0 if the
    first had no answer yet; it counts for `None` if no kill was between them.
    """
    last: dict[str, Hit] = {}
    costs: dict[Kill | None, float] = {}
    for hit in hits:
        before = last.get(hit.path)
        if before is not None and hit.path != "/robots.txt":
            kill = next(filter(partial(_between, before, hit), kills), None)
            costs[kill] = max(costs.get(kill, 0.0), _answered_before(kill, before))
        last[hit.path] = hit
    return costs


def _between(before: Hit, hit: Hit, kill: Kill) -> bool:
    return before.epoch < kill.epoch + DYING_S and kill.epoch < hit.epoch


def _answered_before(kill: Kill | None, hit: Hit) -> float:
    if kill is None or hit.answered_at is None:
        return 0.0
    return kill.epoch - (hit.epoch + hit.answered_at - hit.at)


def first_after(hits: list[Hit], kills: list[Kill]) -> list[float]:
    """Return how long after each kill the next worker sent its first request."""
    # no worker starts within 0.25 s; until then a child of the dead one may still send
    return [
        min(hit.epoch - kill.epoch for hit in hits if hit.epoch > kill.epoch + 0.25)
        for kill in kills
    ]


async def kill_workers(
    log: Path, data_dir: Path, database_url: str, times: int
) -> AsyncIterator[Kill]:
    """Kill *times* workers one after the other; let the last one finish the crawl."""
    chance = random.Random(20)
    for _ in range(times):
        count = hits_so_far(log)
        process = await a_worker(data_dir, database_url)
        await first_new_hit(log, count, process)
        assert process.returncode is None, "the crawl was over before all kills were made"
        await asyncio.sleep(chance.uniform(0, 0.35))
        yield Kill(time())
        process.send_signal(signal.SIGKILL)
        await process.wait()
    survivor = await a_worker(data_dir, database_url)
    await survivor.wait()


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
@pytest.mark.timeout(900)
async def test_kills_lose_no_page_and_refetch_only_what_was_in_flight(
    database_url: str, times: int, pages: int, tmp_path: Path
) -> None:
    log = tmp_path / "hits.jsonl"
    options = ("--pages", str(pages), "--plain", "--latency-ms", "30", "--log", str(log))
    async with (
        served_elsewhere(*options) as site,
        opened(tmp_path, database_url=database_url) as yard,
    ):
        spec = a_spec(site, concurrency=CONCURRENCY, per_host=CONCURRENCY)
        job = await submit(yard, spec)
        kills = [kill async for kill in kill_workers(log, tmp_path / "data", database_url, times)]
        slow = slowness()
        result = await outcome(yard, job.id)

    hits = read_log(log)
    requested = {hit.path for hit in hits} - {"/robots.txt"}
    assert result.job.state is State.COMPLETED
    assert len(result.ok) == len(requested) == pages
    assert max(result.stored.values()) == 1
    assert result.usage.pages == pages
    costs = cost_of_kills(hits, kills)
    assert None not in costs
    assert max(costs.values()) < STARVED_S
    assert sum(cost > CHECKPOINT_S for cost in costs.values()) <= max(1, times // 4)
    assert len(hits) > pages  # the kills interrupted requests
    assert median(first_after(hits, kills)) < FIRST_S * slow


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_kill_between_a_304_and_its_checkpoint_loses_nothing(tmp_path: Path) -> None:
    log, pages, times = tmp_path / "hits.jsonl", 150, 3
    options = ("--pages", str(pages), "--plain", "--latency-ms", "30", "--log", str(log))
    async with served_elsewhere(*options) as site, opened(tmp_path, database_url="") as yard:
        spec = a_spec(site, concurrency=CONCURRENCY, per_host=CONCURRENCY)
        first = await crawled(yard, spec)
        before = hits_so_far(log)
        job = await submit(yard, replace(spec, since=first.job.id))
        async for _ in kill_workers(log, tmp_path / "data", "", times):
            pass
        result = await outcome(yard, job.id)

    assert result.job.state is State.COMPLETED
    assert result.ok == first.ok
    assert max(result.stored.values()) == 1
    assert result.usage.pages == result.usage.unchanged == pages
    assert result.usage.bytes_saved == sum(page.bytes for page in first.pages)
    assert hits_so_far(log) - before > pages  # the kills interrupted requests


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_kill_between_a_page_and_its_confirmation_loses_nothing(
    tmp_path: Path,
) -> None:
    log, pages, times = tmp_path / "hits.jsonl", 40, 2
    async with (
        SiteServer(a_noisy_site(pages), latency_s=0.03, log=log) as server,
        opened(tmp_path, database_url="") as yard,
    ):
        spec = a_spec(f"{server.url}/", confirm_changes=True, concurrency=2, per_host=2)
        first = await crawled(yard, spec)
        before = hits_so_far(log)
        job = await submit(yard, replace(spec, since=first.job.id))
        async for _ in kill_workers(log, tmp_path / "data", "", times):
            pass
        result = await outcome(yard, job.id)
        changes = await yard.services.changes.diff(LOCAL, first.job.id, job.id)

    assert result.job.state is State.COMPLETED
    assert result.stored == first.stored
    assert result.usage.pages == pages
    requests = Counter(hit.path for hit in read_log(log)[before:] if hit.path != "/robots.txt")
    assert min(requests.values()) >= 2  # each page was confirmed
    assert requests.total() > 2 * pages  # the kills interrupted requests
    counts = changes.comparison.counts
    assert (counts[ChangeKind.NOISE], counts[ChangeKind.CHANGED]) == (pages, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "database_url",
    ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)],
    indirect=True,
)
@pytest.mark.timeout(900)
async def test_a_crawl_keeps_its_session_with_a_site_over_kills(
    database_url: str, tmp_path: Path
) -> None:
    site, pages, times = SessionSite(300), 300, 3
    async with (
        SiteServer(site, latency_s=0.03) as server,
        opened(tmp_path, database_url=database_url) as yard,
    ):
        spec = a_spec(f"{server.url}/0", concurrency=3, per_host=3)
        job = await submit(yard, spec)
        for _ in range(times):
            before = (await outcome(yard, job.id)).usage.pages
            process = await a_worker(tmp_path / "data", database_url)
            while (await outcome(yard, job.id)).usage.pages == before:
                assert process.returncode is None, "the crawl was over before all kills were made"
                await asyncio.sleep(0.02)
            process.send_signal(signal.SIGKILL)
            await process.wait()
        survivor = await a_worker(tmp_path / "data", database_url)
        await survivor.wait()
        result = await outcome(yard, job.id)

    assert result.job.state is State.COMPLETED
    assert len(result.ok) == pages
    [requests] = site.sessions[server.authority].values()
    assert requests > pages  # the kills interrupted requests
    assert Counter(page.session for page in result.pages) == {"": 1, "job": pages - 1}


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_crawl_behind_a_login_survives_kills_and_new_logins(tmp_path: Path) -> None:
    pages = 200
    site = LoginSite(pages, lasts=150)
    async with (
        SiteServer(site, latency_s=0.03) as server,
        opened(tmp_path, database_url="") as yard,
    ):
        own = Surface(yard.services, LOCAL).sessions
        login = partial(own.login, "shop", LoginKind.FORM, url=f"{server.url}/login", user=USER)
        await login(secret=PASSWORD, allow_private=True)
        spec = a_spec(f"{server.url}/", session="shop", concurrency=3, per_host=3)
        job = await submit(yard, spec)
        for _ in range(2):
            before = (await outcome(yard, job.id)).usage.pages
            process = await a_worker(tmp_path / "data", "")
            while (await outcome(yard, job.id)).usage.pages == before:
                assert process.returncode is None, "the crawl stopped before it was killed"
                await asyncio.sleep(0.02)
            process.send_signal(signal.SIGKILL)
            await process.wait()
        assert site.logins == 1  # the next worker has the session
        await (await a_worker(tmp_path / "data", "")).wait()
        paused = (await outcome(yard, job.id)).job
        assert paused.state_reason is StateReason.LOGGED_OUT
        await login(secret=PASSWORD, allow_private=True)
        await yard.services.writer.move(LOCAL, job.id, Move.RESUME)
        await (await a_worker(tmp_path / "data", "")).wait()
        result = await outcome(yard, job.id)

    assert result.job.state is State.COMPLETED
    assert result.ok == {f"{server.url}{path}" for path in site.paths}
    assert not result.errors
    assert set(result.stored.values()) == {1}
    assert {page.session for page in result.pages} == {"shop@1", "shop@2"}
    served = Counter(site.whole)
    assert set(served) == site.paths
    assert (
        pages < served.total() < pages + 2 * 40
    )  # only pages in flight at a kill were served twice


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_kill_while_pages_are_rendered_loses_none_and_the_limit_is_exact(
    tmp_path: Path,
) -> None:
    log, pages, times = tmp_path / "hits.jsonl", 30, 3
    async with (
        SiteServer(AppSite(2 * pages), latency_s=0.03, log=log) as server,
        opened(tmp_path, database_url="") as yard,
    ):
        limits = Limits(pages=pages)
        spec = a_spec(f"{server.url}/", render="auto", limits=limits, concurrency=4, per_host=4)
        job = await submit(yard, spec)
        async for _ in kill_workers(log, tmp_path / "data", "", times):
            pass
        result = await outcome(yard, job.id)

    assert result.job.state_reason is StateReason.LIMIT_PAGES
    assert result.usage.pages == result.usage.rendered == len(result.ok) == pages
    assert max(result.stored.values()) == 1
    assert all(page.title.startswith("Page ") for page in result.pages)
    requests = Counter(hit.path for hit in read_log(log) if "." not in hit.path)
    assert requests.total() > pages  # the kills interrupted requests
