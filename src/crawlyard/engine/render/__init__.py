"""Rendering: pages as a browser sees them, whose requests all go through the job's fetcher."""
