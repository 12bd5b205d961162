"""`UserStore`: accounts are added, changed by one at a time, and found in order."""

from datetime import timedelta

import pytest
from msgspec.structs import replace
from sqlalchemy import select

from crawlyard.core.access.user import NO_QUOTA, Quota, Role, User, day_of
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.limits import Limits, Usage
from crawlyard.errors import Conflict
from crawlyard.store.db.bulk_rows import insert_new
from crawlyard.store.queries import EventQuery
from crawlyard.store.store import Store
from crawlyard.store.tables.access import day_steps
from tests.builders import NOW
from tests.builders_serve import a_user, about, kept_user
from tests.conformance.steps import database_of

UPDATED = EventName.USER_UPDATED
TODAY = day_of(NOW)
DAY = timedelta(days=1)


async def event_names(store: Store, user: User) -> list[str]:
    return [e.name for e in await store.events.events(EventQuery(subject=user.id))]


async def test_a_user_comes_back_as_it_was_added(store: Store) -> None:
    ceilings = Limits(pages=5, duration_s=timedelta(hours=30, microseconds=1).total_seconds())
    user = a_user(
        id="a.d-a_9+x@example.org",
        role=Role.VIEWER,
        quota=Quota(running=0, pending=7, pages_per_day=2**40, ceilings=ceilings),
        disabled_at=NOW - timedelta(microseconds=1),
        version=3,
        created_at=NOW - timedelta(days=400),
    )

    await store.users.add(user, about(user))

    assert await store.users.get(user.id) == user
    assert await event_names(store, user) == ["user.created"]


async def test_the_local_user_exists_from_the_beginning(store: Store) -> None:
    local = await store.users.get("local")

    assert (local.role, local.quota, local.version) == (Role.ADMIN, NO_QUOTA, 1)
    assert local.created_at == local.updated_at
    assert local.created_at.timestamp() == 0
    assert await store.users.find("", 10) == [local]


async def test_an_id_is_taken_once(store: Store) -> None:
    user = await kept_user(store)

    with pytest.raises(Conflict, match="a user ada already exists"):
        await kept_user(store, role=Role.ADMIN)

    assert await store.users.get("ada") == user
    assert await event_names(store, user) == ["user.created"]


async def test_a_user_is_replaced_together_with_the_event(store: Store) -> None:
    before = await kept_user(store)
    after = replace(before, role=Role.ADMIN, quota=Quota(running=1), version=2, disabled_at=NOW)

    await store.users.save(after, about(after, UPDATED))

    assert await store.users.get("ada") == after
    assert await event_names(store, before) == ["user.created", "user.updated"]


async def test_they_are_listed_by_the_code_points_of_their_ids(store: Store) -> None:
    for user_id in ("b", "a-b", "ab", "B", "_a"):
        await kept_user(store, id=user_id)

    async def ids(after: str = "", limit: int = 10) -> list[str]:
        return [u.id for u in await store.users.find(after, limit)]

    assert await ids() == ["B", "_a", "a-b", "ab", "b", "local"]
    assert await ids(limit=2) == ["B", "_a"]
    assert await ids("_a", 2) == ["a-b", "ab"]
    assert await ids("local") == []


async def test_usage_counts_before_and_after_it_is_added_up(store: Store) -> None:
    await kept_user(store, quota=Quota(pages_per_day=5))
    steps = [
        {"owner": owner, "day": day, "pages": pages, "bytes": 10 * pages, "errors": 1}
        for owner, day, pages in (
            ("ada", TODAY, 2),
            ("ada", TODAY, 3),
            ("ada", TODAY - DAY, 7),
            ("bob", TODAY, 1),
        )
    ]
    await database_of(store).write(lambda conn: insert_new(conn, day_steps, steps))

    usages = []
    for _ in range(2):
        usages.append(
            (
                await store.users.day("ada", TODAY),
                await store.users.days(None, TODAY - DAY),
                await store.users.days("bob", TODAY),
                await store.positions.find_spent_owners(NOW),
                await store.positions.find_held_owners(NOW),
            )
        )
        await store.upkeep.tidy()
    open_steps = await database_of(store).read(lambda conn: conn.execute(select(day_steps)).all())

    assert usages[0] == (
        Usage(pages=5, bytes=50, errors=2),
        {
            TODAY - DAY: Usage(pages=7, bytes=70, errors=1),
            TODAY: Usage(pages=6, bytes=60, errors=3),
        },
        {TODAY: Usage(pages=1, bytes=10, errors=1)},
        {"ada": "pages_per_day"},
        {"ada": "pages_per_day"},
    )
    assert usages[1] == usages[0]
    assert open_steps == []
