"""Rows of webhooks and their deliveries."""

import json
from typing import Any

from crawlyard.core.access.user import Grant
from crawlyard.core.webhooks.webhook import (
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    Secret,
    Webhook,
)
from crawlyard.store.codec.base import Row, decoder_of, to_json

_SECRETS = decoder_of(tuple[Secret, ...])
_ATTEMPTS = decoder_of(tuple[DeliveryAttempt, ...])


def webhook_row(webhook: Webhook) -> dict[str, Any]:
    """Return all columns of a row of `webhooks` except `since_seq`."""
    return {
        "id": webhook.id,
        "owner": webhook.owner,
        "url": webhook.url,
        "receiver": webhook.receiver,
        "description": webhook.description,
        "events": to_json(webhook.events),
        "secrets": to_json(webhook.secrets),
        "allow_addresses": to_json(webhook.allow_addresses),
        "by_grant": to_json(webhook.by_grant),
        "active": webhook.active,
        "disabled_reason": webhook.disabled_reason,
        "failing_since": webhook.failing_since,
        "failures": webhook.failures,
        "held_until": webhook.held_until,
        "job_id": webhook.job_id,
        "version": webhook.version,
        "created_at": webhook.created_at,
        "updated_at": webhook.updated_at,
    }


def webhook_of(row: Row) -> Webhook:
    """Return the webhook of a row of `webhooks`."""
    return Webhook(
        id=row["id"],
        owner=row["owner"],
        url=row["url"],
        description=row["description"],
        events=tuple(json.loads(row["events"])),
        secrets=_SECRETS.decode(row["secrets"]),
        allow_addresses=tuple(json.loads(row["allow_addresses"])),
        by_grant=tuple(Grant(word) for word in json.loads(row["by_grant"])),
        active=row["active"],
        disabled_reason=row["disabled_reason"],
        failing_since=row["failing_since"],
        failures=row["failures"],
        held_until=row["held_until"],
        job_id=row["job_id"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def delivery_row(delivery: Delivery) -> dict[str, Any]:
    """Return all columns of a row of `deliveries` except its key and lease."""
    return {
        "id": delivery.id,
        "webhook_id": delivery.webhook_id,
        "seq": delivery.seq,
        "name": delivery.name,
        "state": delivery.state.value,
        "attempts": to_json(delivery.attempts),
        "due_at": delivery.due_at,
        "created_at": delivery.created_at,
        "ended_at": delivery.ended_at,
    }


def delivery_of(row: Row) -> Delivery:
    """Return the delivery of a row of `deliveries`."""
    return Delivery(
        no=row["no"],
        id=row["id"],
        webhook_id=row["webhook_id"],
        seq=row["seq"],
        name=row["name"],
        state=DeliveryState(row["state"]),
        attempts=_ATTEMPTS.decode(row["attempts"]),
        due_at=row["due_at"],
        created_at=row["created_at"],
        ended_at=row["ended_at"],
    )
