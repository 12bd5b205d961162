"""Database commands: copy, back up, restore, check and upgrade whole databases.

Besides `yard`, this is the only module that names store backends. Nothing here opens a yard, and
all functions block: they are for commands that do nothing else.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from crawlyard.clock import Clock
from crawlyard.config import Settings
from crawlyard.errors import Conflict, Invalid, NotFound
from crawlyard.services.workers.reporting import ALIVE
from crawlyard.store.admin.copy import (
    CopiedTable,
    CopyProgress,
    OnProgress,
    copy,
    copy_backup,
    save,
)
from crawlyard.store.admin.files import check_backup, fold_wal, publish_file, restore_file, snapshot
from crawlyard.store.admin.looks import DatabaseReport, TableSize, check_database, vacuum
from crawlyard.store.admin.marks import OverwriteTerms, in_words, row_counts
from crawlyard.store.admin.place import DATABASE, DatabaseLocation, reading, writing
from crawlyard.store.db.schema import migrate, mismatch, version_of
from crawlyard.store.open import clock_offset
from crawlyard.store.tables import SCHEMA
from crawlyard.store.tables.watch import workers

__all__ = [
    "DATABASE",
    "SCHEMA",
    "CopiedTable",
    "CopyProgress",
    "DatabaseLocation",
    "DatabaseReport",
    "OnProgress",
    "SavedDatabase",
    "TableSize",
    "Upgrade",
    "alive",
    "backup",
    "check_database",
    "copy_database",
    "mismatch",
    "now_at",
    "place_of",
    "restore",
    "upgrade",
    "vacuum",
]


class SavedDatabase(Struct, frozen=True, kw_only=True):
    """A finished backup."""

    bytes: int
    version: str  # version of its schema


class Upgrade(Struct, frozen=True, kw_only=True):
    """The schema before and after an upgrade."""

    before: str | None  # None: there were no tables
    after: str


def place_of(settings: Settings) -> DatabaseLocation:
    """Return the location of the database for *settings*.

    Raises:
        Invalid: the database does not outlive its process.
    """
    if not settings.database_url:
        return DatabaseLocation.of(settings.data_dir / DATABASE)
    place = DatabaseLocation.of(settings.database_url)
    if place.file is None and settings.database_direct_url:
        # a connection pooler may end a session that holds a snapshot for long
        return DatabaseLocation.of(settings.database_direct_url)
    return place


def now_at(place: DatabaseLocation, clock: Clock) -> datetime:
    """Return the current time at *place*, whose clock may differ from this machine's.

    Raises:
        StoreUnavailable: it cannot be reached.
    """
    if place.file is not None:
        return clock.now()
    url = place.url.render_as_string(hide_password=False)
    return clock.now() + asyncio.run(clock_offset(url, clock))


def copy_database(
    source: DatabaseLocation,
    target: DatabaseLocation,
    now: datetime,
    tell: OnProgress,
    *,
    restart: bool,
    force: bool,
) -> Sequence[CopiedTable]:
    """Copy *source* to *target*, which must be empty or contain the start of the same copy.

    With *restart*, that start is discarded. With *force*, workers may be alive, and their changes
    from now on are not copied.

    Raises:
        NotFound: the source does not exist.
        Invalid: the target is the source, or contains something else.
        Conflict: workers are alive on the source.
        SchemaMismatch: a database does not have the tables of this program.
        StoreUnavailable: a database cannot be used.
    """
    if source.label == target.label:
        raise Invalid("--to", "expected another database than --from")
    if not force:
        _check_no_workers(source, now)
    return copy(source, target, OverwriteTerms(field="--to", restart=restart), tell)


def backup(source: DatabaseLocation, file: Path, tell: OnProgress, *, force: bool) -> SavedDatabase:
    """Save the current state of *source* to *file*.

    Processes that use the source keep working meanwhile. With *force*, an existing file is replaced
    once the new one is complete.

    Raises:
        NotFound: the source does not exist.
        Invalid: the file exists already.
        SchemaMismatch: the source has tables that this program does not know.
        StoreUnavailable: the source cannot be read, or the file not written.
        OSError: the file cannot be written.
    """
    if source.file is not None and file.exists() and file.samefile(source.file):
        raise Invalid("FILE", "expected another file than the database itself")
    with publish_file(file, replace=force) as part:
        if source.file is not None:
            with reading(source):
                snapshot(source.file, part, tell)
        else:
            save(source, DatabaseLocation.of(part), tell)
        fold_wal(part)
        return SavedDatabase(version=check_backup(part, source.name), bytes=part.stat().st_size)


def restore(
    file: Path, target: DatabaseLocation, now: datetime, tell: OnProgress, *, force: bool
) -> SavedDatabase:
    """Restore *target* from the backup *file*, which may be of another database.

    With *force*, the current contents of the target are discarded. A backup with an older schema is
    upgraded.

    Raises:
        NotFound: there is no such file.
        Invalid: the target already contains something.
        Conflict: workers are alive on the target.
        SchemaMismatch: the file was written by a Crawlyard with another schema, or by another
            program.
        StoreUnavailable: the file is damaged, or the target cannot be used.
    """
    version = check_backup(file, f"the backup {file}")
    if target.file is not None and target.file.exists():
        if target.file.samefile(file):
            raise Invalid("FILE", "expected another file than the database itself")
        _check_no_workers(target, now)
    if target.file is None:
        _check_no_workers(target, now)
        with _up_to_date(file, version) as place:
            terms = OverwriteTerms(
                field="database_url", replace=force, hint=" (--force replaces it)"
            )
            copy_backup(place, DatabaseLocation.of(file).label, target, terms, tell)
    else:
        if not force:
            _check_empty(target)
        # upgrade first: if the upgrade failed after the copy, the target would be lost
        with _up_to_date(file, version) as place:
            restore_file(place.file or file, target.file, tell)
    return SavedDatabase(version=version, bytes=file.stat().st_size)


def upgrade(place: DatabaseLocation) -> Upgrade:
    """Upgrade the tables of the database at *place*, or create those of an empty one.

    Raises:
        NotFound: there is no such file.
        SchemaMismatch: they cannot be upgraded, or the database is an unfinished copy.
        StoreUnavailable: it cannot be used.
    """
    if place.file is not None and not place.file.is_file():
        raise NotFound(
            f"there is no database {place.file} to upgrade; the first job, worker or server "
            "creates one"
        )
    with writing(place) as opened, opened.transaction() as write:
        before = version_of(write)
        migrate(write, opened.name)
    return Upgrade(before=before, after=SCHEMA)


def alive(place: DatabaseLocation, now: datetime) -> Sequence[str]:
    """Return the workers that have recently reported from the database at *place*.

    Raises:
        NotFound, StoreUnavailable: it cannot be read.
    """
    with reading(place) as opened, opened.transaction() as read:
        if version_of(read) != SCHEMA:
            return ()
        lately = workers.select().where(workers.c.beat_at >= now - ALIVE)
        return [row.id for row in read.execute(lately.order_by(workers.c.id))]


def _check_no_workers(place: DatabaseLocation, now: datetime) -> None:
    worker_ids = alive(place, now)
    if worker_ids:
        raise Conflict(
            f"{place.name} has live workers ({', '.join(worker_ids)}); stop them first "
            f"(a killed worker counts as live for {ALIVE.total_seconds():.0f} s)"
        )


def _check_empty(place: DatabaseLocation) -> None:
    if place.file is None or not place.file.exists():
        return
    with reading(place) as opened, opened.transaction() as read:
        version = version_of(read)
        contents = row_counts(read) if version == SCHEMA else {}
    if contents or version not in (None, SCHEMA):
        description = in_words(contents) or f"schema {version}"
        raise Invalid(
            "--data-dir", f"expected an empty one, got {description} (--force replaces it)"
        )


@contextmanager
def _up_to_date(file: Path, version: str) -> Iterator[DatabaseLocation]:
    """Yield a backup with the tables of this program: the file, or a temporary upgraded copy."""
    if version == SCHEMA:
        yield DatabaseLocation.of(file)
        return
    with tempfile.TemporaryDirectory(prefix="crawlyard-") as folder:
        place = DatabaseLocation.of(Path(shutil.copy(file, Path(folder) / DATABASE)))
        upgrade(place)
        yield place
