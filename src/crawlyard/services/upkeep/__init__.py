"""Upkeep: retention, disk space and clock."""
