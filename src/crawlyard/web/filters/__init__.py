"""Filters in URLs."""
