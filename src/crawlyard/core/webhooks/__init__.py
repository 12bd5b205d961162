"""Webhooks: subscribers, messages, delivery limits."""
