"""Database transfer: copies between locations, and from and to backup files."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import text

from crawlyard.errors import SchemaMismatch
from crawlyard.store.admin.copy import MOST_ROWS, CopiedTable, Copier, Tell
from crawlyard.store.admin.marks import Terms, mark
from crawlyard.store.admin.place import BUSY_S, DatabaseLocation, Opened, reading, telling, writing
from crawlyard.store.db.database import create_file
from crawlyard.store.db.schema import mismatch, version_of
from crawlyard.store.tables import SCHEMA


def copy(
    source: DatabaseLocation,
    target: DatabaseLocation,
    terms: Terms,
    tell: Tell,
    *,
    most_rows: int = MOST_ROWS,
) -> Sequence[CopiedTable]:
    """Copy all content of *source* as of now to *target*; return the tables copied.

    If it is interrupted, the same call resumes it.

    Raises:
        NotFound: there is no source.
        Invalid: the target has other content.
        SchemaMismatch: one of them does not have the tables of this program.
        StoreUnavailable: one of them cannot be used.
    """
    return _copied(source, target, source.label, terms, tell, most_rows=most_rows)


def copy_of(
    file: DatabaseLocation, called: str, target: DatabaseLocation, terms: Terms, tell: Tell
) -> Sequence[CopiedTable]:
    """Copy a backup, upgraded to the current schema, under the source label *called*."""
    return _copied(file, target, called, terms, tell, most_rows=MOST_ROWS)


def save(source: DatabaseLocation, part: DatabaseLocation, tell: Tell) -> None:
    """Copy *source* to a new file, which is discarded if this fails.

    Raises:
        SchemaMismatch, StoreUnavailable: as for `copy`.
    """
    _copied(source, part, source.label, Terms(field="FILE"), tell, kept=False)


def _copied(
    source: DatabaseLocation,
    target: DatabaseLocation,
    called: str,
    terms: Terms,
    tell: Tell,
    *,
    most_rows: int = MOST_ROWS,
    kept: bool = True,
) -> Sequence[CopiedTable]:
    with reading(source) as here, here.transaction() as read:
        version = version_of(read)
        if version != SCHEMA:
            raise SchemaMismatch(mismatch(here.name, version))
        made(target)
        with writing(target, kept=kept) as there:
            with there.transaction() as write:
                mark(write, there.name, called, terms)
            copied = Copier(read, there, tell, most_rows).run()
            if target.file is None:
                _analyze(there)
    return copied


def made(place: DatabaseLocation) -> None:
    """Create the file of a SQLite database if there is none.

    Raises:
        StoreUnavailable: it cannot be created.
    """
    if place.file is not None:
        with telling(place.name):
            create_file(place.file, timedelta(seconds=BUSY_S))


def _analyze(there: Opened) -> None:
    """Update the statistics of Postgres: until then, it plans queries as for empty tables."""
    with there.transaction() as write:
        write.execute(text("ANALYZE"))
