"""Queries of what needs attention."""
