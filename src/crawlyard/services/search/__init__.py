"""Search in the pages of all jobs, and its index."""
