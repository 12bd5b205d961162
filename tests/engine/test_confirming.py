"""`--confirm-changes`: pages that seem changed are asked for once more, and their noise is told."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from crawlyard import LOCAL, Limits, Move, State, Yard
from crawlyard.api.near import NearSurface
from crawlyard.core.crawl.change_answers import DiffOut
from crawlyard.core.crawl.page import Body
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import HTML, Answer
from tests.engine.rig import Outcome, a_spec, crawled, outcome, run
from tests.engine.test_recrawl import a_site, scheduled
from tests.jobs import submit
from tests.noisy_site import NoisySite, a_noisy_site
from tests.site import SHARED_JITTER_S, Serve, hurried, until
from tests.surfaces import as_user

PAGES = 12


class Noisy:
    """A noisy site that is crawled again and again, and what the crawls have changed."""

    def __init__(self, yard: Yard, server: SiteServer, site: NoisySite) -> None:
        self.yard = yard
        self.server = server
        self.site = site
        self.before: Outcome | None = None

    async def crawled(self, **changes: Any) -> Outcome:
        """Return what a crawl since the one before it came to."""
        since = None if self.before is None else self.before.job.id
        spec = a_spec(f"{self.server.url}/", confirm_changes=True, since=since, **changes)
        self.site.hits.clear()
        self.before = await crawled(self.yard, spec)
        return self.before

    async def diff(self, first: Outcome, second: Outcome, **options: Any) -> DiffOut:
        results = NearSurface(self.yard.services, LOCAL).results
        return await results.diff(first.job.id, second.job.id, **options)

    def changed(self, diff: DiffOut, kind: str = "changed") -> set[str]:
        urls = {change.url for change in diff.items if change.kind == kind}
        return {url.removeprefix(self.server.url) for url in urls}


@pytest.fixture
async def noisy(yard: Yard, site_server: Serve) -> Noisy:
    site = a_noisy_site(PAGES)
    return Noisy(yard, await site_server(site), site)


async def test_what_differs_between_two_fetches_of_a_run_is_noise(noisy: Noisy) -> None:
    first = await noisy.crawled()
    assert set(noisy.site.hits.values()) == {1}  # there is nothing to compare with

    other = await noisy.crawled()

    assert set(noisy.site.hits.values()) == {2}
    assert noisy.site.hits.total() == 2 * PAGES
    assert (other.usage.pages, set(other.stored.values())) == (PAGES, {1})
    diff = await noisy.diff(first, other)
    assert {kind: n for kind, n in diff.counts.items() if n} == {"noise": PAGES}


async def test_a_change_in_a_noisy_page_is_reported_without_the_noise(noisy: Noisy) -> None:
    first = await noisy.crawled()
    noisy.site.pages["/p3"] = "The text of /p3 is another one."

    other = await noisy.crawled()

    diff = await noisy.diff(first, other)
    assert noisy.changed(diff) == {"/p3"}
    assert noisy.changed(diff, "noise") == noisy.site.pages.keys() - {"/p3"}
    [change] = [c for c in diff.items if c.kind == "changed"]
    assert (change.added, change.removed) == (1, 1)
    results = NearSurface(noisy.yard.services, LOCAL).results
    page = await results.page_diff(first.job.id, other.job.id, change.url)
    lines = [line for line in page.text.splitlines() if line[0] in "+-"]
    assert lines == ["-The text of /p3 is [-its own-].", "+The text of /p3 is {+another one+}."]
    quiet = await results.page_diff(first.job.id, other.job.id, f"{noisy.server.url}/p4")
    assert (quiet.kind, quiet.text, quiet.added) == ("noise", "", 0)


async def test_what_the_earlier_run_knew_of_its_noise_counts_as_well(noisy: Noisy) -> None:
    await noisy.crawled()
    two = await noisy.crawled()
    noisy.site.second = dict.fromkeys(noisy.site.pages, Answer(500))

    three = await noisy.crawled()

    diff = await noisy.diff(two, three)
    assert {kind: n for kind, n in diff.counts.items() if n} == {"noise": PAGES}


async def test_unchanged_pages_are_requested_once(noisy: Noisy) -> None:
    noisy.site.noisy = False
    first = await noisy.crawled()
    noisy.site.pages["/p1"] = "Another text."

    other = await noisy.crawled()

    assert noisy.site.hits == Counter(noisy.site.pages.keys()) | {"/p1": 2}
    diff = await noisy.diff(first, other)
    assert (noisy.changed(diff), diff.counts["noise"]) == ({"/p1"}, 0)
    ids = [c.after for c in diff.items if c.after is not None]
    assert await noisy.yard.store.pages.bodies(ids, [Body.RESTLESS]) == {}


@pytest.mark.parametrize(
    "second",
    [
        Answer(500),
        Answer(404),
        Answer(429, (("Retry-After", "0"),)),
        Answer(503, (("Retry-After", "0"),)),
        Answer(
            301,
            (("Location", "/p2"), ("Content-Type", HTML)),
            b"<title>/</title><main><h1>Moved</h1><p>This page is somewhere else now.</p></main>",
        ),
        Answer(200, (("Content-Type", "image/png"),), b"png"),
    ],
    ids=lambda answer: str(answer.status),
)
async def test_a_page_whose_second_answer_is_no_page_stays_as_it_was_first_sent(
    noisy: Noisy, second: Answer
) -> None:
    first = await noisy.crawled()
    noisy.site.second = dict.fromkeys(("/", "/p1"), second)

    other = await noisy.crawled(url_retries=2)

    assert (other.job.state, other.errors) == (State.COMPLETED, {})
    assert (other.stored, other.usage.pages) == (first.stored, PAGES)
    assert set(noisy.site.hits.values()) == {2}
    diff = await noisy.diff(first, other)
    assert noisy.changed(diff) == {"/", "/p1"}  # not proven to be noise


async def test_confirmations_are_no_pages_and_limits_stay_exact(noisy: Noisy) -> None:
    await noisy.crawled()

    other = await noisy.crawled(limits=Limits(pages=5))

    assert (other.usage.pages, len(other.pages)) == (5, 5)
    assert [noisy.site.hits[path] for path in ("/", "/p1", "/p2", "/p3", "/p4")] == [2] * 5
    assert other.usage.bytes > sum(page.bytes for page in other.pages)  # of both


async def test_a_page_is_confirmed_before_the_next_of_its_host_at_the_usual_rate(
    noisy: Noisy,
) -> None:
    await noisy.crawled()
    noisy.server.hits.clear()

    await noisy.crawled(per_host=1, delay_s=0.05, limits=Limits(pages=4))

    hits = [hit for hit in noisy.server.hits if hit.path != "/robots.txt"]
    assert [hit.path for hit in hits] == ["/", "/", "/p1", "/p1", "/p2", "/p2", "/p3", "/p3"]
    assert hurried(hits, 0.05, SHARED_JITTER_S) == {}


async def test_runs_of_a_schedule_that_fetch_all_are_confirmed_as_well(
    yard: Yard, site_server: Serve
) -> None:
    site = a_noisy_site(4)
    server = await site_server(site)
    overrides = {
        "urls": [f"{server.url}/"],
        "allow_private": True,
        "delay_s": 0,
        "full_every": 1,
        "confirm_changes": True,
    }
    schedule = await as_user(yard).schedules.create("site", "@yearly", overrides=overrides)
    for _ in range(3):
        job = await as_user(yard).schedules.run(schedule.id)
        await run(yard, job.id)

    runs = (await NearSurface(yard.services, LOCAL).schedules.changes("site")).items
    assert [(r.counts or {}).get("noise") for r in runs] == [4, 4, None]
    assert [(r.counts or {}).get("changed") for r in runs] == [0, 0, None]


async def test_a_full_run_sends_no_conditional_requests_though_it_is_compared(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(a_site())  # with ETags
    overrides = {
        "urls": [f"{server.url}/"],
        "allow_private": True,
        "delay_s": 0,
        "full_every": 1,
        "confirm_changes": True,
    }
    schedule = await as_user(yard).schedules.create("s", "@yearly", overrides=overrides)

    runs = [await scheduled(yard, schedule) for _ in range(2)]

    assert [run.usage.unchanged for run in runs] == [0, 0]
    assert [len(run.ok) for run in runs] == [4, 4]
    assert not any("if-none-match" in hit.headers for hit in server.hits)


async def test_a_job_that_is_paused_between_two_fetches_goes_on_where_it_was(noisy: Noisy) -> None:
    first = await noisy.crawled()
    yard = noisy.yard
    spec = a_spec(f"{noisy.server.url}/", confirm_changes=True, since=first.job.id, per_host=1)
    job = await submit(yard, spec)
    noisy.site.hits.clear()
    worker = asyncio.create_task(run(yard, job.id))
    await until(lambda: noisy.site.hits["/p2"] == 1)
    await yard.services.writer.move(LOCAL, job.id, Move.PAUSE)
    await worker
    assert (await outcome(yard, job.id)).job.state is State.PAUSED

    await yard.services.writer.move(LOCAL, job.id, Move.RESUME)
    await run(yard, job.id)

    other = await outcome(yard, job.id)
    assert (other.job.state, other.stored) == (State.COMPLETED, first.stored)
    assert other.usage.pages == PAGES
    assert noisy.changed(await noisy.diff(first, other)) == set()
