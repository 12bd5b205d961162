"""`crawlyard crawl | jobs`."""
