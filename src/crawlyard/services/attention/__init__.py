"""Attention: problems that need a person."""
