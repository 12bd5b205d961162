"""Webhooks of a yard that is asked over HTTP."""

from collections.abc import Sequence

from crawlyard.client import AsyncClient
from crawlyard.client.transport import without_none
from crawlyard.core.answers.webhooks.webhooks import DeliveryOut, NewSecretOut, WebhookOut
from crawlyard.core.templates.template import is_id
from crawlyard.core.webhooks.webhook import DeliveryState
from crawlyard.errors import Invalid, NotFound

_WHICHEVER = "-"  # in place of a webhook's id: the delivery says which


class HttpWebhooks:
    """Asks the webhooks of a server; each method is a request or two."""

    def __init__(self, client: AsyncClient) -> None:
        self._webhooks = client.webhooks

    async def get(self, webhook_id: str) -> WebhookOut:
        """Return one webhook."""
        return await self._webhooks.get(webhook_id)

    async def find(self, job_id: str, limit: int) -> list[WebhookOut]:
        """Return the webhooks of a job (empty: those of none), newest first, at most *limit*."""
        return [one async for one in self._webhooks.list(job=job_id, limit=limit)]

    async def resolve(self, word: str) -> str:
        """Return the id that *word* means."""
        word = word.lower()
        if is_id(word):
            return (await self._webhooks.get(word)).id
        found = [
            one.id
            async for one in self._webhooks.list()
            if one.id.startswith(word) or one.id.endswith(word)
        ]
        if not found:
            raise NotFound(f"there is no webhook {word}")
        if len(found) > 1:
            raise Invalid("id", f"more than one webhook begins or ends with {word!r}")
        return found[0]

    async def deliveries(
        self, webhook_id: str, state: DeliveryState | None, limit: int
    ) -> list[DeliveryOut]:
        """Return deliveries of a webhook, newest first, at most *limit*."""
        found = self._webhooks.deliveries(webhook_id, state=state, limit=limit)
        return [delivery async for delivery in found]

    async def create(
        self, url: str, events: Sequence[str], description: str, allow_addresses: Sequence[str]
    ) -> NewSecretOut:
        """Add a webhook; its secret is shown this once."""
        return await self._webhooks.create(
            url, events=events, description=description, allow_addresses=allow_addresses
        )

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
        given = {
            "url": url,
            "events": events,
            "description": description,
            "allow_addresses": allow_addresses,
        }
        return await self._webhooks.edit(webhook_id, without_none(given))

    async def switch(self, webhook_id: str, *, on: bool) -> WebhookOut:
        """Switch a webhook on or off."""
        act = self._webhooks.enable if on else self._webhooks.disable
        return await act(webhook_id)

    async def rotate(self, webhook_id: str) -> NewSecretOut:
        """Make a new secret; it is shown this once."""
        return await self._webhooks.rotate(webhook_id)

    async def test(self, webhook_id: str) -> WebhookOut:
        """Let a test event be delivered."""
        return await self._webhooks.test(webhook_id)

    async def replay(self, delivery_id: str) -> DeliveryOut:
        """Let a delivery be made once more."""
        return await self._webhooks.replay(_WHICHEVER, delivery_id)

    async def delete(self, webhook_id: str) -> None:
        """Delete a webhook with its deliveries."""
        await self._webhooks.delete(webhook_id)
