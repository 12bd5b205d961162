"""How webhooks and their deliveries are listed."""

from datetime import datetime

from msgspec import Struct

from crawlyard.cli.render import words
from crawlyard.cli.render.output import Column, View
from crawlyard.core.answers.base import as_dict
from crawlyard.core.answers.webhooks import DeliveryOut, NewSecretOut, WebhookOut


def state(webhook: WebhookOut) -> str:
    """Return whether a webhook is on, and whether it works."""
    if not webhook.active:
        return "off"
    return "on" if webhook.failing_since is None else "failing"


def webhooks_view(now: datetime) -> View[WebhookOut]:
    """Return the view of webhooks at *now*."""
    return View(
        key=lambda webhook: webhook.id,
        columns=(
            Column(name="STATE", value=state),
            Column(name="ID", value=lambda w: w.id, shown=lambda w: words.short(w.id)),
            Column(name="URL", value=lambda w: w.url, wide=True),
            Column(name="EVENTS", value=lambda w: ", ".join(w.events), wide=True),
            Column(name="OWNER", value=lambda w: w.owner, least=110),
            Column(
                name="AGE",
                value=lambda w: _rfc3339(w, "created_at"),
                shown=lambda w: words.ago(w.created_at, now),
                right=True,
                least=90,
            ),
            Column(name="DESCRIPTION", value=lambda w: w.description, wide=True, least=110),
        ),
    )


def deliveries_view(now: datetime) -> View[DeliveryOut]:
    """Return the view of deliveries at *now*."""
    return View(
        key=lambda delivery: delivery.id,
        columns=(
            Column(name="STATE", value=lambda d: d.state),
            Column(
                name="AT",
                value=lambda d: _rfc3339(d, "created_at"),
                shown=lambda d: words.clock(d.created_at, now),
            ),
            Column(name="EVENT", value=lambda d: d.event),
            Column(name="TRIES", value=lambda d: len(d.attempts), right=True),
            Column(name="STATUS", value=lambda d: d.attempts[-1].status if d.attempts else None),
            Column(
                name="TIME",
                value=lambda d: d.attempts[-1].latency_s if d.attempts else None,
                shown=lambda d: words.span(d.attempts[-1].latency_s) if d.attempts else "",
                right=True,
                least=90,
            ),
            Column(
                name="NEXT",
                value=lambda d: _rfc3339(d, "due_at") if d.due_at else None,
                shown=lambda d: words.clock(d.due_at, now) if d.due_at else "",
            ),
            Column(name="ID", value=lambda d: d.id, least=110),
            Column(name="SAID", value=_said, wide=True),
        ),
    )


def facts(webhook: WebhookOut) -> list[tuple[str, str]]:
    """Return what is worth knowing of a webhook, in the order of interest; nothing empty."""
    dumped = as_dict(webhook)
    told = {
        "id": webhook.id,
        "secret": webhook.secret if isinstance(webhook, NewSecretOut) else "",
        "state": state(webhook),
        "reason": webhook.disabled_reason,
        "failing since": dumped["failing_since"],
        "url": webhook.url,
        "events": ", ".join(webhook.events),
        "description": webhook.description,
        "opened": ", ".join(webhook.allow_addresses),
        "of job": webhook.job_id,
        "owner": webhook.owner,
        "two secrets until": dumped["rotated_until"],
        "created at": dumped["created_at"],
        "updated at": dumped["updated_at"],
    }
    return [(name, str(value)) for name, value in told.items() if value]


def _said(delivery: DeliveryOut) -> str:
    if not delivery.attempts:
        return ""
    last = delivery.attempts[-1]
    return " · ".join(part for part in (last.error, last.excerpt) if part)


def _rfc3339(item: Struct, field: str) -> str:
    """Return an instant as the API writes it."""
    return str(as_dict(item, {field})[field])
