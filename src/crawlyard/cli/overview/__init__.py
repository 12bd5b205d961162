"""`crawlyard events | stats | health | ops | pages | attention`."""
