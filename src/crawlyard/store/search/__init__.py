"""Index of words in pages, and search in it."""
