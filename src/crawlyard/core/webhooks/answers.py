"""Answers about webhooks and their deliveries."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from crawlyard.core.answer import Wire, derive_answer
from crawlyard.core.webhooks.notifications import NotificationRules
from crawlyard.core.webhooks.webhook import (
    MAILTO,
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    Webhook,
)


@derive_answer
class WebhookOut(Webhook, Wire, frozen=True, kw_only=True):
    """One webhook, without its secrets."""

    object: Literal["webhook"] = "webhook"
    rotated_until: datetime | None  # until then, the previous secret signs as well

    @classmethod
    def of(cls, webhook: Webhook) -> "WebhookOut":
        """Return the answer without the secrets."""
        ends = [s.until for s in webhook.secrets if s.until is not None]
        return WebhookOut.filled(webhook, rotated_until=max(ends, default=None))


class NewSecretOut(WebhookOut, frozen=True, kw_only=True):
    """A webhook with its new secret, which is never shown again."""

    secret: str | None  # null if the answer is repeated for its Idempotency-Key

    @classmethod
    def of(cls, webhook: Webhook) -> "NewSecretOut":
        """Return the answer with the current secret."""
        return cls.filled(WebhookOut.of(webhook), secret=webhook.secrets[0].value)


class NotificationOut(Wire, frozen=True, kw_only=True):
    """A channel for messages to people, without its URL."""

    id: str
    object: Literal["notification"] = "notification"
    name: str
    owner: str
    kind: str  # slack, discord, ntfy, teams or mail
    to: str  # the host and the last four characters of a URL, or a mail address
    on: tuple[str, ...]
    quiet_hours: str  # hours without messages, such as "22:00-07:00"; empty: none
    zone: str
    digest_s: float  # shortest time between two messages
    named_only: bool
    active: bool
    disabled_reason: str
    failing_since: datetime | None
    allow_addresses: tuple[str, ...]
    version: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, webhook: Webhook) -> "NotificationOut":
        """Return the answer for a channel."""
        rules = webhook.rules or NotificationRules()
        return cls.filled(
            webhook,
            kind=webhook.format.value,
            to=webhook.url.removeprefix(MAILTO),
            on=tuple(occasion.value for occasion in rules.on),
            quiet_hours=rules.quiet_hours,
            zone=rules.zone,
            digest_s=rules.digest_s,
            named_only=rules.named_only,
        )


@derive_answer
class DeliveryAttemptOut(DeliveryAttempt, Wire, frozen=True, kw_only=True):
    """One delivery attempt; a null status means no response."""

    latency_s: float


@derive_answer
class DeliveryOut(Delivery, Wire, frozen=True, kw_only=True):
    """One event or page for one webhook; its id is the message id of every attempt."""

    object: Literal["delivery"] = "delivery"
    event: str  # "page" for a page
    seq: int | None  # type: ignore[assignment]  # of the event; null: it is about a page
    page: int | None = None  # id of the page
    attempts: tuple[DeliveryAttemptOut, ...]
    due_at: datetime | None  # type: ignore[assignment]  # null: there is no next attempt

    @classmethod
    def of(cls, delivery: Delivery) -> "DeliveryOut":
        """Return the answer; only a delivery that is pending has a next attempt."""
        is_pending = delivery.state is DeliveryState.PENDING
        return cls.filled(
            delivery,
            due_at=delivery.due_at if is_pending else None,
            seq=delivery.seq if delivery.page_id is None else None,
            page=delivery.page_id,
        )


class WebhookDeletionOut(Wire, frozen=True, kw_only=True):
    """Extent of deleting a webhook."""

    object: Literal["webhook_deletion"] = "webhook_deletion"
    webhook_id: str
    url: str
    dry_run: bool = True
    deliveries: int  # in any state
    waiting: int  # of these, pending ones, which would never be delivered

    @classmethod
    def of(cls, webhook: Webhook, deliveries: Mapping[DeliveryState, int]) -> "WebhookDeletionOut":
        """Return the extent of deleting a webhook with so many deliveries."""
        return cls(
            webhook_id=webhook.id,
            url=webhook.url,
            deliveries=sum(deliveries.values()),
            waiting=deliveries.get(DeliveryState.PENDING, 0),
        )
