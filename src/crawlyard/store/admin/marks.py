"""What stands in a database while a copy into it is under way."""

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
from crawlyard.store.tables import SCHEMA
from crawlyard.store.tables.access import users
from crawlyard.store.tables.base import versions
from crawlyard.store.tables.webhooks import cursors

BEGUN = ""
"""The position of a table of which nothing was copied yet."""

MARKS = Table(
    "copy_marks",
    MetaData(),
    Column("name", String(64), primary_key=True),  # of a table; of the source: ''
    Column("position", Text, nullable=False),  # the key of the last row that was copied
)

_SOURCE = ""


class Terms(Struct, frozen=True, kw_only=True):
    """What may become of what a target holds already."""

    field: str  # what names the target, for messages
    restart: bool = False  # delete what an unfinished copy left there, rather than go on with it
    replace: bool = False  # delete whatever is there
    hint: str = ""  # how one asks for that


def mark(conn: Connection, name: str, source: str, terms: Terms) -> None:
    """Make the database *name* the target of a copy from *source*, or go on with such a copy.

    From then on it is opened by nobody else until `unmark`.

    Raises:
        Invalid: it holds something that the terms do not give up.
        SchemaMismatch: it has not the tables of this program.
    """
    version = version_of(conn)
    if version in (None, SCHEMA):
        migrate(conn, name)  # keeps others out as well, until the transaction ends
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
    """Open the database to everybody: it is complete."""
    MARKS.drop(conn)
    conn.execute(update(versions).values(version_num=SCHEMA))


def held(conn: Connection) -> Mapping[str, int]:
    """Return how many rows there are of each table that has any but those it was made with.

    The tables must be those of this program.
    """
    counts = {}
    for name, of in STORED.items():
        own = _MADE_WITH.get(name, false())
        counts[name] = conn.scalar(select(func.count()).select_from(of.of).where(not_(own))) or 0
    return {name: count for name, count in counts.items() if count}


def listing(found: Mapping[str, int]) -> str:
    """Return what `held` found, in words."""
    return ", ".join(f"{counted(count, 'row')} in {table}" for table, count in found.items())


_MADE_WITH: Mapping[str, ColumnElement[bool]] = {
    "users": users.c.id == LOCAL.id,
    "cursors": cursors.c.name.is_not(None),  # all: they say how far events were looked at
}
"""The rows that databases are created with: nobody has to have been here."""


def _begin(conn: Connection, source: str) -> None:
    MARKS.drop(conn, checkfirst=True)
    MARKS.create(conn)
    for of in reversed(list(STORED.values())):
        conn.execute(of.plain.delete())
    positions = {_SOURCE: source, **dict.fromkeys(STORED, BEGUN)}
    conn.execute(insert(MARKS), [{"name": n, "position": p} for n, p in positions.items()])
    conn.execute(update(versions).values(version_num=UNFINISHED))
