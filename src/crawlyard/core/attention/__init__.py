"""Attention: what needs a person."""
