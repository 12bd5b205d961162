"""`DeliveryStore`: every event reaches each webhook that wants it, whoever is killed."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from crawlyard.core.event import EventName
from crawlyard.core.webhook import Attempt, Delivery, DeliveryState, Webhook, message_id
from crawlyard.errors import NotFound
from crawlyard.store.base import Store
from tests.builders import NOW
from tests.builders_webhooks import LEASE, SECOND, kept, switched
from tests.conformance.conftest import Backend
from tests.conformance.steps import added

GOOD = Attempt(at=NOW, latency=SECOND, status=204, excerpt="thanks \x00ü")
BAD = Attempt(at=NOW, latency=SECOND, error="nobody listens")


async def due(store: Store, events: int = 1, **fields: object) -> Webhook:
    """Return a new webhook for which that many deliveries are due."""
    webhook = await kept(store, events=("job.created",), **fields)
    for _ in range(events):
        await added(store, owner=webhook.owner)
    await store.deliveries.fan_out(NOW)
    return webhook


async def claimed(
    store: Store, now: datetime = NOW, limit: int = 100, room: int = 100, **taken: int
) -> list[Delivery]:
    return await store.deliveries.claim(now, LEASE, limit, room, taken)


async def of(store: Store, webhook: Webhook) -> list[Delivery]:
    """Return all deliveries of a webhook, the oldest first."""
    return (await store.deliveries.find(webhook.id, None, None, 1000))[::-1]


class TestFanOut:
    async def test_each_event_becomes_one_delivery_for_each_webhook_that_wants_it(
        self, store: Store
    ) -> None:
        every = await kept(store)
        failures = await kept(store, events=("job.failed",))
        stranger = await kept(store, owner="bob")
        job = await added(store)

        looked_at = await store.deliveries.fan_out(NOW)

        # two webhooks of the local user, one of Bob's, one job
        assert looked_at == 4
        found = await of(store, every)
        assert [d.name for d in found] == ["webhook.created", "job.created"]
        assert await of(store, failures) == await of(store, stranger) == []
        [event] = await store.deliveries.events(found[1:])
        assert event is not None
        assert event.subject == job.id
        assert found[1] == Delivery(
            no=found[1].no,
            id=message_id(every.id, event.seq),
            webhook_id=every.id,
            seq=event.seq,
            name="job.created",
            due_at=NOW,
            created_at=NOW,
        )

    async def test_it_goes_on_where_the_last_call_ended(self, store: Store) -> None:
        webhook = await kept(store, events=("job.*",))
        for _ in range(7):
            await added(store)

        counts = []
        while count := await store.deliveries.fan_out(NOW, limit=3):
            counts.append(count)

        assert counts == [3, 3, 2]
        seqs = [d.seq for d in await of(store, webhook)]
        assert len(seqs) == 7
        assert seqs == sorted(seqs)

    async def test_events_of_users_without_a_webhook_are_passed_over(self, store: Store) -> None:
        await kept(store)
        await store.deliveries.fan_out(NOW)
        for _ in range(5):
            await added(store, owner="bob")

        assert await store.deliveries.fan_out(NOW, limit=2) == 0
        await kept(store, owner="bob")
        await added(store, owner="bob")
        assert await store.deliveries.fan_out(NOW, limit=5) == 2

    async def test_a_new_webhook_hears_nothing_of_what_was_before(self, store: Store) -> None:
        await added(store)
        webhook = await kept(store)

        await store.deliveries.fan_out(NOW)

        assert await of(store, webhook) == []

    async def test_a_test_reaches_the_webhook_that_it_is_about_alone(self, store: Store) -> None:
        one = await kept(store, events=("job.failed",))
        other = await kept(store, events=("*",))
        event = one.event(EventName.WEBHOOK_TEST, NOW, "local")

        await store.webhooks.save(replace(one, version=2), event)
        await store.deliveries.fan_out(NOW)

        assert [d.name for d in await of(store, one)] == ["webhook.test"]
        assert await of(store, other) == []

    async def test_many_at_once_make_each_delivery_once(
        self, store: Store, backend: Backend
    ) -> None:
        webhook = await kept(store, events=("job.*",))
        others = [await backend.open() for _ in range(4)]

        async def look(other: Store) -> int:
            looked_at = 0
            for _ in range(5):
                await added(other)
                looked_at += await other.deliveries.fan_out(NOW, limit=4)
            return looked_at

        looked_at = sum(await asyncio.gather(*(look(other) for other in others)))
        while count := await store.deliveries.fan_out(NOW):
            looked_at += count

        assert len(await of(store, webhook)) == 20
        assert looked_at == 21  # the webhook's own beginning as well
        for other in others:
            await other.close()

    async def test_a_webhook_misses_nothing_of_what_is_written_after_it(
        self, store: Store, backend: Backend
    ) -> None:
        other = await backend.open()
        looking = True

        async def look() -> None:
            while looking:
                await other.deliveries.fan_out(NOW)
                await asyncio.sleep(0)

        task = asyncio.create_task(look())
        webhooks = []
        for _ in range(20):
            webhooks.append(await kept(store, events=("job.created",)))
            await added(store)
        looking = False
        await task
        while await store.deliveries.fan_out(NOW):
            pass

        counts = [len(await of(store, webhook)) for webhook in webhooks]
        assert counts == list(range(20, 0, -1))
        await other.close()


class TestClaim:
    async def test_the_earliest_due_come_first_and_at_most_limit(self, store: Store) -> None:
        webhook = await due(store, events=3)
        first = (await of(store, webhook))[0]
        [leased] = await claimed(store, limit=1)
        assert leased == first
        later = replace(first, attempts=(BAD,), due_at=NOW + SECOND)
        await store.deliveries.settle(later, NOW)

        found = await claimed(store, NOW + SECOND)

        assert [d.id for d in found] == [d.id for d in (await of(store, webhook))[1:]] + [first.id]
        assert found[-1] == later

    async def test_what_is_not_due_is_left(self, store: Store) -> None:
        await due(store)

        assert await claimed(store, NOW - SECOND) == []

    async def test_it_comes_again_once_its_lease_has_lapsed(self, store: Store) -> None:
        await due(store)
        [delivery] = await claimed(store)

        assert await claimed(store, NOW + LEASE - SECOND) == []
        assert await claimed(store, NOW + LEASE) == [delivery]

    async def test_of_one_webhook_no_more_come_than_it_has_room_for(self, store: Store) -> None:
        slow = await due(store, events=9)
        quick = await due(store, events=2)
        of_slow, of_quick = await of(store, slow), await of(store, quick)

        found = await store.deliveries.claim(NOW, LEASE, 6, 4, {slow.id: 1, quick.id: 4})

        assert [d.id for d in found] == [d.id for d in of_slow[:3]]
        found = await store.deliveries.claim(NOW, LEASE, 6, 4, {slow.id: 4})
        assert [d.id for d in found] == [d.id for d in of_quick]

    async def test_those_of_a_webhook_that_is_off_are_left(self, store: Store) -> None:
        webhook = await due(store)
        off = await switched(store, webhook, on=False)
        [delivery] = await of(store, off)
        await store.deliveries.again(delivery.id, NOW)

        assert await claimed(store) == []
        assert await store.deliveries.next_at() is None

    async def test_twenty_at_once_never_get_the_same(self, store: Store, backend: Backend) -> None:
        await due(store, events=12)
        others = [await backend.open() for _ in range(4)]

        found = await asyncio.gather(*(claimed(others[n % 4], limit=1) for n in range(20)))

        ids = [d.id for some in found for d in some]
        assert len(ids) == len(set(ids)) == 12
        for other in others:
            await other.close()


class TestSettle:
    @pytest.mark.parametrize("attempt", [GOOD, BAD])
    async def test_what_became_of_it_is_kept_and_it_is_free(
        self, store: Store, attempt: Attempt
    ) -> None:
        webhook = await due(store)
        [delivery] = await claimed(store)
        after = delivery.tried(attempt, chance=0.5)

        await store.deliveries.settle(after, None)

        [found] = await of(store, webhook)
        assert replace(found, attempts=()) == replace(after, attempts=())
        assert found.attempts == (replace(attempt, excerpt=attempt.excerpt.replace("\0", "�")),)
        assert await claimed(store, NOW + timedelta(days=3)) == ([found] if attempt is BAD else [])

    async def test_its_webhook_fails_since_the_first_failure_until_a_success(
        self, store: Store
    ) -> None:
        webhook = await due(store, events=3)
        one, two, three = await claimed(store)

        since = []
        for delivery, at in ((one, NOW), (two, NOW + SECOND), (three, None)):
            await store.deliveries.settle(delivery, at)
            since.append((await store.webhooks.get(webhook.id)).failing_since)

        assert since == [NOW, NOW, None]
        assert (await store.webhooks.get(webhook.id)).version == 1

    async def test_who_is_late_does_not_undo_what_another_has_settled(self, store: Store) -> None:
        webhook = await due(store)
        [slow] = await claimed(store)
        [quick] = await claimed(store, NOW + LEASE)
        done = quick.tried(GOOD, chance=0.5)
        await store.deliveries.settle(done, None)

        await store.deliveries.settle(slow.tried(BAD, chance=0.5), NOW)

        assert [d.state for d in await of(store, webhook)] == [DeliveryState.DELIVERED]
        assert (await store.webhooks.get(webhook.id)).failing_since is None

    async def test_one_that_is_gone_is_settled_in_silence(self, store: Store) -> None:
        webhook = await due(store)
        [delivery] = await claimed(store)
        event = webhook.event(EventName.WEBHOOK_DELETED, NOW, "local")
        await store.webhooks.delete(webhook.id, 1, event)

        await store.deliveries.settle(delivery.tried(GOOD, chance=0.5), None)

        with pytest.raises(NotFound, match=delivery.id):
            await store.deliveries.get(delivery.id)


async def test_they_are_found_newest_first_by_state_in_parts(store: Store) -> None:
    webhook = await due(store, events=5)
    other = await due(store)
    first, *rest = await of(store, webhook)
    await store.deliveries.settle(first.tried(GOOD, chance=0), None)

    parts, before = [], None
    while part := await store.deliveries.find(webhook.id, DeliveryState.PENDING, before, 3):
        parts.append([d.id for d in part])
        before = part[-1].no

    newest_first = [d.id for d in reversed(rest)]
    assert parts == [newest_first[:3], newest_first[3:]]
    delivered = await store.deliveries.find(webhook.id, DeliveryState.DELIVERED, None, 3)
    assert [d.id for d in delivered] == [first.id]
    assert len(await of(store, other)) == 1


class TestAgain:
    async def test_whatever_its_state_it_is_due_once_more_under_the_same_id(
        self, store: Store
    ) -> None:
        webhook = await due(store)
        [delivery] = await claimed(store)
        await store.deliveries.settle(delivery.tried(GOOD, chance=0), None)
        later = NOW + timedelta(days=1)

        again = await store.deliveries.again(delivery.id, later)

        assert again == replace(delivery, due_at=later)
        assert await claimed(store, later) == await of(store, webhook) == [again]

    async def test_one_that_is_leased_can_be_claimed_at_once(self, store: Store) -> None:
        await due(store)
        [delivery] = await claimed(store)

        await store.deliveries.again(delivery.id, NOW)

        assert await claimed(store) == [delivery]

    async def test_one_that_never_was_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound, match="no delivery msg_1"):
            await store.deliveries.again("msg_1", NOW)


class TestNextAt:
    async def test_nothing_waits(self, store: Store) -> None:
        await kept(store)

        assert await store.deliveries.next_at() is None

    async def test_it_is_when_claim_will_find_something(self, store: Store) -> None:
        one, two = await due(store), await due(store, owner="bob")
        [delivery, other] = await claimed(store)

        assert await store.deliveries.next_at() == NOW + LEASE
        later = replace(delivery, attempts=(BAD,), due_at=NOW + SECOND)
        await store.deliveries.settle(later, NOW)
        assert await store.deliveries.next_at() == NOW + SECOND
        assert await store.deliveries.next_at({one.id}) == NOW + LEASE
        await store.deliveries.settle(other.tried(GOOD, chance=0), None)
        assert await store.deliveries.next_at({one.id}) is None
        assert two.id == other.webhook_id


async def test_an_event_that_has_been_forgotten_is_none(store: Store) -> None:
    webhook = await due(store)
    [delivery] = await of(store, webhook)

    found = await store.deliveries.events([delivery, replace(delivery, seq=10**9), delivery])

    assert [event and event.seq for event in found] == [delivery.seq, None, delivery.seq]
    assert await store.deliveries.events([]) == []
