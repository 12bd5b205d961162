"""Databases: connections, transactions, schema, statements of many rows."""
