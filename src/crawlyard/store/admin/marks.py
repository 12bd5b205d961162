"""Marks of a database that a copy is being written to: its source, and how far each table is."""

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

from crawlyard.core.access.user import LOCAL
from crawlyard.core.quantity import counted
from crawlyard.errors import Invalid, SchemaMismatch
from crawlyard.store.admin.content import STORED
from crawlyard.store.db.schema import UNFINISHED, migrate, mismatch, version_of
from crawlyard.store.search.index import clear
from crawlyard.store.tables import SCHEMA
from crawlyard.store.tables.access import users
from crawlyard.store.tables.base import versions
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


class Terms(Struct, frozen=True, kw_only=True):
    """What may be done to the existing content of a target."""

    field: str  # the option or field that names the target, for messages
    restart: bool = False  # delete what an unfinished copy left, rather than resume it
    replace: bool = False  # delete whatever is there
    hint: str = ""  # appended to the message: how to request *replace*


def mark(conn: Connection, name: str, source: str, terms: Terms) -> None:
    """Mark the database *name* as the target of a copy from *source*, or resume such a copy.

    From then on nobody else can open it until `unmark`.

    Raises:
        Invalid: it has content that the terms do not allow to be deleted.
        SchemaMismatch: it does not have the tables of this program.
    """
    version = version_of(conn)
    if version in (None, SCHEMA):
        migrate(conn, name)  # also locks others out until the transaction ends
        version = version_of(conn)
    if version == UNFINISHED:
        begun = conn.scalar(select(MARKS.c.position).where(MARKS.c.name == _SOURCE))
        if begun == source and not terms.restart:
            return
        if not (terms.restart or terms.replace):
            said = f"expected a copy of {begun} to be gone on with, or --restart"
            raise Invalid(terms.field, said)
    elif version == SCHEMA:
        found = held(conn)
        if found and not terms.replace:
            said = f"expected an empty database, got {listing(found)}"
            raise Invalid(terms.field, f"{said}{terms.hint}")
    else:
        raise SchemaMismatch(mismatch(name, version))
    _begin(conn, source)


def unmark(conn: Connection) -> None:
    """Remove the marks of a complete copy, so that everybody can open the database."""
    MARKS.drop(conn)
    conn.execute(update(versions).values(version_num=SCHEMA))


def held(conn: Connection) -> Mapping[str, int]:
    """Return the row counts of non-empty tables, without the rows a database is created with.

    The tables must be those of this program.
    """
    counts = {}
    for name, of in STORED.items():
        own = _MADE_WITH.get(name, false())
        counts[name] = conn.scalar(select(func.count()).select_from(of.of).where(not_(own))) or 0
    return {name: count for name, count in counts.items() if count}


def listing(found: Mapping[str, int]) -> str:
    """Return the result of `held` in words."""
    return ", ".join(f"{counted(count, 'row')} in {table}" for table, count in found.items())


_MADE_WITH: Mapping[str, ColumnElement[bool]] = {
    "users": users.c.id == LOCAL.id,
    "cursors": cursors.c.name.is_not(None),  # all: they hold the position in the events
}
"""The rows that databases are created with: they exist in a database that was never used."""


def _begin(conn: Connection, source: str) -> None:
    MARKS.drop(conn, checkfirst=True)
    MARKS.create(conn)
    for of in reversed(list(STORED.values())):
        conn.execute(of.plain.delete())
    clear(conn)  # what is copied is indexed once the copy is in use
    positions = {_SOURCE: source, **dict.fromkeys(STORED, BEGUN)}
    conn.execute(insert(MARKS), [{"name": n, "position": p} for n, p in positions.items()])
    conn.execute(update(versions).values(version_num=UNFINISHED))
