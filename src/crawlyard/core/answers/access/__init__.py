"""Shapes of users, tokens, settings and saved views."""
