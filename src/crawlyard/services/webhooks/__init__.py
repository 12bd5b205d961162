"""Webhooks: endpoints, signatures and delivery."""
