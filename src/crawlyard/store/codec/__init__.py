"""Conversion between records and rows: which fields are columns, JSON, or compressed."""
