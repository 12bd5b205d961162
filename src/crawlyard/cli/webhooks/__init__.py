"""`crawlyard webhooks`."""
