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
from crawlyard.store.admin.copy import CopyProgress, Tell
from crawlyard.store.admin.place import BUSY_S, telling
from crawlyard.store.db.database import create_file
from crawlyard.store.db.schema import is_upgradable, mismatch
from crawlyard.store.tables import SCHEMA, metadata

_AT_ONCE = 2048  # pages: 8 MiB

_FROM_THE_FIRST = {"users", "jobs", "shards", "frontier", "pages", "events"}
"""Tables that every schema so far has had."""

_BESIDE = ("", "-journal", "-wal", "-shm", ".lock")
"""Suffixes of the files that may belong to one database."""


@contextmanager
def published(file: Path, *, replace: bool) -> Iterator[Path]:
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
        _synced(part)
        part.replace(file)
        _synced(file.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error
    finally:
        _remove(part)


def snapshot(source: Path, part: Path, tell: Tell) -> None:
    """Copy a SQLite database as of this moment, without blocking those who write to it.

    Raises:
        StoreUnavailable: one of them cannot be read or written.
    """
    with closing(_connected(source, "rw")) as here, closing(sqlite3.connect(part)) as there:
        with telling(f"the database {source}"):
            here.execute("BEGIN")
            # This read fixes the snapshot. Without it, each transaction of others would make
            # the backup start over.
            here.execute("SELECT count(*) FROM sqlite_master").fetchone()
        with telling(f"the backup {part}"):
            there.execute("PRAGMA synchronous=OFF")  # it is synced once complete
            here.backup(there, pages=_AT_ONCE, progress=_told("saving", tell))


def settled(part: Path) -> None:
    """Fold the WAL of a backup into its file, so that it is a single file.

    Raises:
        StoreUnavailable: it cannot be written.
    """
    with telling(f"the backup {part}"), closing(sqlite3.connect(part)) as saved:
        saved.execute("PRAGMA journal_mode=DELETE").fetchone()


def looked_over(file: Path, name: str) -> str:
    """Check a backup and return its schema, which this program can use or upgrade.

    *name* is what messages call it.

    Raises:
        NotFound: there is no such file.
        StoreUnavailable: it is damaged, or not a database.
        SchemaMismatch: its schema cannot be used or upgraded, or another program wrote it.
    """
    if not file.is_file():
        raise NotFound(f"there is no file {file}")
    with telling(name), closing(_connected(file, "ro")) as saved:
        [said] = saved.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            raise StoreUnavailable(f"{name} is damaged: {said}")
        try:
            [version] = saved.execute("SELECT version_num FROM alembic_version").fetchone()
        except (sqlite3.OperationalError, TypeError):
            raise SchemaMismatch(f"{name} has no tables of Crawlyard") from None
        there = {str(row[0]) for row in saved.execute("SELECT name FROM sqlite_master")}
    needed = metadata.tables.keys() if version == SCHEMA else _FROM_THE_FIRST
    if version <= SCHEMA and not needed <= there:  # other programs use Alembic as well
        raise SchemaMismatch(f"{name} has no tables of Crawlyard, but those of something else")
    if not is_upgradable(version):
        raise SchemaMismatch(mismatch(name, version))
    return str(version)


def put_back(file: Path, target: Path, tell: Tell) -> None:
    """Restore a backup to the database *target* in one transaction, all or nothing.

    Processes that have it open see the old content, then the new.

    Raises:
        StoreUnavailable: one of them cannot be read or written.
    """
    with telling(f"the database {target}"):
        create_file(target, timedelta(seconds=BUSY_S))
        with closing(_connected(file, "ro")) as here, closing(_connected(target, "rw")) as there:
            here.backup(there, pages=_AT_ONCE, progress=_told("restoring", tell))
        # again, since the restored content includes the journal mode of the backup
        create_file(target, timedelta(seconds=BUSY_S))


def _connected(file: Path, mode: str) -> sqlite3.Connection:
    url = f"file:{quote(os.fspath(file.resolve()))}?mode={mode}"
    return sqlite3.connect(url, uri=True, timeout=BUSY_S, isolation_level=None)


def _told(doing: str, tell: Tell) -> Callable[[int, int, int], None]:
    def told(_status: int, left: int, total: int) -> None:
        tell(CopyProgress(doing=doing, share=1 - left / total if total else 1.0, rows=0))

    return told


def _sweep(folder: Path, here: str) -> None:
    """Remove the leftovers of killed backups to the same file, made on this machine."""
    for left in folder.glob(f"{here}*.part"):
        pid = left.name.removeprefix(here).removesuffix(".part")
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            _remove(left)


def _remove(part: Path) -> None:
    for end in _BESIDE:
        with suppress(OSError):
            part.with_name(f"{part.name}{end}").unlink()


def _synced(path: Path) -> None:
    """Sync a file, or the entries of a folder, to disk, so that they survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
