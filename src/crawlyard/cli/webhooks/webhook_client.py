"""What the command line asks of a yard about webhooks, wherever that is."""

from collections.abc import Sequence
from typing import Protocol

from crawlyard.core.answers.webhooks.webhooks import DeliveryOut, NewSecretOut, WebhookOut
from crawlyard.core.webhooks.webhook import DeliveryState


class WebhookReader(Protocol):
    """Finds webhooks and their deliveries. What does not exist for the user is `NotFound`."""

    async def get(self, webhook_id: str) -> WebhookOut:
        """Return one webhook."""
        ...

    async def find(self, job_id: str, limit: int) -> list[WebhookOut]:
        """Return the webhooks of a job (empty: those of none), newest first, at most *limit*."""
        ...

    async def resolve(self, word: str) -> str:
        """Return the id that *word* means: a whole id, or its unique beginning or end.

        Raises:
            Invalid: more than one webhook is meant.
        """
        ...

    async def deliveries(
        self, webhook_id: str, state: DeliveryState | None, limit: int
    ) -> list[DeliveryOut]:
        """Return deliveries of a webhook, newest first, at most *limit*."""
        ...


class WebhookChanger(Protocol):
    """Makes and changes webhooks, and returns them as they then are.

    Each may raise `NotFound`, `Forbidden`, `Invalid` for a value that is not what is
    expected, and `IllegalMove` for one that is switched off.
    """

    async def create(
        self, url: str, events: Sequence[str], description: str, allow_addresses: Sequence[str]
    ) -> NewSecretOut:
        """Add a webhook; its secret is shown this once."""
        ...

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
        ...

    async def switch(self, webhook_id: str, *, on: bool) -> WebhookOut:
        """Switch a webhook on or off."""
        ...

    async def rotate(self, webhook_id: str) -> NewSecretOut:
        """Make a new secret; it is shown this once."""
        ...

    async def test(self, webhook_id: str) -> WebhookOut:
        """Let a test event be delivered."""
        ...

    async def replay(self, delivery_id: str) -> DeliveryOut:
        """Let a delivery be made once more."""
        ...

    async def delete(self, webhook_id: str) -> None:
        """Delete a webhook with its deliveries."""
        ...


class WebhookClient(WebhookReader, WebhookChanger, Protocol):
    """All of them; each method is one call of the services, or one endpoint of the API."""
