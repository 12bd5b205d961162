"""Logins at sites, and their sessions."""
