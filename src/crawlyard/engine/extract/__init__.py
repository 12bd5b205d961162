"""What is read out of a page."""
