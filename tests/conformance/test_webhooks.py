"""`WebhookStore`: endpoints are added, changed by one at a time, found, deleted."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard.core.events.event import EventName
from crawlyard.core.webhooks.delivery_limits import Traffic
from crawlyard.core.webhooks.webhook import (
    DeliveryAttempt,
    DeliveryState,
    JobWebhook,
    Secret,
    Webhook,
)
from crawlyard.errors import NotFound
from crawlyard.store.queries import EventQuery, WebhookQuery
from crawlyard.store.store import Store
from tests.builders import NOW, a_job, a_spec
from tests.builders_webhooks import SECOND, SECRET, a_webhook, stored_webhook, switched
from tests.conformance.steps import added

UPDATED = EventName.WEBHOOK_UPDATED
GOOD = DeliveryAttempt(at=NOW, latency=SECOND, status=204)
BAD = DeliveryAttempt(at=NOW, latency=SECOND, status=500)


async def event_names(store: Store, webhook: Webhook) -> list[str]:
    return [e.name for e in await store.events.events(EventQuery(subject=webhook.id))]


async def test_a_webhook_comes_back_as_it_was_added(store: Store) -> None:
    webhook = a_webhook(
        owner="ada",
        url="http://127.0.0.1:8080/ü?token=1",
        description="»why«",
        events=("job.*", "schedule.ticked"),
        secrets=(Secret(value=SECRET), Secret(value="whsec_old", until=NOW + timedelta(days=1))),
        active=False,
        disabled_reason="gone",
        failing_since=NOW - timedelta(microseconds=1),
        failures=3,
        held_until=NOW + timedelta(microseconds=1),
        allow_addresses=("127.0.0.1:8080",),
        job_id=a_job().id,
        version=7,
    )

    await store.webhooks.add(webhook, webhook.event(EventName.WEBHOOK_CREATED, NOW, "ada"))

    assert await store.webhooks.get(webhook.id) == webhook
    assert await event_names(store, webhook) == ["webhook.created"]


async def test_a_webhook_is_replaced_together_with_its_event(store: Store) -> None:
    before = await stored_webhook(store)
    after = replace(before, url="https://other.example/", events=("job.failed",), version=2)

    await store.webhooks.save(after, after.event(UPDATED, NOW, "local"))

    assert await store.webhooks.get(before.id) == after
    assert await event_names(store, before) == ["webhook.created", "webhook.updated"]


async def test_the_newest_come_first_and_each_field_narrows(store: Store) -> None:
    job_id = a_job().id
    first = await stored_webhook(store, owner="ada")
    two = await stored_webhook(store, owner="bob")
    three = await stored_webhook(store, owner="bob", job_id=job_id)

    async def find_ids(limit: int = 10, **filters: Any) -> list[str]:
        return [w.id for w in await store.webhooks.find(WebhookQuery(**filters), limit)]

    assert await find_ids() == [three.id, two.id, first.id]
    assert await find_ids(limit=2) == [three.id, two.id]
    assert await find_ids(owner="ada") == [first.id]
    assert await find_ids(job_id=job_id) == [three.id]
    assert await find_ids(job_id="") == [two.id, first.id]
    assert await find_ids(owner="ada", job_id=job_id) == []
    assert await find_ids(job_id="", before=two.id) == [first.id]
    assert await find_ids(id_part=first.id[-12:].upper()) == [first.id]
    assert await find_ids(id_part=two.id[:8], owner="bob") == [three.id, two.id]
    assert await find_ids(id_part="%") == await find_ids(id_part="_") == []


async def test_an_edit_does_not_undo_what_became_of_a_delivery_meanwhile(store: Store) -> None:
    webhook = await stored_webhook(store, events=("job.created",))
    for _ in range(2):
        await added(store)
    await store.deliveries.fan_out(NOW)
    first, two = await store.deliveries.claim(NOW, SECOND, Traffic())
    rest = NOW + timedelta(hours=1)

    standings = []
    for claimed, attempt in ((first, BAD), (two, GOOD)):
        before = await store.webhooks.get(webhook.id)
        after = claimed.delivery.record_attempt(attempt, chance=0)
        await store.deliveries.settle(claimed.delivery, after, rest)
        edited = replace(before, description="new", version=before.version + 1)
        await store.webhooks.save(edited, edited.event(UPDATED, NOW, "local"))
        standings.append(await store.webhooks.get(webhook.id))

    assert [(w.failing_since, w.failures) for w in standings] == [(NOW, 1), (None, 0)]
    assert [w.held_until for w in standings] == [
        None,
        None,
    ]  # a repaired receiver gets messages at once


async def test_an_edit_ends_the_hold_of_a_receiver(store: Store) -> None:
    webhook = await stored_webhook(store, events=("job.created",))
    await added(store)
    await store.deliveries.fan_out(NOW)
    [claimed] = await store.deliveries.claim(NOW, SECOND, Traffic())
    after = claimed.delivery.record_attempt(BAD, chance=0)
    await store.deliveries.settle(claimed.delivery, after, NOW + timedelta(hours=1))
    stored = await store.webhooks.get(webhook.id)
    edited = replace(stored, url="https://other.example/", version=2)

    await store.webhooks.save(edited, edited.event(UPDATED, NOW, "local"))

    assert stored.held_until == NOW + timedelta(hours=1)
    assert await store.webhooks.get(webhook.id) == replace(edited, held_until=None)


class TestDeleteWebhook:
    async def test_many_deliveries_go_in_steps(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("crawlyard.store.webhooks.deliveries.AT_ONCE", 3)
        webhook = await stored_webhook(store)
        for _ in range(7):
            await added(store)
        await store.deliveries.fan_out(NOW)

        event = webhook.event(EventName.WEBHOOK_DELETED, NOW, "local")
        await store.webhooks.delete(webhook.id, 1, event)

        assert await store.deliveries.find(webhook.id, None, None, 10) == []
        assert await event_names(store, webhook) == ["webhook.created", "webhook.deleted"]

    async def test_it_goes_with_its_deliveries(self, store: Store) -> None:
        webhook, other = await stored_webhook(store), await stored_webhook(store)
        await added(store)
        await store.deliveries.fan_out(NOW)
        [delivery] = await store.deliveries.find(other.id, None, None, 10)
        event = webhook.event(EventName.WEBHOOK_DELETED, NOW, "local")

        await store.webhooks.delete(webhook.id, 1, event)

        with pytest.raises(NotFound):
            await store.webhooks.get(webhook.id)
        assert await store.deliveries.find(webhook.id, None, None, 10) == []
        assert await store.deliveries.get(delivery.id) == delivery
        assert await event_names(store, webhook) == ["webhook.created", "webhook.deleted"]

    async def test_its_deliveries_are_counted_by_their_states(self, store: Store) -> None:
        webhook = await stored_webhook(store, events=("job.created",))
        other = await stored_webhook(store, events=("webhook.test",))
        for _ in range(3):
            await added(store)
        await store.deliveries.fan_out(NOW)
        first, *_ = await store.deliveries.claim(NOW, SECOND, Traffic())
        await store.deliveries.settle(first.delivery, first.delivery.record_attempt(GOOD, chance=0))

        counted = await store.webhooks.deliveries(webhook.id)

        assert counted == {DeliveryState.PENDING: 2, DeliveryState.DELIVERED: 1}
        assert await store.webhooks.deliveries(other.id) == {}


class TestSwitching:
    async def test_what_waits_for_one_that_is_switched_off_has_failed(self, store: Store) -> None:
        webhook = await stored_webhook(store)
        await added(store)
        await store.deliveries.fan_out(NOW)

        await switched(store, webhook, on=False)

        [delivery] = await store.deliveries.find(webhook.id, None, None, 10)
        assert (delivery.state, delivery.ended_at) == (DeliveryState.FAILED, NOW)
        assert await store.deliveries.next_at(NOW, Traffic()) is None

    async def test_much_that_waits_has_failed_in_steps(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("crawlyard.store.webhooks.deliveries.AT_ONCE", 3)
        webhook = await stored_webhook(store)
        for _ in range(7):
            await added(store)
        await store.deliveries.fan_out(NOW)

        await switched(store, webhook, on=False)

        deliveries = await store.deliveries.find(webhook.id, None, None, 10)
        assert [d.state for d in deliveries] == [DeliveryState.FAILED] * 7

    async def test_enabling_a_webhook_resets_its_failures(self, store: Store) -> None:
        webhook = await stored_webhook(store)
        await added(store)
        await store.deliveries.fan_out(NOW)
        claimed = (await store.deliveries.claim(NOW, SECOND, Traffic()))[0].delivery
        await store.deliveries.settle(claimed, claimed.record_attempt(BAD, chance=0), NOW + SECOND)
        off = await switched(store, webhook, on=False)

        await switched(store, replace(off, failing_since=NOW), on=True)

        on = await store.webhooks.get(webhook.id)
        assert (on.failing_since, on.failures, on.held_until) == (None, 0, None)

    async def test_nothing_is_made_for_one_that_is_off(self, store: Store) -> None:
        webhook = await switched(store, await stored_webhook(store), on=False)

        await added(store)
        await store.deliveries.fan_out(NOW)

        assert await store.deliveries.find(webhook.id, None, None, 10) == []

    async def test_an_enabled_webhook_gets_events_from_then_on(self, store: Store) -> None:
        webhook = await switched(store, await stored_webhook(store), on=False)
        await added(store)  # not fanned out before the next line

        await switched(store, webhook, on=True)
        job = await added(store)
        await store.deliveries.fan_out(NOW)

        deliveries = await store.deliveries.find(webhook.id, None, None, 10)
        [event] = await store.deliveries.events(deliveries)
        assert event is not None
        assert event.subject == job.id

    async def test_an_edit_of_one_that_is_on_loses_nothing(self, store: Store) -> None:
        webhook = await stored_webhook(store)
        await added(store)
        edited = replace(webhook, description="new", version=2)

        await store.webhooks.save(edited, edited.event(UPDATED, NOW, "local"))
        await store.deliveries.fan_out(NOW)

        names = [d.name for d in await store.deliveries.find(webhook.id, None, None, 10)]
        assert names == ["webhook.updated", "job.created"]


class TestOfAJob:
    async def test_they_are_added_with_it(self, store: Store) -> None:
        job_webhooks = (
            JobWebhook(url="https://a.example/", secret=SECRET),
            JobWebhook(url="https://b.example/", events=("job.*",), secret=SECRET),
        )

        job = await added(store, spec=a_spec(webhooks=job_webhooks, allow_addresses=("10.0.0.1",)))

        stored_webhooks = await store.webhooks.find(WebhookQuery(job_id=job.id), 10)
        assert stored_webhooks == list(reversed(job.webhooks()))
        assert [w.url for w in stored_webhooks] == ["https://b.example/", "https://a.example/"]
        assert {w.allow_addresses for w in stored_webhooks} == {("10.0.0.1",)}

    async def test_they_hear_of_their_job_alone_and_from_its_beginning(self, store: Store) -> None:
        job_webhooks = (JobWebhook(url="https://a.example/", events=("job.*",), secret=SECRET),)
        job = await added(store, spec=a_spec(webhooks=job_webhooks))
        await added(store)

        await store.deliveries.fan_out(NOW)

        deliveries = await store.deliveries.find(f"{job.id}:0", None, None, 10)
        [event] = await store.deliveries.events(deliveries)
        assert event is not None
        assert (event.name, event.subject) == ("job.created", job.id)
