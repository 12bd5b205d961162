"""Tables of templates: their current state, and all their versions."""

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
)

from crawlyard.store.tables.base import CleanText, Instant, metadata

templates = Table(
    "templates",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("owner", CleanText, nullable=False),
    Column("name", CleanText, nullable=False),
    Column("search", CleanText, nullable=False),  # name and description, case-folded
    Column("public", Boolean, nullable=False),
    Column("version", Integer, nullable=False),  # the latest
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("owner", "name"),
)

template_versions = Table(
    "template_versions",
    metadata,
    Column("template_id", ForeignKey("templates.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("name", CleanText, nullable=False),
    Column("description", CleanText, nullable=False),
    Column("public", Boolean, nullable=False),
    Column("spec", CleanText, nullable=False),  # JSON
    Column("parameters", CleanText, nullable=False),  # JSON
    Column("updated_at", Instant, nullable=False),
    Column("actor", CleanText, nullable=False),
    Column("trusted", Boolean, nullable=False),
    PrimaryKeyConstraint("template_id", "version"),
)
