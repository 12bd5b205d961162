"""Webhooks: kept, signed, delivered."""
