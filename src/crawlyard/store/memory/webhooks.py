"""`WebhookStore` over dictionaries."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections import Counter
from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.core.event import Event
from crawlyard.core.webhook import DeliveryState, Webhook
from crawlyard.errors import Conflict, NotFound
from crawlyard.store.base.webhooks import WebhookQuery
from crawlyard.store.memory.post import Endpoint
from crawlyard.store.memory.shelf import Shelf
from crawlyard.store.text import scrubbed


class MemoryWebhooks(Struct, frozen=True):
    """`WebhookStore` in memory."""

    _shelf: Shelf

    async def add(self, webhook: Webhook, event: Event) -> None:
        post = self._shelf.post
        if webhook.id in post.endpoints:
            raise Conflict(f"there is a webhook {webhook.id} already")
        self._shelf.tell(event)
        post.endpoints[webhook.id] = Endpoint(scrubbed(webhook), self._shelf.last_event)

    async def get(self, webhook_id: str) -> Webhook:
        endpoint = self._shelf.post.endpoints.get(webhook_id)
        if endpoint is None:
            raise NotFound(f"no webhook {webhook_id}")
        return endpoint.webhook

    async def save(self, webhook: Webhook, event: Event) -> None:
        endpoint = self._at(webhook.id, webhook.version - 1)
        self._shelf.tell(event)
        before, saved = endpoint.webhook, replace(scrubbed(webhook), held_until=None)
        if webhook.active and not before.active:
            endpoint.since_seq = self._shelf.last_event
            endpoint.webhook = replace(saved, failing_since=None, failures=0)
            return
        endpoint.webhook = replace(
            saved, failing_since=before.failing_since, failures=before.failures
        )
        if not webhook.active:
            self._shelf.post.give_up(webhook.id, webhook.updated_at)

    async def find(self, query: WebhookQuery, limit: int) -> list[Webhook]:
        found = (e.webhook for e in self._shelf.post.endpoints.values() if _fits(query, e.webhook))
        return sorted(found, key=lambda w: w.id, reverse=True)[:limit]

    async def deliveries(self, webhook_id: str) -> Mapping[DeliveryState, int]:
        return Counter(parcel.delivery.state for parcel in self._shelf.post.of(webhook_id))

    async def delete(self, webhook_id: str, version: int, event: Event) -> None:
        self._at(webhook_id, version)
        self._shelf.post.remove(webhook_id)
        self._shelf.tell(event)

    def _at(self, webhook_id: str, version: int) -> Endpoint:
        endpoint = self._shelf.post.endpoints.get(webhook_id)
        if endpoint is None or endpoint.webhook.version != version:
            raise Conflict(f"webhook {webhook_id} is not at version {version} any more")
        return endpoint


def _fits(query: WebhookQuery, webhook: Webhook) -> bool:
    part = query.id_part.lower()
    return (
        query.owner in (None, webhook.owner)
        and (query.job_id is None or query.job_id == (webhook.job_id or ""))
        and (webhook.id.startswith(part) or webhook.id.endswith(part))
        and (query.before is None or webhook.id < query.before)
    )
