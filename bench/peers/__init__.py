"""Crawls by other tools, each a small script that does not import Crawlyard."""
