"""The instance: its version, words, forms and metrics."""
