"""Shapes of templates."""
