"""Schedules: when one is due, and what becomes of each instant."""
