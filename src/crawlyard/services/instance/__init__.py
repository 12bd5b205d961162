"""The instance: its version, vocabulary, schemas and metrics."""
