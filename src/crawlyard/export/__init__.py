"""Export of a job's pages to files."""
