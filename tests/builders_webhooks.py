"""Webhooks, events and deliveries for tests."""

import base64
from datetime import timedelta
from typing import Any

from crawlyard.core.events.event import Event, EventName
from crawlyard.core.webhooks.webhook import Delivery, Secret, Webhook
from crawlyard.ids import new_id
from crawlyard.store.store import Store
from tests.builders import NOW

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
LEASE = timedelta(seconds=30)
SECOND = timedelta(seconds=1)


def a_webhook(**fields: Any) -> Webhook:
    """Return a webhook of the local user that wants every event."""
    defaults: dict[str, Any] = {
        "id": new_id(),
        "owner": "local",
        "url": "https://hooks.example.org/crawls",
        "secrets": (Secret(value=SECRET),),
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Webhook(**(defaults | fields))


def an_event(name: EventName = EventName.COMPLETED, **fields: Any) -> Event:
    """Return an event about something of the local user's."""
    defaults: dict[str, Any] = {
        "subject": new_id(),
        "owner": "local",
        "at": NOW,
        "actor": "local",
        "data": {"state": "completed"},
    }
    return Event(name=name, **(defaults | fields))


def a_delivery(**fields: Any) -> Delivery:
    """Return a delivery that is due at `NOW`."""
    defaults: dict[str, Any] = {
        "no": 1,
        "id": "msg_1",
        "webhook_id": "w",
        "seq": 1,
        "name": "job.completed",
        "due_at": NOW,
        "created_at": NOW,
    }
    return Delivery(**(defaults | fields))


async def stored_webhook(store: Store, **fields: Any) -> Webhook:
    """Return a webhook that the store has."""
    webhook = a_webhook(**fields)
    await store.webhooks.add(webhook, webhook.event(EventName.WEBHOOK_CREATED, NOW, "local"))
    return webhook


async def switched(store: Store, webhook: Webhook, *, on: bool) -> Webhook:
    """Return a stored webhook once it is switched on or off."""
    after = webhook.switch(NOW, on=on, reason="" if on else "enough")
    await store.webhooks.save(after, after.event(EventName.WEBHOOK_UPDATED, NOW, "local"))
    return after
