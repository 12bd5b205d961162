"""Shapes of webhooks."""
