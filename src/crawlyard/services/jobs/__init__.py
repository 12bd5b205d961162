"""Jobs: submitted, read, changed."""
