"""Marks of a database that is the target of a copy: its source, and the position per table."""

from collections.abc import Mapping

from msgspec import Struct
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    MetaData,
    String,
    Table,
    Text,
    false,
    func,
    insert,
    not_,
    select,
    update,
)

from crawlyard.core.access.policy import SectionName
from crawlyard.core.access.user import LOCAL
from crawlyard.core.quantity import count_noun
from crawlyard.errors import Invalid, SchemaMismatch
from crawlyard.store.admin.content import STORED
from crawlyard.store.db.schema import UNFINISHED, migrate, mismatch, version_of
from crawlyard.store.search.index import clear
from crawlyard.store.tables import SCHEMA
from crawlyard.store.tables.access import users
from crawlyard.store.tables.base import versions
from crawlyard.store.tables.desk import settings
from crawlyard.store.tables.webhooks import cursors

BEGUN = ""
"""Position of a table of which nothing has been copied yet."""

MARKS = Table(
    "copy_marks",
    MetaData(),
    Column("name", String(64), primary_key=True),  # of a table; '' for the source
    Column("position", Text, nullable=False),  # key of the last row copied; '': label of the source
)

_SOURCE = ""


class OverwriteTerms(Struct, frozen=True, kw_only=True):
    """Permissions over the existing content of a target."""

    field: str  # the option or field that names the target, for messages
    restart: bool = False  # delete the rows of an unfinished copy instead of resuming it
    replace: bool = False  # delete any content
    hint: str = ""  # appended to the message: how to request *replace*


def mark(conn: Connection, name: str, source: str, terms: OverwriteTerms) -> None:
    """Mark the database *name* as the target of a copy from *source*, or resume such a copy.

    From then on no process can open it until `unmark`.

    Raises:
        Invalid: it has content that the terms do not allow to be deleted.
        SchemaMismatch: it does not have the tables of this program.
    """
    version = version_of(conn)
    if version in (None, SCHEMA):
        migrate(conn, name)  # also locks others out until the transaction ends
        version = version_of(conn)
    if version == UNFINISHED:
        label = conn.scalar(select(MARKS.c.position).where(MARKS.c.name == _SOURCE))
        if label == source and not terms.restart:
            return
        if not (terms.restart or terms.replace):
            expected = f"expected to resume the unfinished copy of {label}, or --restart"
            raise Invalid(terms.field, expected)
    elif version == SCHEMA:
        counts = row_counts(conn)
        if counts and not terms.replace:
            expected = f"expected an empty database, got {in_words(counts)}"
            raise Invalid(terms.field, f"{expected}{terms.hint}")
    else:
        raise SchemaMismatch(mismatch(name, version))
    _begin(conn, source)


def unmark(conn: Connection) -> None:
    """Remove the marks of a complete copy, so that the database can be opened again."""
    MARKS.drop(conn)
    conn.execute(update(versions).values(version_num=SCHEMA))


def row_counts(conn: Connection) -> Mapping[str, int]:
    """Return the row counts of non-empty tables, without the rows a database is created with.

    The tables must be those of this program.
    """
    counts = {}
    for name, of in STORED.items():
        own = _INITIAL_ROWS.get(name, false())
        counts[name] = conn.scalar(select(func.count()).select_from(of.of).where(not_(own))) or 0
    return {name: count for name, count in counts.items() if count}


def in_words(counts: Mapping[str, int]) -> str:
    """Format the result of `row_counts` for a message."""
    return ", ".join(f"{count_noun(count, 'row')} in {table}" for table, count in counts.items())


_INITIAL_ROWS: Mapping[str, ColumnElement[bool]] = {
    "users": users.c.id == LOCAL.id,
    "cursors": cursors.c.name.is_not(None),  # all: they hold the position in the events
    "settings": (settings.c.name == SectionName.SHARING.value) & (settings.c.version == 1),
}
"""The rows that databases are created with: they exist in a database that was never used."""


def _begin(conn: Connection, source: str) -> None:
    MARKS.drop(conn, checkfirst=True)
    MARKS.create(conn)
    for of in reversed(list(STORED.values())):
        conn.execute(of.plain.delete())
    clear(conn)  # the copied pages are indexed once the copy is in use
    positions = {_SOURCE: source, **dict.fromkeys(STORED, BEGUN)}
    conn.execute(insert(MARKS), [{"name": n, "position": p} for n, p in positions.items()])
    conn.execute(update(versions).values(version_num=UNFINISHED))
