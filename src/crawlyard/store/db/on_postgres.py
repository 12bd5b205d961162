"""What only statements for Postgres are made of; see `dialects`."""

from sqlalchemy.dialects.postgresql import ARRAY, Insert, insert

__all__ = ["ARRAY", "Insert", "insert"]
