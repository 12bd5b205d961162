"""Webhooks, and what was delivered to them."""

from collections.abc import AsyncGenerator, Mapping, Sequence

from crawlyard.client.asynchronous.calls import Calls
from crawlyard.client.transport import if_match, part
from crawlyard.web.wire.webhooks import DeliveryOut, NewSecretOut, WebhookOut

_WEBHOOKS = "webhooks"


class Webhooks:
    """Makes, finds, changes and tries webhooks."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(
        self, *, job: str = "", owner: str | None = None, limit: int | None = None
    ) -> AsyncGenerator[WebhookOut]:
        """Yield the webhooks of a job (empty: those of none), newest first."""
        asked = {"job": job, "owner": owner}
        return self._calls.every(WebhookOut, _WEBHOOKS, asked, limit)

    async def get(self, webhook_id: str) -> WebhookOut:
        """Return a webhook, without its secrets."""
        return await self._calls.one(WebhookOut, "GET", _path(webhook_id))

    async def create(
        self,
        url: str,
        *,
        events: Sequence[str] = ("*",),
        description: str = "",
        allow_addresses: Sequence[str] = (),
    ) -> NewSecretOut:
        """Make a webhook; its secret is shown this once."""
        body = {
            "url": url,
            "events": [*events],
            "description": description,
            "allow_addresses": [*allow_addresses],
        }
        return await self._calls.one(NewSecretOut, "POST", _WEBHOOKS, body=body)

    async def edit(
        self, webhook_id: str, changes: Mapping[str, object], *, version: int | None = None
    ) -> WebhookOut:
        """Change ``url``, ``events``, ``description`` or ``allow_addresses``."""
        return await self._calls.one(
            WebhookOut, "PATCH", _path(webhook_id), body=changes, headers=if_match(version)
        )

    async def delete(self, webhook_id: str, *, version: int | None = None) -> None:
        """Delete a webhook with its deliveries."""
        await self._calls.send("DELETE", _path(webhook_id), headers=if_match(version))

    async def test(self, webhook_id: str) -> WebhookOut:
        """Let a test event be delivered."""
        return await self._calls.one(WebhookOut, "POST", f"{_path(webhook_id)}/test")

    async def rotate(self, webhook_id: str) -> NewSecretOut:
        """Make a new secret, shown this once."""
        return await self._calls.one(NewSecretOut, "POST", f"{_path(webhook_id)}/rotate")

    async def enable(self, webhook_id: str) -> WebhookOut:
        """Switch a webhook on."""
        return await self._calls.one(WebhookOut, "POST", f"{_path(webhook_id)}/enable")

    async def disable(self, webhook_id: str) -> WebhookOut:
        """Switch a webhook off."""
        return await self._calls.one(WebhookOut, "POST", f"{_path(webhook_id)}/disable")

    def deliveries(
        self, webhook_id: str, *, state: str | None = None, limit: int | None = None
    ) -> AsyncGenerator[DeliveryOut]:
        """Yield deliveries with their attempts, newest first."""
        path = f"{_path(webhook_id)}/deliveries"
        return self._calls.every(DeliveryOut, path, {"state": state}, limit)

    async def replay(self, webhook_id: str, delivery_id: str) -> DeliveryOut:
        """Let a delivery be made once more."""
        path = f"{_path(webhook_id)}/deliveries/{part(delivery_id)}/replay"
        return await self._calls.one(DeliveryOut, "POST", path)


def _path(webhook_id: str) -> str:
    return f"{_WEBHOOKS}/{part(webhook_id)}"
