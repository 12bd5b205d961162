"""`DeliveryStore`: every event reaches each webhook that wants it, even if processes are killed."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from crawlyard.core.events.event import EventName
from crawlyard.core.webhooks.delivery_limits import DeliveryRoom, Traffic
from crawlyard.core.webhooks.webhook import (
    WAITS,
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    JobWebhook,
    Webhook,
    message_id,
)
from crawlyard.errors import Conflict, NotFound
from crawlyard.store.queries import Claimed, EventQuery
from crawlyard.store.store import Store
from tests.builders import NOW, a_spec
from tests.builders_webhooks import LEASE, SECOND, SECRET, stored_webhook, switched
from tests.conformance.conftest import Backend
from tests.conformance.steps import added

GOOD = DeliveryAttempt(at=NOW, latency=SECOND, status=204, excerpt="thanks \x00ü")
BAD = DeliveryAttempt(at=NOW, latency=SECOND, error="connection refused")
GONE = DeliveryAttempt(at=NOW, latency=SECOND, status=410)
ROOMY = {"in_all": 1000, "of_owner": 1000, "to_receiver": 1000, "to_failing": 1000}


async def due(store: Store, events: int = 1, **fields: object) -> Webhook:
    """Return a new webhook for which that many deliveries are due."""
    webhook = await stored_webhook(store, events=("job.created",), **fields)
    for _ in range(events):
        await added(store, owner=webhook.owner)
    await store.deliveries.fan_out(NOW)
    return webhook


async def claimed(store: Store, now: datetime = NOW, limit: int = 100) -> list[Delivery]:
    return [each.delivery for each in await claim_beside(store, now, in_all=limit)]


async def claim_beside(
    store: Store, now: datetime = NOW, under_way: Sequence[Webhook] = (), **room: int
) -> list[Claimed]:
    """Claim deliveries while messages to *under_way* are being sent."""
    return await store.deliveries.claim(
        now, LEASE, Traffic(DeliveryRoom(**(ROOMY | room)), under_way)
    )


async def next_at(
    store: Store, now: datetime = NOW, under_way: Sequence[Webhook] = (), **room: int
) -> datetime | None:
    return await store.deliveries.next_at(now, Traffic(DeliveryRoom(**(ROOMY | room)), under_way))


async def settled(
    store: Store, delivery: Delivery, attempt: DeliveryAttempt, held_until: datetime | None = None
) -> Delivery:
    """Return a claimed delivery once *attempt* was written."""
    after = delivery.record_attempt(attempt, chance=0.5)
    await store.deliveries.settle(delivery, after, held_until)
    return after


async def of(store: Store, webhook: Webhook) -> list[Delivery]:
    """Return all deliveries of a webhook, the oldest first."""
    return (await store.deliveries.find(webhook.id, None, None, 1000))[::-1]


class TestFanOut:
    async def test_each_event_becomes_one_delivery_for_each_webhook_that_wants_it(
        self, store: Store
    ) -> None:
        every = await stored_webhook(store)
        failures = await stored_webhook(store, events=("job.failed",))
        stranger = await stored_webhook(store, owner="bob")
        job = await added(store)

        looked_at = await store.deliveries.fan_out(NOW)

        # two webhooks of the local user, one of Bob's, one job
        assert looked_at == 4
        delivery_list = await of(store, every)
        assert [d.name for d in delivery_list] == ["webhook.created", "job.created"]
        assert await of(store, failures) == await of(store, stranger) == []
        [event] = await store.deliveries.events(delivery_list[1:])
        assert event is not None
        assert event.subject == job.id
        assert delivery_list[1] == Delivery(
            no=delivery_list[1].no,
            id=message_id(every.id, event.seq),
            webhook_id=every.id,
            seq=event.seq,
            name="job.created",
            due_at=NOW,
            created_at=NOW,
        )

    async def test_it_goes_on_where_the_last_call_ended(self, store: Store) -> None:
        webhook = await stored_webhook(store, events=("job.*",))
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
        await stored_webhook(store)
        await store.deliveries.fan_out(NOW)
        for _ in range(5):
            await added(store, owner="bob")

        assert await store.deliveries.fan_out(NOW, limit=2) == 0
        await stored_webhook(store, owner="bob")
        await added(store, owner="bob")
        assert await store.deliveries.fan_out(NOW, limit=5) == 2

    async def test_a_new_webhook_gets_no_earlier_events(self, store: Store) -> None:
        await added(store)
        webhook = await stored_webhook(store)

        await store.deliveries.fan_out(NOW)

        assert await of(store, webhook) == []

    async def test_a_test_reaches_the_webhook_that_it_is_about_alone(self, store: Store) -> None:
        tested = await stored_webhook(store, events=("job.failed",))
        other = await stored_webhook(store, events=("*",))
        event = tested.event(EventName.WEBHOOK_TEST, NOW, "local")

        await store.webhooks.save(replace(tested, version=2), event)
        await store.deliveries.fan_out(NOW)

        assert [d.name for d in await of(store, tested)] == ["webhook.test"]
        assert await of(store, other) == []

    async def test_webhooks_of_jobs_that_nothing_happened_to_are_not_read(
        self, store: Store, backend: Backend
    ) -> None:
        job_webhooks = (JobWebhook(url="https://a.example/", events=("job.*",), secret=SECRET),)
        for _ in range(30):
            await added(store, spec=a_spec(webhooks=job_webhooks))
        await store.deliveries.fan_out(NOW)
        if backend.where.endswith(".db"):
            with closing(sqlite3.connect(backend.where)) as database, database:
                database.execute("UPDATE webhooks SET secrets = 'what cannot be read'")

        job = await added(store, spec=a_spec(webhooks=job_webhooks))

        assert await store.deliveries.fan_out(NOW) == 1
        [delivery] = await store.deliveries.find(f"{job.id}:0", None, None, 10)
        assert delivery.name == "job.created"

    async def test_a_test_reaches_the_webhook_of_a_job(self, store: Store) -> None:
        job_webhooks = (
            JobWebhook(url="https://a.example/", events=("job.failed",), secret=SECRET),
        )
        job = await added(store, spec=a_spec(webhooks=job_webhooks))
        webhook = await store.webhooks.get(f"{job.id}:0")

        event = webhook.event(EventName.WEBHOOK_TEST, NOW, "local")
        await store.webhooks.save(replace(webhook, version=2), event)
        await store.deliveries.fan_out(NOW)

        assert [d.name for d in await of(store, webhook)] == ["webhook.test"]

    async def test_many_at_once_make_each_delivery_once(
        self, store: Store, backend: Backend
    ) -> None:
        webhook = await stored_webhook(store, events=("job.*",))
        other_stores = [await backend.open() for _ in range(4)]

        async def look(other: Store) -> int:
            looked_at = 0
            for _ in range(5):
                await added(other)
                looked_at += await other.deliveries.fan_out(NOW, limit=4)
            return looked_at

        looked_at = sum(await asyncio.gather(*(look(other) for other in other_stores)))
        while count := await store.deliveries.fan_out(NOW):
            looked_at += count

        assert len(await of(store, webhook)) == 20
        assert looked_at == 21  # the webhook's own beginning as well
        for other in other_stores:
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
            webhooks.append(await stored_webhook(store, events=("job.created",)))
            await added(store)
        looking = False
        await task
        while await store.deliveries.fan_out(NOW):
            pass

        counts = [len(await of(store, webhook)) for webhook in webhooks]
        assert counts == list(range(20, 0, -1))
        await other.close()


class TestClaimDeliveries:
    async def test_the_earliest_due_come_first_and_at_most_limit(self, store: Store) -> None:
        webhook = await due(store, events=3)
        first = (await of(store, webhook))[0]
        [leased] = await claimed(store, limit=1)
        assert leased == first
        later = replace(first, attempts=(BAD,), due_at=NOW + SECOND)
        await store.deliveries.settle(first, later)

        claimed_deliveries = await claimed(store, NOW + SECOND)

        assert [d.id for d in claimed_deliveries] == [
            d.id for d in (await of(store, webhook))[1:]
        ] + [first.id]
        assert claimed_deliveries[-1] == later

    async def test_what_is_not_due_is_left(self, store: Store) -> None:
        await due(store)

        assert await claimed(store, NOW - SECOND) == []

    async def test_a_delivery_is_claimed_again_once_its_lease_expires(self, store: Store) -> None:
        await due(store)
        [delivery] = await claimed(store)

        assert await claimed(store, NOW + LEASE - SECOND) == []
        assert await claimed(store, NOW + LEASE) == [delivery]

    async def test_a_claim_says_where_it_goes(self, store: Store) -> None:
        webhook = await due(store)

        [claim] = await claim_beside(store)

        assert (claim.webhook, [claim.delivery]) == (webhook, await of(store, webhook))

    async def test_to_one_receiver_no_more_come_than_it_has_room_for(self, store: Store) -> None:
        first_hook = await due(store, events=9, url="https://slow.example/a")
        two = await due(store, events=2, url="https://slow.example/b?c")
        quick = await due(store, events=2, url="https://slow.example:8443/a")

        claims = await claim_beside(store, under_way=[first_hook, two], to_receiver=4, in_all=20)

        assert [c.webhook.id for c in claims] == [quick.id, first_hook.id, two.id, quick.id]
        assert await claim_beside(store, under_way=[first_hook] * 4, to_receiver=4, in_all=4) == []

    async def test_a_burst_of_one_webhook_does_not_hold_up_another(self, store: Store) -> None:
        burst = await due(store, events=30, owner="ada", url="https://same.example/a")
        other = await due(store, events=3, owner="bob", url="https://same.example/b")
        served: dict[str, int] = {}

        async def sent() -> str:
            """Claim the one message that fits, and let it be delivered."""
            room = DeliveryRoom(**(ROOMY | {"to_receiver": 1}))
            [claim] = await store.deliveries.claim(NOW, LEASE, Traffic(room, served=served))
            await settled(store, claim.delivery, GOOD)
            return claim.webhook.id

        first = [await sent() for _ in range(6)]

        assert first == [burst.id, other.id] * 3
        assert await sent() == burst.id

    async def test_of_one_owner_no_more_come_than_he_has_room_for(self, store: Store) -> None:
        for number in range(5):
            await due(store, owner="ada", url=f"https://{number}.example/")
        other = await due(store, owner="bob", url="https://bob.example/")

        claims = await claim_beside(store, under_way=[replace(other, owner="ada")], of_owner=3)

        assert [c.webhook.owner for c in claims] == ["ada", "ada", "bob"]

    async def test_to_one_that_fails_a_single_one_goes(self, store: Store) -> None:
        webhook = await due(store, events=5)
        [first] = await claim_beside(store, in_all=1)
        await settled(store, first.delivery, BAD)
        failing = await store.webhooks.get(webhook.id)

        assert await claim_beside(store, under_way=[webhook], to_failing=1) == []
        assert await next_at(store, under_way=[webhook], to_failing=1) is None
        [second] = await claim_beside(store, to_failing=1)
        assert second.webhook == failing
        await settled(store, second.delivery, GOOD)
        assert len(await claim_beside(store, under_way=[webhook], to_failing=1)) == 3

    async def test_a_webhook_on_hold_gets_nothing_before_the_hold_ends(self, store: Store) -> None:
        webhook = await due(store, events=3)
        rest = NOW + timedelta(hours=1)
        first, second, third = await claimed(store)
        await settled(store, first, BAD, rest)
        await settled(store, second, BAD)  # deliveries under way do not shorten it
        await settled(store, third, GOOD)
        await added(store)
        await store.deliveries.fan_out(NOW)

        assert await claimed(store, rest - SECOND) == []
        assert await next_at(store, rest - SECOND) == rest
        assert len(await claimed(store, rest)) == 3
        assert (await store.webhooks.get(webhook.id)).held_until == rest

    async def test_those_of_a_webhook_that_is_off_are_left(self, store: Store) -> None:
        webhook = await due(store)
        await switched(store, webhook, on=False)

        assert await claimed(store) == []
        assert await next_at(store) is None

    async def test_twenty_at_once_never_get_the_same(self, store: Store, backend: Backend) -> None:
        await due(store, events=12)
        other_stores = [await backend.open() for _ in range(4)]

        claims = await asyncio.gather(*(claimed(other_stores[n % 4], limit=1) for n in range(20)))

        ids = [d.id for some in claims for d in some]
        assert len(ids) == len(set(ids)) == 12
        for other in other_stores:
            await other.close()


class TestSettleDelivery:
    @pytest.mark.parametrize("attempt", [GOOD, BAD])
    async def test_what_became_of_it_is_kept_and_it_is_free(
        self, store: Store, attempt: DeliveryAttempt
    ) -> None:
        webhook = await due(store)
        [delivery] = await claimed(store)

        after = await settled(store, delivery, attempt)

        [delivery_settled] = await of(store, webhook)
        assert replace(delivery_settled, attempts=()) == replace(after, attempts=())
        assert delivery_settled.attempts == (
            replace(attempt, excerpt=attempt.excerpt.replace("\0", "�")),
        )
        assert await claimed(store, NOW + timedelta(days=3)) == (
            [delivery_settled] if attempt is BAD else []
        )

    async def test_its_webhook_fails_since_the_first_failure_until_a_success(
        self, store: Store
    ) -> None:
        webhook = await due(store, events=3)
        attempts = (BAD, replace(BAD, at=NOW + SECOND), GOOD)

        since = []
        for delivery, attempt in zip(await claimed(store), attempts, strict=True):
            await settled(store, delivery, attempt)
            now = await store.webhooks.get(webhook.id)
            since.append((now.failing_since, now.failures))

        assert since == [(NOW, 1), (NOW, 2), (None, 0)]
        assert (await store.webhooks.get(webhook.id)).version == 1

    async def test_who_is_late_does_not_undo_what_another_has_settled(self, store: Store) -> None:
        webhook = await due(store)
        [slow] = await claimed(store)
        [quick] = await claimed(store, NOW + LEASE)
        await settled(store, quick, GOOD)

        await settled(store, slow, BAD)

        assert [d.state for d in await of(store, webhook)] == [DeliveryState.DELIVERED]
        assert (await store.webhooks.get(webhook.id)).failing_since is None

    async def test_a_last_attempt_does_not_undo_a_requested_redelivery(self, store: Store) -> None:
        webhook = await due(store)
        now = NOW
        for _ in WAITS:
            [delivery] = await claimed(store, now)
            now = (await settled(store, delivery, replace(BAD, at=now))).due_at
        [last] = await claimed(store, now)
        again = await store.deliveries.again(last.id, now)

        assert await store.deliveries.settle(last, last.record_attempt(BAD, chance=0)) is None

        assert await of(store, webhook) == [again]
        assert (await store.webhooks.get(webhook.id)).active

    async def test_one_that_is_gone_is_settled_in_silence(self, store: Store) -> None:
        webhook = await due(store)
        [delivery] = await claimed(store)
        event = webhook.event(EventName.WEBHOOK_DELETED, NOW, "local")
        await store.webhooks.delete(webhook.id, 1, event)

        await settled(store, delivery, GOOD)

        with pytest.raises(NotFound, match=delivery.id):
            await store.deliveries.get(delivery.id)

    async def test_a_postponed_delivery_without_an_attempt_is_no_failure(
        self, store: Store
    ) -> None:
        webhook = await due(store)
        [delivery] = await claimed(store)
        later = replace(delivery, due_at=NOW + SECOND)

        await store.deliveries.settle(delivery, later)

        assert await claimed(store) == []
        assert await claimed(store, NOW + SECOND) == [later]
        assert await store.webhooks.get(webhook.id) == webhook

    async def test_two_days_of_failures_switch_it_off_however_much_waits(
        self, store: Store
    ) -> None:
        webhook = await due(store, events=20)

        hours = 0
        while (await store.webhooks.get(webhook.id)).active:
            now = NOW + timedelta(hours=hours)
            [delivery] = await claimed(store, now, limit=1)
            await settled(store, delivery, replace(BAD, at=now))
            hours += 1

        assert hours == 49
        assert max(len(d.attempts) for d in await of(store, webhook)) < len(WAITS) + 1

    @pytest.mark.parametrize("many", [False, True])
    async def test_one_whose_receiver_is_gone_is_switched_off_with_it_in_one_transaction(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, *, many: bool
    ) -> None:
        if many:
            monkeypatch.setattr("crawlyard.store.webhooks.deliveries.AT_ONCE", 2)
        webhook = await due(store, events=8)
        delivery = (await claimed(store, limit=1))[0]

        event = await store.deliveries.settle(delivery, delivery.record_attempt(GONE, chance=0))

        off = await store.webhooks.get(webhook.id)
        assert (off.active, off.version) == (False, 2)
        assert off.disabled_reason == "the receiver answered 410 (gone)"
        assert event is not None
        events = await store.events.events(EventQuery(subject=webhook.id))
        assert [e.name for e in events] == ["webhook.created", "webhook.disabled"]
        assert events[-1] == replace(event, seq=events[-1].seq, address=None)
        states = {d.state for d in await of(store, webhook)}
        assert states == {DeliveryState.FAILED}


async def test_they_are_found_newest_first_by_state_in_parts(store: Store) -> None:
    webhook = await due(store, events=5)
    other = await due(store)
    first, *rest = await of(store, webhook)
    await settled(store, first, GOOD)

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
    async def test_a_redelivery_in_any_state_keeps_its_id(self, store: Store) -> None:
        webhook = await due(store)
        [delivery] = await claimed(store)
        await settled(store, delivery, GOOD)
        later = NOW + timedelta(days=1)

        again = await store.deliveries.again(delivery.id, later)

        assert again == replace(delivery, due_at=later)
        assert await claimed(store, later) == await of(store, webhook) == [again]

    async def test_one_that_is_leased_can_be_claimed_at_once(self, store: Store) -> None:
        await due(store)
        [delivery] = await claimed(store)

        await store.deliveries.again(delivery.id, NOW)

        assert await claimed(store) == [delivery]

    async def test_a_rest_is_over_then(self, store: Store) -> None:
        await due(store)
        [delivery] = await claimed(store)
        await settled(store, delivery, BAD, NOW + timedelta(days=1))

        again = await store.deliveries.again(delivery.id, NOW)

        assert await next_at(store) == NOW
        assert await claimed(store) == [again]

    async def test_it_is_not_for_a_webhook_that_is_off(self, store: Store) -> None:
        webhook = await due(store)
        await switched(store, webhook, on=False)
        [delivery] = await of(store, webhook)

        with pytest.raises(Conflict, match="switched off"):
            await store.deliveries.again(delivery.id, NOW)

        assert await of(store, webhook) == [delivery]

    async def test_one_that_never_was_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound, match="no delivery msg_1"):
            await store.deliveries.again("msg_1", NOW)


class TestNextAt:
    async def test_nothing_waits(self, store: Store) -> None:
        await stored_webhook(store)

        assert await next_at(store) is None

    async def test_it_is_when_claim_will_find_something(self, store: Store) -> None:
        first_hook = await due(store, url="https://one.example/")
        two = await due(store, url="https://two.example/", owner="bob")
        [delivery, other] = await claimed(store)

        assert await next_at(store) == NOW + LEASE
        later = replace(delivery, attempts=(BAD,), due_at=NOW + SECOND)
        await store.deliveries.settle(delivery, later)
        assert await next_at(store) == NOW + SECOND
        assert await next_at(store, under_way=[first_hook], to_receiver=1) == NOW + LEASE
        assert await next_at(store, under_way=[first_hook], of_owner=1) == NOW + LEASE
        assert await next_at(store, under_way=[first_hook, two], of_owner=1) is None
        assert await next_at(store, under_way=[first_hook], in_all=1) is None
        await settled(store, other, GOOD)
        assert await next_at(store, under_way=[first_hook], to_receiver=1) is None


async def test_an_event_that_has_been_forgotten_is_none(store: Store) -> None:
    webhook = await due(store)
    [delivery] = await of(store, webhook)

    events = await store.deliveries.events([delivery, replace(delivery, seq=10**9), delivery])

    assert [event and event.seq for event in events] == [delivery.seq, None, delivery.seq]
    assert await store.deliveries.events([]) == []
