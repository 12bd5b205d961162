"""Schedules: edited, fired, backfilled."""
