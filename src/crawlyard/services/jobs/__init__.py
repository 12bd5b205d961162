"""Jobs: submission, reading and changes."""
