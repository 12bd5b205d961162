"""One SQLAlchemy Core implementation for SQLite and Postgres."""
