"""`crawlyard workers | hosts`."""
