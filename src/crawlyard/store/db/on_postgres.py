"""Constructs of SQLAlchemy's Postgres dialect; loaded through `dialects`."""

from sqlalchemy.dialects.postgresql import ARRAY, Insert, insert

__all__ = ["ARRAY", "Insert", "insert"]
