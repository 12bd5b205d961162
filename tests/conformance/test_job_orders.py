"""Lists of more jobs than are sorted at once: an index has their order, and each is shown once."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Connection, exists, insert, select

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.checkpoint import Batch
from crawlyard.core.jobs.filter import parse
from crawlyard.core.jobs.lifecycle import Move, State
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.order import SORTED_MOST, GroupKey, JobOrder, SortKey
from crawlyard.errors import Invalid
from crawlyard.store.jobs import order as orders
from crawlyard.store.queries import JobQuery
from crawlyard.store.store import Store
from crawlyard.store.tables.jobs import jobs, shards
from tests.builders import LEASE, NOW, a_batch, a_job, a_target, done, failed
from tests.conformance.spread_rig import begun, leave_shard, of, sent, targets
from tests.conformance.steps import (
    added,
    claimed,
    database_of,
    ended,
    in_state,
    moved,
    recorded,
    requeued,
)

ENDS = (State.COMPLETED, State.FAILED, State.CANCELLED)
OWNERS = ("ada", "bob", "cleo")


async def walked(
    store: Store, query: JobQuery, order: JobOrder, limit: int
) -> list[tuple[str, str]]:
    """Return the owners and ids of all jobs of a list, part by part."""
    listed: list[tuple[str, str]] = []
    position = None
    while True:
        part = await store.jobs.find_ordered(query, order, limit, position)
        listed += [(standing.job.owner, standing.job.id) for standing, _ in part]
        if len(part) < limit:
            return listed
        position = part[-1][1]


def all_orders() -> Iterator[JobOrder]:
    for descending in (True, False):
        for group in (None, GroupKey.STATE, GroupKey.OWNER):
            for by in (SortKey.ENDED_AT, SortKey.PAGES):
                yield JobOrder(by=by, descending=descending, group=group)
        yield JobOrder(descending=descending, group=GroupKey.OWNER)


async def test_an_index_has_the_order_in_which_jobs_are_sorted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(12):
        state = ENDS[n % 3]
        ended_at = NOW + timedelta(seconds=n * 7 % 5)  # several end at the same time
        await added(store, in_state(state, owner=OWNERS[n % 2], ended_at=ended_at))
    for n, state in enumerate((State.PENDING, State.RUNNING, State.PAUSED, State.PENDING)):
        await added(store, in_state(state, owner=OWNERS[n % 3]))
    queries = (
        JobQuery(),
        JobQuery(owner="ada"),
        JobQuery(where=parse("owner:ada,cleo")),
        JobQuery(where=parse("state:failed,pending,paused")),
    )

    for query in queries:
        for order in all_orders():
            monkeypatch.setattr(orders, "SORTED_MOST", 100)
            in_order = await walked(store, query, order, 100)
            monkeypatch.setattr(orders, "SORTED_MOST", 1)
            assert await walked(store, query, order, 5) == in_order, (query, order)
    grouped = JobOrder(group=GroupKey.OWNER)
    assert [owner for owner, _ in await walked(store, JobQuery(), grouped, 3)] == (
        ["ada"] * 8 + ["bob"] * 7 + ["cleo"]
    )


async def walked_by_pages(
    store: Store, monkeypatch: pytest.MonkeyPatch, sorted_most: int
) -> list[list[tuple[str, str]]]:
    """Return lists by pages, both ways, of a store that sorts *sorted_most* jobs."""
    monkeypatch.setattr(orders, "SORTED_MOST", sorted_most)
    by_pages = (JobOrder(by=SortKey.PAGES, descending=d) for d in (True, False))
    return [await walked(store, JobQuery(), order, 3) for order in by_pages]


def fetched(pages: int, **fields: Any) -> Batch:
    return Batch(usage=Usage(pages=pages, done=pages), **fields)


async def histories(store: Store) -> AsyncIterator[str]:
    """Give jobs pages in all ways; yield after each step what it was."""
    for name in ("never started", "paused before it started"):
        job = await added(store)
        yield name
    await moved(store, job.id, Move.PAUSE)
    for pages, move in ((5, Move.COMPLETE), (3, Move.COMPLETE), (4, Move.FAIL)):
        claim = await claimed(store)
        answer = await recorded(store, claim.lease, fetched(pages))
        yield f"{pages} pages of a job that runs"
        await ended(store, answer.lease, move)
        yield f"{pages} pages of an ended job"
    for move in (Move.PAUSE, Move.CANCEL):
        claim = await claimed(store)
        answer = await recorded(store, claim.lease, fetched(2))
        await moved(store, claim.job.id, move)
        yield f"{move} while it runs"
        answer = await recorded(store, answer.lease, fetched(2))
        yield f"pages in flight at {move}"
        await recorded(store, answer.lease, fetched(2, last=True))
        yield f"last pages after {move}"
    stopped = await claimed(store)
    answer = await recorded(store, stopped.lease, fetched(7))
    await store.jobs.change_all(
        [stopped.job.id], lambda standing: standing.job.apply_move(Move.CANCEL, NOW, actor="local")
    )
    yield "cancelled with others"
    answer = await recorded(store, answer.lease, fetched(1))
    await store.leases.take_back(NOW + 2 * LEASE, set(), requeued)
    yield "taken back from a worker that was lost as it stopped"
    await recorded(store, answer.lease, fetched(1))
    yield "late pages of the lost worker"


async def test_the_index_has_the_pages_of_each_job_after_each_move(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async for step in histories(store):
        in_order = await walked_by_pages(store, monkeypatch, 100)
        assert await walked_by_pages(store, monkeypatch, 0) == in_order, step


async def test_the_index_has_the_pages_of_a_spread_job_that_has_stopped(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pages in (1, 4):
        claim = await claimed(store)
        await ended(store, (await recorded(store, claim.lease, fetched(pages))).lease)
    first = await begun(store)
    own = [a_target(str(n), host=of(first.lease.shard)[0]) for n in range(3)]
    answer = await sent(store, first.lease, a_batch(targets()))
    answer = await sent(store, answer.lease, a_batch(outcomes=[done(own[0])]))
    await moved(store, first.job.id, Move.PAUSE)
    outcomes = [done(target) for target in own[1:]]
    answer = await sent(store, answer.lease, a_batch(outcomes=outcomes, last=True))
    await leave_shard(store, answer.lease)

    assert (await store.jobs.get(first.job.id)).shard.usage.pages == 3
    in_order = await walked_by_pages(store, monkeypatch, 100)
    assert await walked_by_pages(store, monkeypatch, 0) == in_order


async def test_failed_pages_that_are_tried_again_leave_the_index(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pages in (2, 1):
        claim = await claimed(store)
        await ended(store, (await recorded(store, claim.lease, fetched(pages))).lease)
    claim = await claimed(store)
    target = a_target("page")
    refused = failed(target, ErrorKind.HTTP_5XX, status=503)
    answer = await recorded(
        store, claim.lease, a_batch([target], [refused], usage=Usage(pages=3, errors=1))
    )
    job = await ended(store, answer.lease)

    await store.jobs.retry_failed(*job.apply_move(Move.RETRY_FAILED, NOW, actor="ada"), [])

    in_order = await walked_by_pages(store, monkeypatch, 100)
    assert await walked_by_pages(store, monkeypatch, 0) == in_order


async def many(store: Store, count: int) -> None:
    """Add *count* ended jobs of all owners, three at the same time."""
    model = await added(store, in_state(State.COMPLETED, ended_at=NOW))

    def copy(conn: Connection) -> None:
        row = dict(conn.execute(select(jobs).where(jobs.c.id == model.id)).mappings().one())
        del row["no"]
        changed = (
            {"id": a_job().id, "owner": OWNERS[n % 3], "ended_at": NOW + timedelta(seconds=n // 3)}
            | {"settled_pages": n % 100}
            for n in range(count - 1)
        )
        conn.execute(insert(jobs), [row | change for change in changed])
        shard = dict(conn.execute(select(shards)).mappings().one())
        lacking = ~exists().where(shards.c.job_no == jobs.c.no)
        pages = select(jobs.c.no, jobs.c.settled_pages).where(lacking)
        conn.execute(
            insert(shards),
            [shard | {"job_no": row.no, "pages": row.settled_pages} for row in conn.execute(pages)],
        )

    await database_of(store).write(copy)


@pytest.mark.slow
async def test_more_jobs_than_can_be_sorted_are_listed_by_what_an_index_has_each_once(
    store: Store,
) -> None:
    count = SORTED_MOST + 100
    await many(store, count)

    by_end = JobOrder(by=SortKey.ENDED_AT)
    first = await store.jobs.find_ordered(JobQuery(), by_end, 50, None)
    late = await added(store, in_state(State.FAILED, ended_at=NOW + timedelta(days=1)))
    jobs_read = [standing.job for standing, _ in first]
    position: str | None = first[-1][1]
    while position is not None:
        part = await store.jobs.find_ordered(JobQuery(), by_end, 2_000, position)
        jobs_read += [standing.job for standing, _ in part]
        position = part[-1][1] if len(part) == 2_000 else None
    assert len({job.id for job in jobs_read}) == len(jobs_read) == count
    assert late.id not in {job.id for job in jobs_read}
    keys = [(job.ended_at or NOW, job.id) for job in jobs_read]
    assert all(before > after for before, after in pairwise(keys))

    by_owner = JobOrder(group=GroupKey.OWNER)
    listed = await walked(store, JobQuery(), by_owner, 2_000)
    assert len(set(listed)) == len(listed) == count + 1
    owners = [owner for owner, _ in listed]
    assert owners == sorted(owners)

    claim = await claimed(store)
    await recorded(store, claim.lease, fetched(50))
    listed = await walked(store, JobQuery(), JobOrder(by=SortKey.PAGES), 2_000)
    ids = [job_id for _, job_id in listed]
    named = await store.jobs.get_many(ids)
    pages = [named[job_id].shard.usage.pages for job_id in ids]
    assert len(set(ids)) == len(ids) == count + 2
    assert pages == sorted(pages, reverse=True)
    assert pages[ids.index(claim.job.id)] == 50

    for order in (JobOrder(by=SortKey.DURATION), JobOrder(group=GroupKey.HOST)):
        with pytest.raises(Invalid, match="more than 10,000 jobs match"):
            await store.jobs.find_ordered(JobQuery(), order, 50, None)
