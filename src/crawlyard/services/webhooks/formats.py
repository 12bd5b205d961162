"""Message formats: the headers and body of a request to a webhook."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeAlias

from msgspec import Struct

from crawlyard.core.events.event import Event
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


FORMATS: Mapping[MessageFormat, MessageEncoder] = {MessageFormat.STANDARD: standard}
