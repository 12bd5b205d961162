"""`UserStore`: accounts are added, changed by one at a time, and found in order."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from crawlyard.core.access.user import NO_QUOTA, Quota, Role, User
from crawlyard.core.event import EventName
from crawlyard.core.jobs.limits import Limits
from crawlyard.errors import Conflict
from crawlyard.store.queries import EventQuery
from crawlyard.store.store import Store
from tests.builders import NOW
from tests.builders_serve import a_user, about, kept_user

UPDATED = EventName.USER_UPDATED


async def told(store: Store, user: User) -> list[str]:
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
    assert await told(store, user) == ["user.created"]


async def test_the_local_user_is_there_from_the_beginning(store: Store) -> None:
    local = await store.users.get("local")

    assert (local.role, local.quota, local.version) == (Role.ADMIN, NO_QUOTA, 1)
    assert local.created_at == local.updated_at
    assert local.created_at.timestamp() == 0
    assert await store.users.find("", 10) == [local]


async def test_an_id_is_taken_once(store: Store) -> None:
    user = await kept_user(store)

    with pytest.raises(Conflict, match="there is a user ada already"):
        await kept_user(store, role=Role.ADMIN)

    assert await store.users.get("ada") == user
    assert await told(store, user) == ["user.created"]


async def test_a_user_is_replaced_together_with_the_event(store: Store) -> None:
    before = await kept_user(store)
    after = replace(before, role=Role.ADMIN, quota=Quota(running=1), version=2, disabled_at=NOW)

    await store.users.save(after, about(after, UPDATED))

    assert await store.users.get("ada") == after
    assert await told(store, before) == ["user.created", "user.updated"]


async def test_they_are_listed_by_the_code_points_of_their_ids(store: Store) -> None:
    for user_id in ("b", "a-b", "ab", "B", "_a"):
        await kept_user(store, id=user_id)

    async def ids(after: str = "", limit: int = 10) -> list[str]:
        return [u.id for u in await store.users.find(after, limit)]

    assert await ids() == ["B", "_a", "a-b", "ab", "b", "local"]
    assert await ids(limit=2) == ["B", "_a"]
    assert await ids("_a", 2) == ["a-b", "ab"]
    assert await ids("local") == []
