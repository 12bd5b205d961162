"""Commands on webhooks and notification channels."""
