"""`crawlyard db`."""
