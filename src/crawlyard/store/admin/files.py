"""Backup files: saved from a database in use, checked, and restored."""

import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

from crawlyard.errors import Invalid, NotFound, SchemaMismatch, StoreUnavailable
from crawlyard.store.admin.copy import CopyProgress, OnProgress
from crawlyard.store.admin.place import BUSY_S, name_errors
from crawlyard.store.db.database import create_file
from crawlyard.store.db.schema import is_upgradable, mismatch
from crawlyard.store.tables import SCHEMA
from crawlyard.store.tables.every import metadata

_AT_ONCE = 2048  # pages: 8 MiB

_FIRST_TABLES = {"users", "jobs", "shards", "frontier", "pages", "events"}
"""Tables that every schema so far has had."""

_SUFFIXES = ("", "-journal", "-wal", "-shm", ".lock")
"""Suffixes of the files that may belong to one database."""


@contextmanager
def publish_file(file: Path, *, replace: bool) -> Iterator[Path]:
    """Yield the path of a new, empty file, which is renamed to *file* when the block succeeds.

    If the block fails, *file* is left as it was.

    Raises:
        Invalid: *file* exists and is not to be replaced, or is not a regular file.
        OSError: it cannot be written; its filename is *file*.
    """
    if (file.exists() or file.is_symlink()) and not replace:
        raise Invalid(
            "FILE", f"expected a new file, got {file}, which exists (--force replaces it)"
        )
    if file.exists() and not file.is_file():  # a folder or a device would be lost
        raise Invalid("FILE", f"expected a file, got {file}, which is something else")
    here = f".{file.name}.{socket.gethostname()}."
    _sweep(file.parent, here)
    part = file.with_name(f"{here}{os.getpid()}.part")
    try:
        # readable by the owner alone: it holds token digests and webhook secrets
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield part
        _sync(part)
        part.replace(file)
        _sync(file.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error
    finally:
        _remove(part)


def snapshot(source: Path, part: Path, on_progress: OnProgress) -> None:
    """Copy a SQLite database as of this moment, without blocking those who write to it.

    Raises:
        StoreUnavailable: a file cannot be read or written.
    """
    with closing(_connect(source, "rw")) as here, closing(sqlite3.connect(part)) as there:
        with name_errors(f"the database {source}"):
            here.execute("BEGIN")
            # This read fixes the snapshot. Without it, each transaction of others would make
            # the backup start over.
            here.execute("SELECT count(*) FROM sqlite_master").fetchone()
        with name_errors(f"the backup {part}"):
            there.execute("PRAGMA synchronous=OFF")  # it is synced once complete
            here.backup(there, pages=_AT_ONCE, progress=_progress_callback("saving", on_progress))


def fold_wal(part: Path) -> None:
    """Fold the WAL of a backup into its file, so that it is a single file.

    Raises:
        StoreUnavailable: it cannot be written.
    """
    with name_errors(f"the backup {part}"), closing(sqlite3.connect(part)) as saved:
        saved.execute("PRAGMA journal_mode=DELETE").fetchone()


def check_backup(file: Path, name: str) -> str:
    """Check a backup and return its schema, which this program can use or upgrade.

    *name* is what messages call it.

    Raises:
        NotFound: there is no such file.
        StoreUnavailable: it is damaged, or not a database.
        SchemaMismatch: its schema cannot be used or upgraded, or another program wrote it.
    """
    if not file.is_file():
        raise NotFound(f"there is no file {file}")
    with name_errors(name), closing(_connect(file, "ro")) as saved:
        [problem] = saved.execute("PRAGMA quick_check(1)").fetchone()
        if problem != "ok":
            raise StoreUnavailable(f"{name} is damaged: {problem}")
        try:
            [version] = saved.execute("SELECT version_num FROM alembic_version").fetchone()
        except (sqlite3.OperationalError, TypeError):
            raise SchemaMismatch(f"{name} has no tables of Crawlyard") from None
        there = {str(row[0]) for row in saved.execute("SELECT name FROM sqlite_master")}
    needed = metadata.tables.keys() if version == SCHEMA else _FIRST_TABLES
    if version <= SCHEMA and not needed <= there:  # other programs use Alembic as well
        raise SchemaMismatch(f"{name} has no tables of Crawlyard, but those of something else")
    if not is_upgradable(version):
        raise SchemaMismatch(mismatch(name, version))
    return str(version)


def restore_file(file: Path, target: Path, on_progress: OnProgress) -> None:
    """Restore a backup to the database *target* in one transaction, all or nothing.

    Processes that have it open see the old content, then the new.

    Raises:
        StoreUnavailable: a file cannot be read or written.
    """
    with name_errors(f"the database {target}"):
        create_file(target, timedelta(seconds=BUSY_S))
        with closing(_connect(file, "ro")) as here, closing(_connect(target, "rw")) as there:
            here.backup(
                there, pages=_AT_ONCE, progress=_progress_callback("restoring", on_progress)
            )
        # again, since the restored content includes the journal mode of the backup
        create_file(target, timedelta(seconds=BUSY_S))


def _connect(file: Path, mode: str) -> sqlite3.Connection:
    url = f"file:{quote(os.fspath(file.resolve()))}?mode={mode}"
    return sqlite3.connect(url, uri=True, timeout=BUSY_S, isolation_level=None)


def _progress_callback(doing: str, on_progress: OnProgress) -> Callable[[int, int, int], None]:
    def report(_status: int, remaining: int, total: int) -> None:
        on_progress(
            CopyProgress(doing=doing, share=1 - remaining / total if total else 1.0, rows=0)
        )

    return report


def _sweep(folder: Path, here: str) -> None:
    """Remove the leftovers of killed backups to the same file, made on this machine."""
    for leftover in folder.glob(f"{here}*.part"):
        pid = leftover.name.removeprefix(here).removesuffix(".part")
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            _remove(leftover)


def _remove(part: Path) -> None:
    for end in _SUFFIXES:
        with suppress(OSError):
            part.with_name(f"{part.name}{end}").unlink()


def _sync(path: Path) -> None:
    """Sync a file, or the entries of a folder, to disk, so that they survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
