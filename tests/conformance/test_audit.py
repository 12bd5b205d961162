"""Audit log in every store: the events of users, with their addresses, kept longer than others."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from crawlyard.core.events.event import EventName, request_address
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.store.queries import EVERY_EVENT, EventQuery
from crawlyard.store.store import Store
from tests.builders import NOW
from tests.conformance.steps import added, claimed, ended

ADDRESS = "203.0.113.7"
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _address() -> Iterator[None]:
    token = request_address.set(ADDRESS)
    yield
    request_address.reset(token)


async def audited(store: Store, query: EventQuery = EVERY_EVENT) -> list[tuple[str, str | None]]:
    """Return names and addresses of events in the audit log, oldest first."""
    return [(event.name.value, event.address) for event in await store.events.audit(query, 100)][
        ::-1
    ]


async def test_events_of_users_have_the_address_of_their_request(store: Store) -> None:
    job = await added(store)
    # these events are created in the transaction
    await store.jobs.change_all(
        [job.id], lambda each: each.job.apply_move(Move.PAUSE, NOW, actor="local")
    )

    assert await audited(store) == [("job.created", ADDRESS), ("job.paused", ADDRESS)]


async def test_events_of_workers_are_left_out(store: Store) -> None:
    claim = await claimed(store, await added(store))
    await ended(store, claim.lease)

    names = {event.name for event in await store.events.events()}
    assert EventName.COMPLETED in names
    assert await audited(store) == [("job.created", ADDRESS)]


async def test_the_audit_log_is_kept_longer_than_other_events(store: Store) -> None:
    for _ in range(3):
        claim = await claimed(store, await added(store))
        await ended(store, claim.lease)
    await added(store)  # the newest event always stays

    later, earlier = NOW + DAY, NOW - DAY
    while await store.upkeep.forget(later, 2, audited_before=earlier):
        pass
    assert await audited(store) == [("job.created", ADDRESS)] * 4
    assert len(await store.events.events()) == 4

    while await store.upkeep.forget(later, 2, audited_before=later):
        pass
    assert await audited(store) == [("job.created", ADDRESS)]
