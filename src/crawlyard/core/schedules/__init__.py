"""Schedules: timetables, and the decision about each tick."""
