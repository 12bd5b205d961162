"""Pace: how often each host is asked."""
