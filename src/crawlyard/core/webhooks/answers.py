"""Answers about webhooks and their deliveries."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from crawlyard.core.answer import Wire, derived, seconds
from crawlyard.core.webhooks.webhook import Delivery, DeliveryAttempt, DeliveryState, Webhook


@derived
class WebhookOut(Webhook, Wire, frozen=True, kw_only=True):
    """One webhook, without its secrets."""

    object: Literal["webhook"] = "webhook"
    rotated_until: datetime | None  # until then the secret before the current one signs as well

    @classmethod
    def of(cls, webhook: Webhook) -> "WebhookOut":
        """Return the shape of *webhook*."""
        ends = [s.until for s in webhook.secrets if s.until is not None]
        return WebhookOut.filled(webhook, rotated_until=max(ends, default=None))


class NewSecretOut(WebhookOut, frozen=True, kw_only=True):
    """A webhook with its current secret: shown when that is made, and never again."""

    secret: str | None  # null where an answer is repeated for its Idempotency-Key

    @classmethod
    def of(cls, webhook: Webhook) -> "NewSecretOut":
        """Return the shape of *webhook*."""
        return cls.filled(WebhookOut.of(webhook), secret=webhook.secrets[0].value)


class DeliveryAttemptOut(Wire, frozen=True, kw_only=True):
    """One try to deliver; a null status is no answer."""

    at: datetime
    latency_s: float
    status: int | None
    excerpt: str
    error: str

    @classmethod
    def of(cls, attempt: DeliveryAttempt) -> "DeliveryAttemptOut":
        """Return the shape of *attempt*."""
        return cls.filled(attempt, latency_s=seconds(attempt.latency))


class DeliveryOut(Wire, frozen=True, kw_only=True):
    """One event on its way to one webhook; its id is the message's at every attempt."""

    id: str
    object: Literal["delivery"] = "delivery"
    no: int  # rises: below it is the next page of a list
    webhook_id: str
    seq: int  # of the event
    event: str
    state: str
    attempts: tuple[DeliveryAttemptOut, ...]
    due_at: datetime | None  # of the next attempt; null: there is none
    created_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, delivery: Delivery) -> "DeliveryOut":
        """Return the shape of *delivery*."""
        waits = delivery.state is DeliveryState.PENDING
        return cls.filled(
            delivery,
            event=delivery.name,
            attempts=tuple(DeliveryAttemptOut.of(attempt) for attempt in delivery.attempts),
            due_at=delivery.due_at if waits else None,
        )


class WebhookDeletionOut(Wire, frozen=True, kw_only=True):
    """What the deletion of a webhook would delete."""

    object: Literal["webhook_deletion"] = "webhook_deletion"
    webhook_id: str
    url: str
    dry_run: bool = True
    deliveries: int  # in any state
    waiting: int  # of these: what would never be delivered

    @classmethod
    def of(cls, webhook: Webhook, deliveries: Mapping[DeliveryState, int]) -> "WebhookDeletionOut":
        """Return what deleting a webhook with so many deliveries would delete."""
        return cls(
            webhook_id=webhook.id,
            url=webhook.url,
            deliveries=sum(deliveries.values()),
            waiting=deliveries.get(DeliveryState.PENDING, 0),
        )
