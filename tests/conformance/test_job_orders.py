"""Lists of more jobs than are sorted at once: an index has their order, and each is shown once."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy import Connection, exists, insert, select

from crawlyard.core.jobs.filter import parse
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.order import SORTED_MOST, GroupKey, JobOrder, SortKey
from crawlyard.errors import Invalid
from crawlyard.store.jobs import order as orders
from crawlyard.store.queries import JobQuery
from crawlyard.store.store import Store
from crawlyard.store.tables.jobs import jobs, shards
from tests.builders import NOW, a_job
from tests.conformance.steps import added, database_of, in_state

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
            yield JobOrder(by=SortKey.ENDED_AT, descending=descending, group=group)
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


async def many(store: Store, count: int) -> None:
    """Add *count* ended jobs of all owners, three at the same time."""
    model = await added(store, in_state(State.COMPLETED, ended_at=NOW))

    def copy(conn: Connection) -> None:
        row = dict(conn.execute(select(jobs).where(jobs.c.id == model.id)).mappings().one())
        del row["no"]
        changed = (
            {"id": a_job().id, "owner": OWNERS[n % 3], "ended_at": NOW + timedelta(seconds=n // 3)}
            for n in range(count - 1)
        )
        conn.execute(insert(jobs), [row | change for change in changed])
        shard = dict(conn.execute(select(shards)).mappings().one())
        lacking = select(jobs.c.no).where(~exists().where(shards.c.job_no == jobs.c.no))
        numbers = conn.scalars(lacking).all()
        conn.execute(insert(shards), [shard | {"job_no": no} for no in numbers])

    await database_of(store).write(copy)


@pytest.mark.slow
async def test_more_jobs_than_can_be_sorted_are_listed_by_end_and_by_owner_each_once(
    store: Store,
) -> None:
    count = SORTED_MOST + 100
    await many(store, count)

    by_end = JobOrder(by=SortKey.ENDED_AT)
    first = await store.jobs.find_ordered(JobQuery(), by_end, 50, None)
    late = await added(store, in_state(State.FAILED, ended_at=NOW + timedelta(days=1)))
    seen = [standing.job for standing, _ in first]
    position: str | None = first[-1][1]
    while position is not None:
        part = await store.jobs.find_ordered(JobQuery(), by_end, 2_000, position)
        seen += [standing.job for standing, _ in part]
        position = part[-1][1] if len(part) == 2_000 else None
    assert len({job.id for job in seen}) == len(seen) == count
    assert late.id not in {job.id for job in seen}
    keys = [(job.ended_at or NOW, job.id) for job in seen]
    assert all(before > after for before, after in pairwise(keys))

    by_owner = JobOrder(group=GroupKey.OWNER)
    listed = await walked(store, JobQuery(), by_owner, 2_000)
    assert len(set(listed)) == len(listed) == count + 1
    owners = [owner for owner, _ in listed]
    assert owners == sorted(owners)
    for order in (JobOrder(by=SortKey.PAGES), JobOrder(group=GroupKey.HOST)):
        with pytest.raises(Invalid, match="more than 10,000 jobs match"):
            await store.jobs.find_ordered(JobQuery(), order, 50, None)
