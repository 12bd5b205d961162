"""Webhooks of crawls and batches: the receivers of a job, with messages in Firecrawl's format."""

import hmac
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from crawlyard.bridges.firecrawl.options import Form
from crawlyard.core.webhooks.webhook import MessageFormat
from crawlyard.errors import Invalid

_PAGE = "page"
_EVENTS = {
    "started": ("job.started",),
    _PAGE: (),
    "completed": ("job.completed",),
    "failed": ("job.failed", "job.cancelled"),
}
"""Events of a job for each word of a request; all of them if it names none."""


def webhooks_of(request: Request, options: dict[str, Any], messages: MessageFormat) -> Form:
    """Remove the webhook from *options*, and return it as a field of a job.

    Raises:
        Invalid: it is malformed, or would get other messages than it asks for.
    """
    webhook = options.pop("webhook", None)
    if webhook is None:
        return {}
    if isinstance(webhook, str):
        webhook = {"url": webhook}
    if not isinstance(webhook, Mapping) or not isinstance(webhook.get("url"), str):
        raise Invalid("webhook", f"expected a URL, or an object with one, got {webhook!r:.80}")
    for name in webhook.keys() - {"url", "events", "metadata", "headers"}:
        raise Invalid(f"webhook.{name}", "not supported by this server; leave it out")
    words = webhook.get("events") or list(_EVENTS)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise Invalid("webhook.events", f"expected a list of words, got {words!r:.80}")
    if unknown := [word for word in words if word not in _EVENTS]:
        raise Invalid("webhook.events", f"expected {', '.join(_EVENTS)}, got {unknown[0]!r:.80}")
    receiver = {
        "url": webhook["url"],
        "events": [name for word in words for name in _EVENTS[word]],
        "metadata": webhook.get("metadata") or {},
        "format": messages.value,
        "pages": _PAGE in words,
        "headers": webhook.get("headers") or {},
        "secret": secret_of(request.headers["authorization"].partition(" ")[2].strip()),
    }
    return {"webhooks": [receiver]}


def secret_of(key: str) -> str:
    """Return the secret that signs the messages of jobs created with an API key.

    A request has no field for a secret, and a receiver cannot know that of each job.
    """
    return f"whsec_{b64encode(hmac.digest(key.encode(), b'webhook', 'sha256')).decode()}"
