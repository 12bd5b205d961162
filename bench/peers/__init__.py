"""Crawls by others, each a small script of its own that imports nothing of ours."""
