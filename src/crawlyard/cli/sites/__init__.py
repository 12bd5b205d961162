"""Logins at sites, and the sessions that they make."""
