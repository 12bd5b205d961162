"""Crawl engine: crawls one job, without knowing the queue or the database."""
