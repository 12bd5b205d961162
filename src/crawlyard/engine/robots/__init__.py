"""robots.txt: parsing, caching and fetching."""
