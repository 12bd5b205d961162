"""Schedules and their ledger as rows."""
