"""Webhooks and deliveries as rows."""
