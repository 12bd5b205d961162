"""Column types and naming conventions shared by all tables."""

# ruff: noqa: ARG002  # SQLAlchemy passes the dialect, and no type here needs it

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    event,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from crawlyard.store.codec.base import UNREADABLE
from crawlyard.store.db.clean_text import clean

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _microseconds(value: datetime | None) -> int | None:
    return None if value is None else (value - _EPOCH) // _MICROSECOND


def _instant(value: int | None) -> datetime | None:
    try:
        return None if value is None else _EPOCH + timedelta(microseconds=value)
    except (TypeError, OverflowError):  # damaged: one bad row must not fail the whole list
        return UNREADABLE


def clean_text(value: Any) -> str | None:
    """Return *value* as text that every database accepts; ``None`` stays ``None``."""
    if type(value) is str and value.isascii() and "\x00" not in value:
        return value  # `is_clean`, inlined: it would be called for each text of each row
    return None if value is None else clean(str(value))


class Instant(TypeDecorator[datetime]):
    """An aware instant as microseconds since 1970: sorts and compares the same everywhere.

    SQLite has no type for time, and its text forms sort wrongly if some values lack the
    fraction of a second.
    """

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Convert for the driver."""
        return _microseconds(value)

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], int | None]:
        """Return the function itself: SQLAlchemy's wrapper takes twice as long."""
        return _microseconds

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Return the instant, in UTC."""
        return _instant(value)

    def result_processor(
        self, dialect: Dialect, coltype: object
    ) -> Callable[[int | None], datetime | None]:
        """Return the function itself: SQLAlchemy's wrapper takes twice as long."""
        return _instant


class Span(TypeDecorator[timedelta]):
    """A duration as microseconds."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: timedelta | None, dialect: Dialect) -> int | None:
        """Convert for the driver."""
        return None if value is None else value // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> timedelta | None:
        """Convert from microseconds."""
        return None if value is None else timedelta(microseconds=value)


class CleanText(TypeDecorator[str]):
    """Text, cleaned of characters that a database refuses; enums and other values become text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Convert for the driver."""
        return clean_text(value)

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str | None]:
        """Return the function itself: SQLAlchemy's wrapper takes twice as long."""
        return clean_text


Key = BigInteger().with_variant(Integer(), "sqlite")
"""An auto-incrementing key; on SQLite only INTEGER does that."""

# Partial indexes have only `sqlite_where`, which `store/db/table_statements.py` applies on Postgres
# as well: `postgresql_where` would load that dialect for each instance on SQLite (17 ms).
metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)

versions = Table(
    "alembic_version",
    MetaData(),  # a separate one: the table belongs to Alembic
    Column("version_num", String(32), primary_key=True),
)
"""One row: the schema revision of the database."""


@event.listens_for(Index, "after_parent_attach")
def _number(index: Index, table: Table) -> None:
    index.info["number"] = len(table.indexes)


def in_order(indexes: Iterable[Index]) -> list[Index]:
    """Return the indexes of a table in the order of their definition.

    Of two equally good indexes, SQLite uses the one created later.
    """
    return sorted(indexes, key=lambda index: index.info["number"])
