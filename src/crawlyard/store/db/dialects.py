"""The SQL dialects; that of Postgres is loaded on first use, as it takes 17 ms."""

from typing import TYPE_CHECKING

from sqlalchemy.dialects import sqlite

from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.store.db import on_postgres as postgresql
else:
    postgresql = lazily("crawlyard.store.db.on_postgres")

__all__ = ["postgresql", "sqlite"]
