"""Firecrawl's API, version 2."""
