"""Endpoints: declarations, schemas, errors and stream messages."""
