"""Pages and URL outcomes of a crawl."""
