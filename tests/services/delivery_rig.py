"""Helpers for tests of deliveries."""

from datetime import timedelta

from crawlyard.core.webhooks.webhook import (
    Delivery,
    Webhook,
)

SOON = timedelta(milliseconds=250)


def secret_of(webhook: Webhook) -> str:
    return webhook.secrets[0].value


def words(delivery: Delivery) -> list[tuple[int | None, str]]:
    return [(a.status, a.error) for a in delivery.attempts]
