"""What a crawl meets: pages, and what became of each URL."""
