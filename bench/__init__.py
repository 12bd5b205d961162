"""Measures of Crawlyard beside others; not part of the package."""
