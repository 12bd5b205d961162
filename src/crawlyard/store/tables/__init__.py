"""Database schema, the same for SQLite and Postgres; `migrations/` upgrades older databases."""

SCHEMA = "0136"
"""The last revision in `migrations/versions`; new databases are created with it."""

UPGRADABLE = ("0121", "0126", "0127", "0128", "0130", "0132", "0131", "0133", "0134", "0135")
"""Older schemas that `migrations/versions` has a revision of, oldest first."""
