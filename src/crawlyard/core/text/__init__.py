"""Text of pages: pure functions on it."""
