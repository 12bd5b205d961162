"""Search in the pages of all jobs."""
