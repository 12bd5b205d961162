"""`kill -9` at any instant: nothing is lost, and nothing is asked again but what was in flight.

Judged from the log of the server, a process of its own.
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
"""What was answered earlier than this before a kill is recorded, and never asked again."""

STARVED_S = 5.0
"""The same for a kill in four, as a busy machine may keep a worker from its disk for a while."""

FIRST_S = 5.0
"""The next worker sends its first request so soon after a kill, of which its start is a part.

It waits for no seats that the dead one had: the median, on a machine with time.
"""

DYING_S = 1.0
"""A child outlives its parent until it notices the end of their pipe: longer on a busy machine."""


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


async def first_new_hit(log: Path, seen: int, process: asyncio.subprocess.Process) -> None:
    """Return once the server was asked again after *seen* hits, or the process ended."""
    while process.returncode is None and hits_so_far(log) <= seen:  # noqa: ASYNC110 - a file
        await asyncio.sleep(0.02)


def asked_again(hits: list[Hit], kills: list[Kill]) -> dict[Kill | None, float]:
    """Return what each kill cost: how long before it the oldest page it lost was answered.

    A page that was asked again counts for the first kill between the two requests, with 0
    if it was not answered by then; under `None`, if no kill was between them.
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
    # no worker starts in a quarter of a second, and a child of the dead one may send until then
    return [
        min(hit.epoch - kill.epoch for hit in hits if hit.epoch > kill.epoch + 0.25)
        for kill in kills
    ]


async def killed(log: Path, data_dir: Path, database_url: str, times: int) -> AsyncIterator[Kill]:
    """Kill one worker after the other, *times* times; let the last one work to the end."""
    chance = random.Random(20)
    for _ in range(times):
        seen = hits_so_far(log)
        process = await a_worker(data_dir, database_url)
        await first_new_hit(log, seen, process)
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
        kills = [kill async for kill in killed(log, tmp_path / "data", database_url, times)]
        slow = slowness()
        found = await outcome(yard, job.id)

    hits = read_log(log)
    asked = {hit.path for hit in hits} - {"/robots.txt"}
    assert found.job.state is State.COMPLETED
    assert len(found.ok) == len(asked) == pages
    assert max(found.stored.values()) == 1
    assert found.usage.pages == pages
    costs = asked_again(hits, kills)
    assert None not in costs
    assert max(costs.values()) < STARVED_S
    assert sum(cost > CHECKPOINT_S for cost in costs.values()) <= max(1, times // 4)
    assert len(hits) > pages  # the kills did hit something
    assert median(first_after(hits, kills)) < FIRST_S * slow


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_kill_between_a_304_and_its_checkpoint_loses_nothing(tmp_path: Path) -> None:
    log, pages, times = tmp_path / "hits.jsonl", 150, 3
    options = ("--pages", str(pages), "--plain", "--latency-ms", "30", "--log", str(log))
    async with served_elsewhere(*options) as site, opened(tmp_path, database_url="") as yard:
        spec = a_spec(site, concurrency=CONCURRENCY, per_host=CONCURRENCY)
        first = await crawled(yard, spec)
        seen = hits_so_far(log)
        job = await submit(yard, replace(spec, since=first.job.id))
        async for _ in killed(log, tmp_path / "data", "", times):
            pass
        found = await outcome(yard, job.id)

    assert found.job.state is State.COMPLETED
    assert found.ok == first.ok
    assert max(found.stored.values()) == 1
    assert found.usage.pages == found.usage.unchanged == pages
    assert found.usage.bytes_saved == sum(page.bytes for page in first.pages)
    assert hits_so_far(log) - seen > pages  # the kills did hit something


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
        seen = hits_so_far(log)
        job = await submit(yard, replace(spec, since=first.job.id))
        async for _ in killed(log, tmp_path / "data", "", times):
            pass
        found = await outcome(yard, job.id)
        changes = await yard.services.changes.diff(LOCAL, first.job.id, job.id)

    assert found.job.state is State.COMPLETED
    assert found.stored == first.stored
    assert found.usage.pages == pages
    asked = Counter(hit.path for hit in read_log(log)[seen:] if hit.path != "/robots.txt")
    assert min(asked.values()) >= 2  # each was confirmed
    assert asked.total() > 2 * pages  # the kills did hit something
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
        found = await outcome(yard, job.id)

    assert found.job.state is State.COMPLETED
    assert len(found.ok) == pages
    [requests] = site.sessions[server.authority].values()
    assert requests > pages  # the kills did hit something
    assert Counter(page.session for page in found.pages) == {"": 1, "job": pages - 1}


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_crawl_behind_a_login_goes_on_over_kills_and_logins(tmp_path: Path) -> None:
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
        assert site.logins == 1  # whoever goes on has the session
        await (await a_worker(tmp_path / "data", "")).wait()
        paused = (await outcome(yard, job.id)).job
        assert paused.state_reason is StateReason.LOGGED_OUT
        await login(secret=PASSWORD, allow_private=True)
        await yard.services.writer.move(LOCAL, job.id, Move.RESUME)
        await (await a_worker(tmp_path / "data", "")).wait()
        found = await outcome(yard, job.id)

    assert found.job.state is State.COMPLETED
    assert found.ok == {f"{server.url}{path}" for path in site.paths}
    assert not found.errors
    assert set(found.stored.values()) == {1}
    assert {page.session for page in found.pages} == {"shop@1", "shop@2"}
    served = Counter(site.whole)
    assert set(served) == site.paths
    assert pages < served.total() < pages + 2 * 40  # twice only what a kill had in flight


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
        async for _ in killed(log, tmp_path / "data", "", times):
            pass
        found = await outcome(yard, job.id)

    assert found.job.state_reason is StateReason.LIMIT_PAGES
    assert found.usage.pages == found.usage.rendered == len(found.ok) == pages
    assert max(found.stored.values()) == 1
    assert all(page.title.startswith("Page ") for page in found.pages)
    asked = Counter(hit.path for hit in read_log(log) if "." not in hit.path)
    assert asked.total() > pages  # the kills did hit something
