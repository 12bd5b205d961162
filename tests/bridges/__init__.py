"""Bridges: protocols of other programs."""
