"""robots.txt: parsing, caching, fetching."""
