"""A job's pages as files."""
