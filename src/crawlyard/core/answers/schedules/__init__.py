"""Shapes of schedules."""
