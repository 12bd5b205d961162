"""`crawlyard serve | work | demo`."""
