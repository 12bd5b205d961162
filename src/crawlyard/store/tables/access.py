"""Tables of users, their credentials, their sessions at sites, and their usage per day."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
)

from crawlyard.store.tables.base import CleanText, Instant, Key, metadata

users = Table(
    "users",
    metadata,
    Column("id", CleanText, primary_key=True),
    Column("role", String(16), nullable=False),
    Column("quota", CleanText, nullable=False),  # JSON
    Column("limited", Boolean, nullable=False),  # the quota may hold back claims
    Column("disabled_at", Instant),
    Column("version", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
)

LIMITED = users.c.limited.is_(True)

credentials = Table(
    "credentials",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("label", CleanText, nullable=False),
    Column("prefix", String(16), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("permits", CleanText),  # JSON; NULL: all permits of the role
    Column("parent_id", String(36)),
    Column("target", CleanText),  # JSON; NULL: neither a trigger nor a share link
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("used_at", Instant),
    Column("revoked_at", Instant),
    UniqueConstraint("digest"),
)

Index("credentials_user", credentials.c.user_id, credentials.c.id)
Index(
    "credentials_parent",
    credentials.c.parent_id,
    sqlite_where=credentials.c.parent_id.is_not(None),
)

site_sessions = Table(
    "site_sessions",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("owner", CleanText, nullable=False),
    Column("name", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("url", CleanText, nullable=False),
    Column("user", CleanText, nullable=False),
    Column("submit", CleanText, nullable=False),
    Column("fields", CleanText, nullable=False),  # JSON
    Column("origins", CleanText, nullable=False),  # JSON
    Column("cookies", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("made_at", Instant, nullable=False),
    Column("used_at", Instant),
    Column("used_by", String(36)),
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("owner", "name"),
)


instance_keys = Table(  # one row, if the settings have no key
    "instance_keys",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("key", String(64), nullable=False),
)


def _usage_columns() -> tuple[Column[Any], ...]:
    """Return the columns of what an owner used on a day."""
    return (
        Column("owner", CleanText, nullable=False),
        Column("day", Date, nullable=False),  # UTC
        Column("pages", BigInteger, nullable=False),
        Column("bytes", BigInteger, nullable=False),
        Column("errors", BigInteger, nullable=False),
    )


days = Table("days", metadata, *_usage_columns(), PrimaryKeyConstraint("owner", "day"))

# On Postgres, checkpoints append rows here, which are added up later: if they updated the day
# itself, those of one owner would all wait for the lock of one row.
day_steps = Table("day_steps", metadata, Column("no", Key, primary_key=True), *_usage_columns())
