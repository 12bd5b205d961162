"""`crawlyard templates`."""
