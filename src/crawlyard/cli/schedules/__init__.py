"""`crawlyard schedules`."""
