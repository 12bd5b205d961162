"""`crawlyard users | tokens | settings`."""
