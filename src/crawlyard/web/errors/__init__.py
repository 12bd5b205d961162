"""Answers that are errors, and the pages that explain them."""
