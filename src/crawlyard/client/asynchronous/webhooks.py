"""Webhooks, and what was delivered to them."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TypeVar

from crawlyard.client.asynchronous.calls import Calls
from crawlyard.client.transport import if_match, part
from crawlyard.core.answers.deletions import WebhookDeletionOut
from crawlyard.core.answers.webhooks.webhooks import DeliveryOut, NewSecretOut, WebhookOut

_WEBHOOKS = "webhooks"

M = TypeVar("M", bound=WebhookOut)


class Webhooks:
    """Makes, finds, changes and tries webhooks.

    A change is made to *version* alone, if one is given; else to whichever there is.
    """

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

    async def deletable(self, webhook_id: str, *, version: int | None = None) -> WebhookDeletionOut:
        """Return what deleting a webhook would delete."""
        path = f"{_path(webhook_id)}/deletion"
        return await self._calls.one(WebhookDeletionOut, "GET", path, headers=if_match(version))

    async def test(self, webhook_id: str, *, version: int | None = None) -> WebhookOut:
        """Let a test event be delivered."""
        return await self._act(WebhookOut, webhook_id, "test", version)

    async def rotate(self, webhook_id: str, *, version: int | None = None) -> NewSecretOut:
        """Make a new secret, shown this once."""
        return await self._act(NewSecretOut, webhook_id, "rotate", version)

    async def enable(self, webhook_id: str, *, version: int | None = None) -> WebhookOut:
        """Switch a webhook on."""
        return await self._act(WebhookOut, webhook_id, "enable", version)

    async def disable(self, webhook_id: str, *, version: int | None = None) -> WebhookOut:
        """Switch a webhook off."""
        return await self._act(WebhookOut, webhook_id, "disable", version)

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

    async def _act(self, shape: type[M], webhook_id: str, verb: str, version: int | None) -> M:
        path = f"{_path(webhook_id)}/{verb}"
        return await self._calls.one(shape, "POST", path, headers=if_match(version))


def _path(webhook_id: str) -> str:
    return f"{_WEBHOOKS}/{part(webhook_id)}"
