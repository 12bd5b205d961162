"""Message formats: the headers and body of a request to a webhook."""

import hmac
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import TypeAlias

from msgspec import Struct

from crawlyard.core.events.event import Event, EventName
from crawlyard.core.webhooks.webhook import (
    Delivery,
    MessageFormat,
    Webhook,
    encode_message,
    message,
)
from crawlyard.services.webhooks.signing import sign_body


class OutgoingMessage(Struct, frozen=True, kw_only=True):
    """An event on its way to a webhook."""

    webhook: Webhook
    delivery: Delivery
    event: Event
    now: datetime
    wall: datetime  # of the wall clock: the receiver compares timestamps with its own
    public_url: str  # of the dashboard; empty: there are no links


class RequestContent(Struct, frozen=True, kw_only=True):
    """Headers and body of one POST; without `Content-Type`, the body is JSON."""

    headers: Mapping[str, str] = {}
    body: bytes


MessageEncoder: TypeAlias = Callable[[OutgoingMessage], RequestContent]


def standard(outgoing: OutgoingMessage) -> RequestContent:
    """Return signed JSON, as Standard Webhooks specifies."""
    webhook = outgoing.webhook
    body = encode_message(message(outgoing.event, outgoing.public_url, webhook.metadata))
    keys = webhook.signing(outgoing.now)
    headers = sign_body(outgoing.delivery.id, outgoing.wall, body, keys)
    return RequestContent(headers=headers, body=body)


def firecrawl(kind: str, outgoing: OutgoingMessage) -> RequestContent:
    """Return JSON as Firecrawl's API sends it about a *kind* of job, with its signature as well.

    The job is "failed" if it was cancelled: receivers know no other end.
    """
    webhook, event = outgoing.webhook, outgoing.event
    word = event.name.partition(".")[2]
    is_failure = event.name in {EventName.FAILED, EventName.CANCELLED}
    content = {
        "success": not is_failure,
        "type": f"{kind}.{'failed' if is_failure else word}",
        "id": event.job_id or event.subject,
        "webhookId": outgoing.delivery.id,
        "data": [],
        "metadata": dict(webhook.metadata),
    }
    if is_failure:
        content["error"] = f"{word}: {event.data['detail'] or event.data['reason']}"[:_MAX_ERROR]
    body = json.dumps(content, separators=(",", ":")).encode()
    keys = webhook.signing(outgoing.now)
    signature = hmac.digest(keys[0].encode(), body, "sha256").hex()
    headers = sign_body(outgoing.delivery.id, outgoing.wall, body, keys)
    return RequestContent(
        headers={**headers, "X-Firecrawl-Signature": f"sha256={signature}"}, body=body
    )


_MAX_ERROR = 2_000  # characters

FORMATS: Mapping[MessageFormat, MessageEncoder] = {
    MessageFormat.STANDARD: standard,
    MessageFormat.FIRECRAWL_CRAWL: partial(firecrawl, "crawl"),
    MessageFormat.FIRECRAWL_BATCH: partial(firecrawl, "batch_scrape"),
}
