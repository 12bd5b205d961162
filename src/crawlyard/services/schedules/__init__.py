"""Schedules: editing, firing and backfills."""
