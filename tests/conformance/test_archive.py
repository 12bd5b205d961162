"""`ArchiveStore`: the pages of all jobs, newest first, a bounded piece at a time."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.checkpoint import Claim
from crawlyard.core.jobs.filter import FilterKey, condition
from crawlyard.core.jobs.job import Origin
from crawlyard.core.search.search import FoundPage
from crawlyard.ids import new_id
from crawlyard.store.queries import ArchiveQuery, JobQuery, PageQuery
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_batch, a_job, a_spec, a_target, done, failed, its_event
from tests.conformance.steps import added, claimed, ended, recorded

HOUR = timedelta(hours=1)
NOTHING = ArchiveQuery()


async def crawl(store: Store, *paths: str, at: datetime = NOW, **job: Any) -> Claim:
    """Return the claim of a job that has stored these pages, each in a batch of its own."""
    claim = await claimed(store, await added(store, a_job(**job)))
    for path in paths:
        target = a_target(path)
        batch = a_batch([target], [done(target, fetched_at=at)])
        answer = await recorded(store, claim.lease, batch, at)
        claim = replace(claim, lease=answer.lease)
    return claim


async def look(store: Store, query: ArchiveQuery = NOTHING, rows: int = 100) -> list[str]:
    return paths((await store.archive.look(query, rows)).pages)


def paths(pages: Sequence[FoundPage]) -> list[str]:
    return [found_page.page.url.rpartition("/")[2] for found_page in pages]


async def walked(store: Store, query: ArchiveQuery, rows: int) -> tuple[list[str], int]:
    """Return all pages that fit, looked at so many at once, and how many were looked at."""
    walked_paths: list[str] = []
    count = 0
    while True:
        piece = await store.archive.look(query, rows)
        walked_paths += paths(piece.pages)
        count += piece.looked_at
        assert piece.looked_at <= rows
        if piece.reached is None:
            return walked_paths, count
        query = replace(query, before=piece.reached)


async def test_pages_of_all_jobs_come_the_last_stored_first(store: Store) -> None:
    first_claim = await crawl(store, "a", "b", spec=a_spec(name="first"))
    two = await crawl(store, "c")
    await recorded(store, first_claim.lease, a_batch([a_target("d")], [done(a_target("d"))]))

    step = await store.archive.look(NOTHING, 100)

    assert paths(step.pages) == ["d", "c", "b", "a"]
    assert [page.job_id for page in step.pages] == [
        first_claim.job.id,
        two.job.id,
        first_claim.job.id,
        first_claim.job.id,
    ]
    assert [page.job_name for page in step.pages] == ["first", "", "first", "first"]
    [stored] = await store.pages.pages(two.job.id, PageQuery(), 10)
    assert (step.pages[1].id, step.pages[1].page) == (stored.id, stored.page)
    assert (step.looked_at, step.reached, step.reached_at) == (4, None, NOW)


async def test_where_there_is_nothing_nothing_is_looked_at(store: Store) -> None:
    for query in (NOTHING, ArchiveQuery(jobs=JobQuery(owner="ada"))):
        step = await store.archive.look(query, 10)

        assert (step.pages, step.looked_at, step.reached) == ((), 0, None)
        assert step.reached_at is None


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
async def test_a_walk_sees_each_page_once(store: Store, rows: int) -> None:
    await crawl(store, "a", "b", owner="ada")
    await crawl(store, "x", owner="bob")
    await crawl(store, "c", "d", "e", owner="ada")

    every = await walked(store, NOTHING, rows)
    own = await walked(store, ArchiveQuery(jobs=JobQuery(owner="ada")), rows)

    assert every == (["e", "d", "c", "x", "b", "a"], 6)
    assert own == (["e", "d", "c", "b", "a"], 5)


@pytest.mark.parametrize("rows", [7, 100])
async def test_pages_of_more_jobs_than_are_joined_come_in_their_order(
    store: Store, rows: int
) -> None:
    leases = [(await claimed(store, await added(store, owner="ada"))).lease for _ in range(60)]
    for part in "ab":
        targets = [a_target(f"{part}{n}") for n in range(60)]
        batches = [a_batch([target], [done(target)]) for target in targets]
        entries = list(zip(leases, batches, strict=True))
        leases = [
            checkpoint.lease for checkpoint in await store.frontier.record(entries, NOW, LEASE)
        ]

    walked_paths, count = await walked(store, ArchiveQuery(jobs=JobQuery(owner="ada")), rows)

    assert walked_paths == [f"{part}{n}" for part in "ba" for n in reversed(range(60))]
    assert count == 120


async def test_what_does_not_fit_is_looked_at_and_left_out(store: Store) -> None:
    await crawl(store, "a", "b")
    claim = await claimed(store)
    absent = a_target("gone")
    outcome = failed(absent, ErrorKind.HTTP_4XX, status=404)
    await recorded(store, claim.lease, a_batch([absent], [outcome]))
    await crawl(store, "c")
    missing = ArchiveQuery(pages=PageQuery(statuses=frozenset({404})))

    first = await store.archive.look(missing, 1)
    every = await store.archive.look(missing, 100)

    assert (first.pages, first.looked_at) == ((), 1)
    assert first.reached is not None
    assert (paths(every.pages), every.looked_at) == (["gone"], 4)
    assert await walked(store, missing, 1) == (["gone"], 4)


async def test_jobs_are_selected_by_their_properties(store: Store) -> None:
    template, schedule = new_id(), new_id()
    plain = await crawl(store, "plain")
    await crawl(store, "made", origin=Origin(template_id=template))
    await crawl(store, "timed", origin=Origin(schedule_id=schedule, tick_at=NOW))
    await crawl(store, "tagged", spec=a_spec(tags=("news",)), owner="ada")

    def where(key: FilterKey, word: str) -> ArchiveQuery:
        return ArchiveQuery(jobs=JobQuery(where=(condition(key, [word]),)))

    assert await look(store, where(FilterKey.TEMPLATE, template)) == ["made"]
    assert await look(store, where(FilterKey.SCHEDULE, schedule)) == ["timed"]
    assert await look(store, where(FilterKey.TAG, "news")) == ["tagged"]
    assert await look(store, where(FilterKey.OWNER, "ada")) == ["tagged"]
    assert await look(store, ArchiveQuery(job_ids=frozenset({plain.job.id}))) == ["plain"]
    assert await look(store, ArchiveQuery(job_ids=frozenset({"", new_id()}))) == []


async def test_pages_are_selected_by_fetch_time(store: Store) -> None:
    for hours in range(4):
        claim = await claimed(store)
        target, at = a_target(str(hours)), NOW + hours * HOUR
        await recorded(store, claim.lease, a_batch([target], [done(target, fetched_at=at)]), at)

    assert await look(store, ArchiveQuery(since=NOW + HOUR)) == ["3", "2", "1"]
    assert await look(store, ArchiveQuery(until=NOW + HOUR)) == ["0"]
    assert await look(store, ArchiveQuery(since=NOW + HOUR, until=NOW + 3 * HOUR)) == ["2", "1"]
    microsecond = timedelta(microseconds=1)
    assert await look(store, ArchiveQuery(since=NOW + HOUR + microsecond)) == ["3", "2"]
    assert await look(store, ArchiveQuery(until=NOW + HOUR + microsecond)) == ["1", "0"]


async def test_a_page_that_was_stored_long_after_its_fetch_is_found_by_its_fetch(
    store: Store,
) -> None:
    claim = await claimed(store)
    target = a_target("late")
    batch = a_batch([target], [done(target, fetched_at=NOW)])
    await recorded(store, claim.lease, batch, NOW + 5 * HOUR)

    assert await look(store, ArchiveQuery(until=NOW + HOUR)) == ["late"]
    assert await look(store, ArchiveQuery(since=NOW + HOUR)) == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"min_depth": 1}, ["2", "1"]),
        ({"max_depth": 1}, ["1", "0"]),
        ({"min_depth": 1, "max_depth": 1}, ["1"]),
        ({"hosts": frozenset({"example.com"})}, ["2", "1", "0"]),
        ({"content_types": frozenset({"image/*"})}, []),
    ],
)
async def test_pages_are_selected_by_their_properties(
    store: Store, filters: dict[str, Any], expected: list[str]
) -> None:
    claim = await claimed(store)
    targets = [a_target(str(depth), depth=depth) for depth in range(3)]
    await recorded(store, claim.lease, a_batch(targets, [done(t) for t in targets]))

    query = PageQuery(**filters)

    assert await look(store, ArchiveQuery(pages=query)) == expected
    own = await store.pages.pages(claim.job.id, query, 10)
    assert [s.page.url for s in own] == [a_target(path).url for path in reversed(expected)]


async def test_pages_of_a_deleted_job_are_gone(store: Store) -> None:
    claim = await crawl(store, "gone", owner="ada")
    await crawl(store, "there", owner="ada")
    job = await ended(store, claim.lease)
    await store.jobs.delete(job.id, job.version, its_event(job))

    assert await look(store) == ["there"]
    assert await look(store, ArchiveQuery(jobs=JobQuery(owner="ada"))) == ["there"]
