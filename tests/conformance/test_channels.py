"""Channels for people: repeats are counted and digests are claimed as one, on both stores."""

from datetime import timedelta

from crawlyard.core.events.event import EventName
from crawlyard.core.webhooks.delivery_limits import Traffic
from crawlyard.core.webhooks.notifications import GATHERED, NotificationRules, Occasion, Recurrence
from crawlyard.core.webhooks.webhook import DeliveryAttempt, Webhook
from crawlyard.store.queries import WebhookQuery
from crawlyard.store.store import Store
from tests.builders import NOW, a_job
from tests.builders_webhooks import LEASE, SECOND, a_webhook, stored_webhook

RULES = NotificationRules(on=(Occasion.FAILED,))


async def a_channel(store: Store) -> Webhook:
    names = ("job.failed", "job.completed")
    return await stored_webhook(store, name="ops", rules=RULES, sealed=b"\x00\xff", events=names)


async def happened(store: Store, *names: EventName, name: str = "docs") -> None:
    """Add a job with *name* and these events, and turn them into deliveries."""
    for event_name in names:
        job = a_job()
        await store.jobs.add(job, job.event(event_name, NOW, "w", name=name, reason="exhausted"))
        await store.deliveries.fan_out(NOW)


async def test_a_channel_is_stored_and_found_by_its_name(store: Store) -> None:
    channel = await a_channel(store)
    webhook = await stored_webhook(store)

    by_name = await store.webhooks.find(WebhookQuery(name="ops", channels=True), 9)
    programs = await store.webhooks.find(WebhookQuery(channels=False), 9)

    assert by_name == [channel]
    assert programs == [webhook]


async def test_a_third_failure_and_a_second_success_have_no_delivery(store: Store) -> None:
    channel = await a_channel(store)
    failed, completed = EventName.FAILED, EventName.COMPLETED

    await happened(store, completed, failed, failed, failed, completed, completed, failed)
    await happened(store, failed, name="other")

    deliveries = (await store.deliveries.find(channel.id, None, None, 99))[::-1]
    assert [(d.name, d.recurrence) for d in deliveries] == [
        ("job.failed", Recurrence.FIRST),
        ("job.failed", Recurrence.AGAIN),
        ("job.completed", Recurrence.OVER),
        ("job.failed", Recurrence.FIRST),
        ("job.failed", Recurrence.FIRST),
    ]
    assert (await store.webhooks.get(channel.id)).failing == {"name:docs": 1, "name:other": 1}


async def test_a_change_of_the_channel_keeps_its_counts(store: Store) -> None:
    channel = await a_channel(store)
    await happened(store, EventName.FAILED)

    changed = channel.rotate_secret("whsec_x", NOW)
    await store.webhooks.save(changed, changed.event(EventName.WEBHOOK_UPDATED, NOW, "local"))
    await happened(store, EventName.FAILED)

    [second, _] = await store.deliveries.find(channel.id, None, None, 9)
    assert second.recurrence is Recurrence.AGAIN


async def test_new_deliveries_are_claimed_together_and_only_once(store: Store) -> None:
    channel = await a_channel(store)
    for name in ("a", "b", "c"):
        await happened(store, EventName.FAILED, name=name)
    later = NOW + GATHERED

    assert await store.deliveries.claim(NOW, LEASE, Traffic()) == []
    [claimed] = await store.deliveries.claim(later, LEASE, Traffic())
    again = await store.deliveries.claim(later, LEASE, Traffic())

    assert [d.seq for d in claimed.deliveries] == sorted(d.seq for d in claimed.deliveries)
    assert (len(claimed.deliveries), again) == (3, [])
    sent = DeliveryAttempt(at=later, latency=SECOND, status=200)
    hold = later + timedelta(minutes=5)
    for delivery in claimed.deliveries:
        after = delivery.record_attempt(sent, chance=0.5)
        await store.deliveries.settle(delivery, after, hold)
    assert (await store.webhooks.get(channel.id)).held_until == hold
    await happened(store, EventName.FAILED, name="d")
    assert await store.deliveries.claim(later + 2 * GATHERED, LEASE, Traffic()) == []
    assert len(await store.deliveries.claim(hold, LEASE, Traffic())) == 1


async def test_a_channel_gets_one_message_at_a_time(store: Store) -> None:
    channel = a_webhook(name="ops", rules=RULES)

    traffic = Traffic(under_way=[channel])

    assert not traffic.take(channel)
    assert traffic.take(a_webhook())
