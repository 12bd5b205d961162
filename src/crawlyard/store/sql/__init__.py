"""One SQLAlchemy Core implementation for SQLite and Postgres."""

from crawlyard.store.sql.dues import NOBODY, Heralds
from crawlyard.store.sql.open import check_direct_url, clock_offset, open_sql_store

__all__ = ["NOBODY", "Heralds", "check_direct_url", "clock_offset", "open_sql_store"]
