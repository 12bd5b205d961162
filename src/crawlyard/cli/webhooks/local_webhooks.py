"""Webhooks of a yard that is open in this process."""

from collections.abc import Sequence

from crawlyard.core.access.user import Actor
from crawlyard.core.answers.webhooks.webhooks import DeliveryOut, NewSecretOut, WebhookOut
from crawlyard.core.webhooks.webhook import DeliveryState
from crawlyard.store.queries import WebhookQuery
from crawlyard.yard import Yard


class LocalWebhooks:
    """Calls the services of a yard that is open in this process."""

    def __init__(self, yard: Yard, actor: Actor) -> None:
        self._webhooks = yard.webhooks
        self._actor = actor

    async def get(self, webhook_id: str) -> WebhookOut:
        """Return one webhook."""
        return WebhookOut.of(await self._webhooks.get(self._actor, webhook_id))

    async def find(self, job_id: str, limit: int) -> list[WebhookOut]:
        """Return the webhooks of a job (empty: those of none), newest first, at most *limit*."""
        query = WebhookQuery(job_id=job_id)
        return [WebhookOut.of(w) for w in await self._webhooks.find(self._actor, query, limit)]

    async def resolve(self, word: str) -> str:
        """Return the id that *word* means."""
        return await self._webhooks.resolve(self._actor, word)

    async def deliveries(
        self, webhook_id: str, state: DeliveryState | None, limit: int
    ) -> list[DeliveryOut]:
        """Return deliveries of a webhook, newest first, at most *limit*."""
        found = await self._webhooks.deliveries(self._actor, webhook_id, state, limit=limit)
        return [DeliveryOut.of(delivery) for delivery in found]

    async def create(
        self, url: str, events: Sequence[str], description: str, allow_addresses: Sequence[str]
    ) -> NewSecretOut:
        """Add a webhook; its secret is shown this once."""
        webhook = await self._webhooks.create(
            self._actor,
            url,
            events=events,
            description=description,
            allow_addresses=allow_addresses,
        )
        return NewSecretOut.of(webhook)

    async def update(
        self,
        webhook_id: str,
        *,
        url: str | None,
        events: Sequence[str] | None,
        description: str | None,
        allow_addresses: Sequence[str] | None,
    ) -> WebhookOut:
        """Change what is given."""
        webhook = await self._webhooks.update(
            self._actor,
            webhook_id,
            url=url,
            events=events,
            description=description,
            allow_addresses=allow_addresses,
        )
        return WebhookOut.of(webhook)

    async def switch(self, webhook_id: str, *, on: bool) -> WebhookOut:
        """Switch a webhook on or off."""
        act = self._webhooks.enable if on else self._webhooks.disable
        return WebhookOut.of(await act(self._actor, webhook_id))

    async def rotate(self, webhook_id: str) -> NewSecretOut:
        """Make a new secret; it is shown this once."""
        return NewSecretOut.of(await self._webhooks.rotate(self._actor, webhook_id))

    async def test(self, webhook_id: str) -> WebhookOut:
        """Let a test event be delivered."""
        return WebhookOut.of(await self._webhooks.test(self._actor, webhook_id))

    async def replay(self, delivery_id: str) -> DeliveryOut:
        """Let a delivery be made once more."""
        return DeliveryOut.of(await self._webhooks.replay(self._actor, delivery_id))

    async def delete(self, webhook_id: str) -> None:
        """Delete a webhook with its deliveries."""
        await self._webhooks.delete(self._actor, webhook_id)
