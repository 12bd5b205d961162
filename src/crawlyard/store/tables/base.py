"""What all tables share: how instants, durations and text are stored, and how keys are named."""

# ruff: noqa: ARG002  # SQLAlchemy passes the dialect, and no type here asks for it

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
from crawlyard.store.db.clean_text import clean, is_clean

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _microseconds(value: datetime | None) -> int | None:
    return None if value is None else (value - _EPOCH) // _MICROSECOND


def _instant(value: int | None) -> datetime | None:
    try:
        return None if value is None else _EPOCH + timedelta(microseconds=value)
    except (TypeError, OverflowError):  # damaged: one row must not keep others from being read
        return UNREADABLE


def cleaned(value: Any) -> str | None:
    """Return what is stored of a text."""
    if type(value) is str and is_clean(value):  # nearly always
        return value
    return None if value is None else clean(str(value))


class Instant(TypeDecorator[datetime]):
    """An aware instant as microseconds since 1970: sorts and compares alike everywhere.

    SQLite has no type for time, and its text forms sort wrongly once one of them
    lacks its fraction.
    """

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Return what is stored."""
        return _microseconds(value)

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], int | None]:
        """Return what `process_bind_param` does: SQLAlchemy's own takes twice as long."""
        return _microseconds

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Return the instant, in UTC."""
        return _instant(value)

    def result_processor(
        self, dialect: Dialect, coltype: object
    ) -> Callable[[int | None], datetime | None]:
        """Return what `process_result_value` does: SQLAlchemy's own takes twice as long."""
        return _instant


class Span(TypeDecorator[timedelta]):
    """A duration as microseconds."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: timedelta | None, dialect: Dialect) -> int | None:
        """Return what is stored."""
        return None if value is None else value // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> timedelta | None:
        """Return the duration."""
        return None if value is None else timedelta(microseconds=value)


class CleanText(TypeDecorator[str]):
    """Text without what a database refuses; words of an enum are taken as text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Return what is stored."""
        return cleaned(value)

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str | None]:
        """Return what `process_bind_param` does: SQLAlchemy's own takes twice as long."""
        return cleaned


Key = BigInteger().with_variant(Integer(), "sqlite")
"""A key that counts up by itself; on SQLite only INTEGER does."""

# Partial indexes have `sqlite_where` alone, which `sql/creation.py` applies on Postgres as well:
# `postgresql_where` would load its dialect for each yard on SQLite (17 ms).
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
    MetaData(),  # Alembic's own
    Column("version_num", String(32), primary_key=True),
)
"""The schema of a database, in its only row."""


@event.listens_for(Index, "after_parent_attach")
def _number(index: Index, table: Table) -> None:
    index.info["number"] = len(table.indexes)


def in_order(indexes: Iterable[Index]) -> list[Index]:
    """Return the indexes of a table in the order of their definitions.

    Of two equally good indexes, SQLite uses the one that was created later.
    """
    return sorted(indexes, key=lambda index: index.info["number"])
